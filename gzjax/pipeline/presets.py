"""What several config files have in common."""

import ml_collections

from gzjax.pipeline import defaults


def split_variant(
  file: str, variant: str, others: tuple[str, ...] = ()
) -> tuple[str, bool]:
  """The variant of a config file, and whether it is the small one.

  Raises:
    ValueError: naming the file, unless the variant is "", "cpu", or one of its
      `others` with or without `_cpu`.
  """
  small = variant == "cpu" or variant.endswith("_cpu")
  kind = variant.removesuffix("cpu").removesuffix("_") if small else variant
  if kind not in ("", *others):
    names = [f"{name}{end}" for name in others for end in ("", "_cpu")]
    raise ValueError(
      f"{file} has no variant {variant!r}; use one of "
      f"{', '.join(['cpu', *names])}"
    )
  return kind, small


def decals(*, small: bool) -> ml_collections.ConfigDict:
  """What the slides' systems share: Galaxy Zoo DECaLS and how it is split.

  Every galaxy has its split by its name, so that all systems are trained and
  judged on the same ones. The small config, for a CPU, has a synthetic sky of
  64 pixels with the questions, answers and numbers of volunteers of GZD-5.
  """
  config = defaults.get_config()
  config.data.builder = "galaxy_zoo_decals/volunteers_5"
  config.data.size = 224
  config.data.split = (0.6, 0.2, 0.2)
  config.data.split_by = "id"
  config.labels.kind = "question"
  # Most galaxies have about 5 votes, the others about 40.
  config.labels.min_votes = 30

  config.train.epochs = 20
  config.train.optimizer = "adam"
  config.train.learning_rate = 1e-4
  config.train.weight_decay = 0.0
  config.train.warmup_epochs = 0.0
  config.train.schedule = "constant"
  config.train.zoom = 1.0
  config.train.shift = 0.0

  # Networks that see turned and mirrored galaxies hardly memorise wrong labels;
  # what methods do to them is to be seen all the same.
  config.unlearn.least_learned = 0.0
  config.unlearn.methods = (
    "retrain",
    "finetune",
    "gradient_ascent",
    "negative_learning",
    "fisher_forgetting",
  )
  if small:
    config.data.builder = "galaxy_synthetic"
    config.data.tree = "gzd_5"
    config.data.galaxies = 12_000
    config.data.class_fractions = (0.45, 0.5, 0.05)
    config.data.size = 64
    config.train.epochs = 12
    config.train.learning_rate = 5e-4
    config.train.schedule = "cosine"
    config.train.batch_size = 32
    config.unlearn.batch_size = 32
  return config


def four_classes(config: ml_collections.ConfigDict, *, small: bool) -> None:
  """The slides' classes: balanced in training, and uncertain below 0.6."""
  config.labels.kind = "four"
  config.train.balanced_to = 4000 if small else 9000
  config.evaluate.uncertain_below = 0.6


def efficientnet(config: ml_collections.ConfigDict, *, small: bool) -> None:
  """The network of `decals_efficientnetv2.py` and how it is finetuned."""
  config.train.schedule = "cosine"
  if small:
    config.model.name = "efficientnetv2_tiny"
    config.model.width = 128
    config.train.epochs = 12
    config.train.learning_rate = 2e-3
  else:
    config.model.name = "efficientnetv2_m"
    config.train.epochs = 10
    config.train.frozen_epochs = 1
    config.train.layer_decay = 0.9
