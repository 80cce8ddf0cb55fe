"""The whole pipeline on a synthetic sky, on any computer.

    python launch.py --config=configs/demo.py --workdir=runs/demo

2,000 galaxies of 64 pixels, a small ResNet18, 10% of the training labels wrong.
Without augmentation the network memorises its wrong labels, which is what
unlearning is about. docs/results.md has the table to expect and the time that
it takes.

`demo.py:quick` is smaller, with four of the methods, in a minute.
`demo.py:tiny` is the same in seconds, for tests: too small to learn much.
`demo.py:stored` has methods on stored BatchNorm statistics beside the usual
ones, see docs/unlearning.md.
"""

from gzjax.pipeline import defaults

# What the variant `stored` runs twice.
TWICE = (
  "finetune",
  "negative_learning",
  "neggrad_plus",
  "simnpo",
  "random_label",
  "scrub",
  "reinit_head",
  "relabel",
)


def get_config(variant: str = ""):
  config = defaults.get_config()
  config.data.builder = "galaxy_synthetic"
  config.data.galaxies = 2000

  config.model.name = "resnet18"
  config.model.width = 16

  config.train.epochs = 25
  config.train.batch_size = 32
  config.train.learning_rate = 2e-3
  config.train.rotation = 0.0
  config.train.zoom = 1.0
  config.train.shift = 0.0

  config.unlearn.batch_size = 32
  config.unlearn.forget_batch_size = 8
  config.evaluate.relearn_epochs = 20
  if variant == "tiny":
    config.data.galaxies = 200
    config.data.class_fractions = (0.4, 0.4, 0.2)
    config.data.size = 16
    config.model.small_stem = True
    config.model.name = "resnet_tiny"
    config.model.width = 8
    config.train.epochs = 5
    config.train.batch_size = 16
    config.train.optimizer = "sgd"
    config.train.learning_rate = 0.05
    config.unlearn.batch_size = 16
    config.unlearn.least_learned = 0.0  # it learns next to nothing
    config.unlearn.methods = (
      "retrain",
      "gradient_ascent",
      "fisher_forgetting",
      "finetune",
    )
    config.unlearn.gradient_ascent.epochs = 2
    config.unlearn.gradient_ascent.checks = 1
    config.unlearn.fisher_forgetting.search = 3
    config.unlearn.finetune.epochs = 1
    config.evaluate.relearn_epochs = 2
  elif variant == "quick":
    config.data.galaxies = 1000
    config.data.size = 32
    config.model.small_stem = True
    config.model.width = 8
    config.train.epochs = 15
    config.unlearn.methods = (
      "retrain",
      "negative_learning",
      "gradient_ascent",
      "fisher_forgetting",
    )
    config.evaluate.relearn_epochs = 5
  elif variant == "stored":
    for name in TWICE:
      section = config.unlearn[name].copy_and_resolve_references()
      section.batch_stats = "stored"
      config.unlearn[f"{name}_stored"] = section
    stored = tuple(f"{name}_stored" for name in TWICE)
    config.unlearn.methods = ("retrain", *TWICE, *stored)
  elif variant:
    raise ValueError(
      f"demo.py has no variant {variant!r}: choose quick, tiny or stored"
    )
  return config
