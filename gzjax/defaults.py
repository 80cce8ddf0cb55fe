"""Every config key, its default and its unit; configs override what differs."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """The config that every experiment starts from."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  config.data = ml_collections.ConfigDict()
  config.data.builder = "galaxy_catalog"  # or galaxy_synthetic
  # galaxy_catalog: CSV or parquet, and what its columns are called.
  config.data.catalog = ""
  config.data.images = ""  # folder of the images; "" is the catalogue's own
  config.data.id_column = "id_str"
  config.data.file_column = "file_loc"
  config.data.label_column = "label"
  config.data.vote_columns = ()  # one per class: the label is the largest
  config.data.classes = ("smooth", "featured", "artifact")
  # galaxy_synthetic
  config.data.galaxies = 2000
  config.data.class_fractions = (0.45, 0.45, 0.1)
  config.data.crop = 0  # edge of the central crop, original pixels; 0: whole
  config.data.size = 64  # edge of the network's input, pixels
  config.data.split = (0.7, 0.15, 0.15)  # train, validation, test
  config.data.device_budget_gib = 4.0  # pixels live on the device below this

  config.flips = ml_collections.ConfigDict()
  config.flips.kind = "uniform"  # or confusable: only between `pair`
  config.flips.fraction = 0.1  # of the training labels
  config.flips.pair = ("smooth", "featured")

  config.model = ml_collections.ConfigDict()
  config.model.name = "resnet34"
  config.model.width = 64  # channels of the first stage
  config.model.small_stem = False
  config.model.zero_gamma = False
  config.model.dtype = "float32"  # or bfloat16, on GPUs and TPUs
  config.model.conv_form = "auto"  # or native, dot: see models/layers.py

  config.train = ml_collections.ConfigDict()
  config.train.epochs = 20
  config.train.batch_size = 64
  config.train.optimizer = "adamw"  # or sgd
  config.train.learning_rate = 1e-3
  config.train.warmup_epochs = 1.0
  config.train.weight_decay = 1e-4
  config.train.loss = "cross_entropy"  # or focal
  config.train.focal_gamma = 2.0
  config.train.class_weights = "none"  # or balanced, effective
  config.train.select = "last"  # or best: by balanced validation accuracy
  config.train.rotation = 180.0  # degrees either way; 180 is any angle
  config.train.flip = True
  config.train.zoom = 1.1  # between 1/1.1 and 1.1
  config.train.shift = 0.05  # of the image

  config.unlearn = ml_collections.ConfigDict()
  config.unlearn.methods = (
    "retrain",
    "gradient_ascent",
    "fisher_forgetting",
    "finetune",
  )
  config.unlearn.batch_size = 64
  config.unlearn.fisher = ml_collections.ConfigDict()
  config.unlearn.fisher.kind = "empirical"  # or true, sampled
  config.unlearn.fisher.estimator = "exact"  # or vmap, signs
  config.unlearn.fisher.microbatch = 0  # examples at once; 0: best
  config.unlearn.gradient_ascent = ml_collections.ConfigDict()
  config.unlearn.gradient_ascent.epochs = 20  # at most, over the forget set
  config.unlearn.gradient_ascent.learning_rate = 1e-5
  config.unlearn.gradient_ascent.max_norm = 1.0
  config.unlearn.gradient_ascent.radius = 0.1  # of the norm of the weights
  config.unlearn.gradient_ascent.max_damage = 0.05  # balanced accuracy
  config.unlearn.fisher_forgetting = ml_collections.ConfigDict()
  config.unlearn.fisher_forgetting.budget = 0.1  # nats
  config.unlearn.fisher_forgetting.stabiliser = 0.1  # of the mean F
  config.unlearn.fisher_forgetting.cap = 0.2  # of the rms weight
  config.unlearn.finetune = ml_collections.ConfigDict()
  config.unlearn.finetune.epochs = 3
  config.unlearn.finetune.learning_rate = 1e-4

  config.report = ml_collections.ConfigDict()
  config.report.gallery = 24  # galaxies shown for each method
  return config
