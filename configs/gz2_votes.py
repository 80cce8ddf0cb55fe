r"""ResNet50 on the 37 vote fractions of Galaxy Zoo 2, and on counts of votes.

    python launch.py --config=configs/gz2_votes.py --workdir=runs/votes \
      --manual_dir=FOLDER --config.model.weights=resnet50.safetensors

FOLDER holds images_training_rev1.zip and training_solutions_rev1.zip of the
Kaggle challenge "Galaxy Zoo", zipped or unpacked. This is the recipe of the lab
report: the central 120 pixels, a dense layer on the flattened last maps of a
ResNet50 with ImageNet weights (leave `model.weights` out for a fresh network),
sigmoids that the decision tree renormalises, root mean squared error, Adam at
1e-3 that halves on plateaus of two epochs, 36 epochs of 50 batches of 75, any
rotation. Published there: 0.107 on validation; the challenge was won with
0.0749. Of the 20% that are not trained on, half is validation and half is test.
The other heads: --config.target.head=divisive or softmax; a mean over eight
views: --config.evaluate.views=8. A GPU is needed at this size.

`gz2_votes.py:dirichlet` learns how many of 44 people (the median of Galaxy
Zoo 2) gave each answer, by Dirichlet-multinomial laws (Walmsley et al. 2022),
and so tells how sure it is. With --config.data.builder=galaxy_zoo2/hart16
--config.target.volunteers=0 the counts are those of the catalogue.

`:cpu` and `:dirichlet_cpu` are small networks at 64 pixels, with a rate that
falls along a cosine: about 25 minutes each for 10,000 galaxies on two cores.

A tenth of the training galaxies get the votes of another galaxy; the methods
that apply take them out again.
"""

from gzjax.pipeline import defaults, presets


def get_config(variant: str = ""):
  kind, small = presets.split_variant("gz2_votes.py", variant, ("dirichlet",))
  config = defaults.get_config()
  config.data.builder = "galaxy_zoo2/kaggle"
  config.data.normalise = "training"
  config.data.split = (0.8, 0.1, 0.1)
  config.labels.kind = "question"
  config.target.kind = "fractions"
  # Under rotation it hardly memorises wrong votes; methods run all the same.
  config.unlearn.least_learned = 0.0
  config.train.optimizer = "adam"
  config.train.weight_decay = 0.0
  config.train.zoom = 1.0
  config.train.shift = 0.0
  if small:
    _small(config)
  else:
    _published(config)
  if kind == "dirichlet":
    config.target.kind = "counts"
    config.target.volunteers = 44
    # Nats; one law for all galaxies costs about 40.
    config.unlearn.bounded_neggrad.cap = 60.0
  return config


def _published(config):
  config.data.crop = 120
  config.data.size = 120
  config.model.name = "resnet50"
  config.model.head = "flatten"
  config.train.epochs = 36
  config.train.batch_size = 75
  config.train.steps_per_epoch = 50
  config.train.warmup_epochs = 0.0
  config.train.schedule = "plateau"
  config.train.flip = False
  config.unlearn.batch_size = 75
  config.unlearn.methods = (
    "retrain",
    "finetune",
    "gradient_ascent",
    "bounded_neggrad",
    "negative_learning",
    "reinit_head",
    "fisher_forgetting",
    "relabel",
  )


def _small(config):
  config.data.crop = 212
  config.model.name = "resnet18"
  config.model.width = 32
  config.train.epochs = 12
  config.train.learning_rate = 2e-3
  config.unlearn.methods = (
    "retrain",
    "finetune",
    "negative_learning",
    "reinit_head",
    "fisher_forgetting",
  )
