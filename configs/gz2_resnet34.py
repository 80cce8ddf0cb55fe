r"""ResNet34 on Galaxy Zoo 2: smooth, featured, artifact (the preprint).

    python launch.py --config=configs/gz2_resnet34.py --workdir=runs/gz2 \
      --manual_dir=FOLDER

FOLDER holds images_training_rev1.zip and training_solutions_rev1.zip of the
Kaggle challenge "Galaxy Zoo", zipped or unpacked; the label is the answer of
most volunteers to the first question (26,693 smooth, 34,826 featured and 59
artifacts). The whole survey instead, with the labels of Hart et al. (2016):
--config.data.builder=galaxy_zoo2/hart16. A GPU is needed at 224 pixels.

`gz2_resnet34.py:published` is the recipe of the publication, which destroys the
network: noise of 0.01 / sqrt(F + 1e-8) with F from squares of batch-mean
gradients over N, ascent by Adam at 1e-4 in training mode for three epochs,
retraining by Adam at 2e-4 for ten epochs without augmentation, labels flipped
after the training (`--config.flips.after_training=False` flips them before).
`gz2_resnet34.py:published_sky` is the same recipe on the synthetic sky of the
demo, in minutes on any computer. Only if you ask for them: ImageNet weights
(--config.model.weights=resnet34.pth), head dropout (--config.model.dropout=0.3)
and the frozen backbone of the first three epochs
(--config.train.frozen_epochs=3). Not repeated: half precision; halving the rate
of retraining on a plateau (here it falls along a cosine); drawing galaxies by
count^-1/2 of their class beside the weights of the loss; jitter of colours;
wrong labels in validation and test. docs/published.md has the numbers beside
ours.
"""

from gzjax.pipeline import defaults


def get_config(variant: str = ""):
  if variant not in ("", "published", "published_sky"):
    raise ValueError(
      f"gz2_resnet34.py has no variant {variant!r}; use published or "
      "published_sky"
    )
  config = defaults.get_config()
  if variant == "published_sky":
    config.data.builder = "galaxy_synthetic"
    config.model.name = "resnet18"
    config.model.width = 16
  else:
    config.data.builder = "galaxy_zoo2/kaggle"
    config.data.size = 224
    config.labels.kind = "question"
  if variant:
    _published(config)
  else:
    config.data.crop = 212
    config.train.epochs = 40
  return config


def _published(config):
  config.flips.fraction = 0.1
  config.flips.after_training = True

  config.train.epochs = 19  # the checkpoint that was kept
  config.train.batch_size = 16
  config.train.learning_rate = 2e-4
  config.train.weight_decay = 1e-4
  config.train.warmup_epochs = 0.0
  config.train.loss = "focal"
  config.train.focal_gamma = 1.5
  config.train.class_weights = "effective"
  config.train.rotation = 15.0
  config.train.zoom = 1.12  # crops of 0.8 to 1 of the area
  config.train.shift = 0.0

  config.unlearn.batch_size = 16
  # Labels that were flipped after the training were never learned.
  config.unlearn.least_learned = 0.0
  config.unlearn.methods = ("retrain", "gradient_ascent", "fisher_forgetting")
  for name in ("gradient_ascent", "fisher_forgetting"):
    config.unlearn[name] = defaults.method_section(f"published_{name}")
  config.unlearn.retrain.update(
    {
      "epochs": 10,
      "learning_rate": 2e-4,
      "weight_decay": 0.0,
      "loss": "cross_entropy",
      "class_weights": "none",
      "rotation": 0.0,
      "flip": False,
      "zoom": 1.0,
    }
  )
