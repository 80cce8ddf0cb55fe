"""Every config key, its default and its unit; configs override what differs."""

import ml_collections

from gzjax.unlearning.methods import METHODS, default_settings


def get_config() -> ml_collections.ConfigDict:
  """The config that every experiment starts from."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.seeds = ()  # several: a whole run each in seed_<n>/, and their mean

  config.data = ml_collections.ConfigDict()
  # Galaxy Zoo's own files, in --manual_dir: galaxy_zoo2/kaggle,
  # galaxy_zoo2/hart16, galaxy_zoo_decals/volunteers_5,
  # galaxy_zoo_decals/volunteers_1_and_2; or galaxy_catalog, galaxy_synthetic.
  config.data.builder = "galaxy_catalog"
  config.data.verify = True  # compare the checksums that were published
  # galaxy_zoo2/hart16: which of original, extra and stripe82.
  config.data.samples = ("original",)
  # galaxy_catalog: a table, and what its columns are called.
  config.data.catalog = ""
  config.data.images = ""  # folder of the images; "" is the catalogue's own
  config.data.id_column = "id_str"
  config.data.file_column = "file_loc"
  config.data.label_column = "label"
  config.data.vote_columns = ()  # one per class: the label is the largest
  config.data.tree = ""  # or gz2, gz2_kaggle, gzd_5, gzd_1_2: votes by name
  config.data.vote_form = "counts"  # of the tree's columns; or fractions
  config.data.crop_column = (
    ""  # edge of each galaxy's square, pixels of the file
  )
  config.data.ra_column = ""  # degrees; "": by its usual names
  config.data.dec_column = ""
  config.data.split_column = ""  # train, validation, test; "": drawn
  config.data.classes = ("smooth", "featured", "artifact")
  # FITS images: which plane is which colour, the percentile that is white, and
  # where the asinh stretch bends (Lupton et al. 2004).
  config.data.fits_planes = "rgb"
  config.data.fits_white = 99.7
  config.data.fits_softening = 10.0
  # galaxy_synthetic; its volunteers vote through data.tree: gz2 ("") or gzd_5.
  config.data.galaxies = 2000
  config.data.class_fractions = (0.45, 0.45, 0.1)
  # Edge of the central crop, original pixels; 0: whole. Not with crop_column.
  config.data.crop = 0
  config.data.seed = -1  # of the sky, the split and the flips; -1: config.seed
  config.data.size = 64  # edge of the network's input, pixels
  # Mean and deviation of the input's channels: of ImageNet, or of the training
  # set (seed 2).
  config.data.normalise = "imagenet"  # or training
  config.data.split = (0.7, 0.15, 0.15)  # train, validation, test
  # label: each class is split by itself; id: every galaxy by its name, so that
  # networks of other labels can be compared on the same galaxies.
  config.data.split_by = "label"
  config.data.device_budget_gib = 4.0  # pixels live on the device below this

  # How the votes, or the recorded labels, become classes.
  config.labels = ml_collections.ConfigDict()
  # column: as recorded; or, by the votes, question, clean_five, four, leaf.
  config.labels.kind = "column"
  config.labels.classes = ()  # keep these only; (): all
  config.labels.question = ""  # of the tree; "": its first
  config.labels.threshold = 0.0  # least share of the class
  config.labels.min_asked = 0.0  # least share who are asked the question
  config.labels.min_votes = 0  # least number of volunteers
  config.labels.debiased = False  # by debiased fractions

  config.flips = ml_collections.ConfigDict()
  # uniform; confusable: between `pair`; ambiguity: where volunteers disagree;
  # matrix: by class; column: labels as they were given. See
  # morphology/noise.py.
  config.flips.kind = "uniform"
  config.flips.fraction = 0.1  # of the training labels
  config.flips.pair = ("smooth", "featured")
  config.flips.matrix = ()  # rows: true class, columns: probabilities of labels
  config.flips.column = ""  # a second label column; votes: most volunteers
  # True: train on right labels and flip them afterwards, as seed 1 did; the
  # network then never learns what it is to forget.
  config.flips.after_training = False

  # What the network learns.
  config.target = ml_collections.ConfigDict()
  # classes: the labels. Or of a decision tree: fractions: all cumulative vote
  # fractions, by least squares; counts: the numbers of votes, by
  # Dirichlet-multinomial laws; answers: the ways of volunteers through the
  # tree, by a softmax for each question; labels: whether more than half give
  # an answer, yes or no for each; branches: the majority's answers to seed 3's
  # hierarchy of five questions.
  config.target.kind = "classes"
  # Of the tree; (): all, for labels those of seed 3's ten.
  config.target.questions = ()
  config.target.min_votes = 0  # branches: least number of answers to learn from
  # fractions: sigmoid, divisive or softmax, see targets.share_head.
  config.target.head = "sigmoid"
  # counts, of data that have fractions only: how many people are taken to have
  # looked at each galaxy; 0: the data have counts.
  config.target.volunteers = 0

  config.model = ml_collections.ConfigDict()
  config.model.name = "resnet34"
  # 64 is as published: channels of a ResNet's first stage; of the others all
  # are in proportion.
  config.model.width = 64
  config.model.small_stem = False
  config.model.zero_gamma = False
  config.model.dtype = "float32"  # or bfloat16, on GPUs and TPUs
  # Pretrained weights of torchvision: a .safetensors or .pth file, or hub:NAME.
  config.model.weights = ""
  config.model.head = "pool"  # or flatten (seed 2)
  # Before the head, and before the hidden layer of the cnn; -1: as published.
  config.model.dropout = -1.0
  config.model.hidden = 128  # cnn: of the dense layer, for a width of 64
  config.model.per_question = False  # cnn: one of its own for each question
  config.model.conv_form = "auto"  # or native, dot: see models/layers.py

  config.train = ml_collections.ConfigDict()
  config.train.epochs = 20
  config.train.batch_size = 64
  config.train.steps_per_epoch = 0  # 0: as many as the galaxies fill
  # 0: as they are; else galaxies in an epoch, the same number of each class.
  config.train.balanced_to = 0
  config.train.optimizer = "adamw"  # or adam, sgd
  config.train.learning_rate = 1e-3
  config.train.warmup_epochs = 1.0
  config.train.weight_decay = 1e-4
  # cosine to 0; constant; plateau: lowered where the training loss stops
  # falling, by `plateau_factor` after `plateau_patience` epochs.
  config.train.schedule = "cosine"
  config.train.plateau_factor = 0.5
  config.train.plateau_patience = 2
  config.train.min_learning_rate = 1e-6
  config.train.frozen_epochs = 0  # in which only the head learns
  config.train.layer_decay = 1.0  # rate of each layer over that of the next one
  # Pairs of the beginning of a layer's name and a factor for its rate.
  config.train.layer_rates = ()
  config.train.loss = "cross_entropy"  # of classes; or focal
  config.train.focal_gamma = 2.0
  config.train.class_weights = "none"  # or balanced, effective
  # or best: on validation, by balanced accuracy (classes) or loss (votes)
  config.train.select = "last"
  config.train.rotation = 180.0  # degrees either way; 180 is any angle
  config.train.flip = True
  config.train.zoom = 1.1  # between 1/1.1 and 1.1
  config.train.shift = 0.05  # of the image

  config.unlearn = ml_collections.ConfigDict()
  config.unlearn.methods = ("retrain", *METHODS)
  config.unlearn.batch_size = 64
  config.unlearn.fisher = ml_collections.ConfigDict()
  config.unlearn.fisher.kind = "empirical"  # or true, sampled
  config.unlearn.fisher.estimator = "exact"  # or vmap, signs, batch_mean
  config.unlearn.fisher.microbatch = 0  # examples at once; 0: best
  config.unlearn.forget_batch_size = 0  # of methods with both; 0: batch_size
  config.unlearn.discovered = 1.0  # share of the wrong labels that is known
  config.unlearn.suggestions = "true"  # labels for relabel; or audit's
  # Keys of config.train that real retraining changes; none: the same recipe.
  config.unlearn.retrain = ml_collections.ConfigDict()
  # A section for each method, see unlearning/methods.py. Any name may be added:
  # a row of its own, run by the method that it names.
  for name in METHODS:
    config.unlearn[name] = method_section(name)

  config.evaluate = ml_collections.ConfigDict()
  # Views of each galaxy whose logits are averaged: 1, 4 (quarter turns) or 8
  # (and their mirror images).
  config.evaluate.views = 1
  # Networks of classes call galaxies uncertain where no class has this
  # probability; 0: never.
  config.evaluate.uncertain_below = 0.0
  # Relearn time of every row: at most so many passes over the forget set.
  config.evaluate.relearn_epochs = 0  # 0: not measured
  config.evaluate.relearn_learning_rate = 1e-4

  # Stages of their own, not part of `all`.
  config.stabiliser = ml_collections.ConfigDict()
  config.stabiliser.stabilisers = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)
  config.stabiliser.noise_scales = (1e-4, 1e-3, 1e-2, 1e-1)
  config.discovery = ml_collections.ConfigDict()
  config.discovery.shares = (0.1, 0.25, 0.5, 0.75, 1.0)
  config.discovery.methods = ("retrain", "negative_learning", "reinit_head")

  # Other galaxies, which need no labels; a stage of its own, too.
  config.predict = ml_collections.ConfigDict()
  config.predict.catalog = ""  # their table
  config.predict.images = ""  # folder of the images; "" is the catalogue's own
  config.predict.id_column = ""  # this and the next two: "": as in the run
  config.predict.file_column = ""
  config.predict.crop_column = ""  # see data.crop_column
  # See data.crop; other cut-outs may have another scale. -1: as in the run.
  config.predict.crop = -1
  config.predict.method = "original"  # or a row of unlearn.methods
  config.predict.shown = 8  # galaxies that are printed

  config.report = ml_collections.ConfigDict()
  config.report.gallery = 24  # galaxies shown for each method
  return config


def method_section(name: str) -> ml_collections.ConfigDict:
  """The keys of a method with their defaults, to put under config.unlearn."""
  return ml_collections.ConfigDict({"method": name, **default_settings(name)})
