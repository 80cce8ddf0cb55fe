r"""Your own galaxies: a CSV or parquet table and a folder of images.

    python launch.py --config=configs/catalog.py --workdir=runs/mine \
      --config.data.catalog=galaxies.csv --config.data.classes='("a", "b")'

The table needs a column for the id, the image file and the label; name them
with --config.data.id_column=... and so on. ResNet34 on the whole image at 64
pixels; --config.data.crop=212 takes the central half of a 424-pixel cut-out.
10% of the training labels are flipped first, so that the audit and the
unlearning can be judged.
"""

from gzjax.pipeline import defaults


def get_config(variant: str = ""):
  if variant:
    raise ValueError(f"catalog.py has no variant {variant!r}")
  config = defaults.get_config()
  config.data.builder = "galaxy_catalog"
  # Mirror images only: under rotations a network hardly memorises its wrong
  # labels in 20 epochs, and there is nothing to unlearn. For the most accurate
  # classifier leave these three at their defaults and double the epochs.
  config.train.rotation = 0.0
  config.train.zoom = 1.0
  config.train.shift = 0.0
  config.unlearn.forget_batch_size = 32
  return config
