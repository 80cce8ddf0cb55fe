r"""Your own galaxies as they are: a table and a folder of images.

    gzjax audit galaxies.csv --images=cutouts --workdir=runs/mine

is this config with --config.data.catalog=galaxies.csv and
--config.data.images=cutouts. The ids, the image files (a column, or names such
as {id}.jpg), the labels or votes and the classes are found in the table, shown
with the reasons and remembered; --config.data.label_column=NAME and so on say
otherwise. Nothing is flipped: the audit tells which of the labels are probably
wrong. Galaxies without a label are predicted. The split is by the id, so that
corrected labels leave every galaxy where it was.

ResNet34 on the whole image at 64 pixels (--config.data.crop=212 takes the
central half of a 424-pixel cut-out), and five more for the audit; fewer than
2,000 galaxies get a small network. With --config.flips.kind=uniform a tenth of
the training labels are flipped, to try out the audit and the unlearning.
"""

from gzjax.pipeline import defaults


def get_config(variant: str = ""):
  if variant:
    raise ValueError(f"catalog.py has no variant {variant!r}")
  config = defaults.get_config()
  config.data.builder = "galaxy_catalog"
  config.data.split_by = "id"
  config.flips.kind = "none"
  # Mirror images only: under rotations a network hardly memorises its wrong
  # labels in 20 epochs, and there is nothing to unlearn. For the most accurate
  # classifier leave these three at their defaults and double the epochs.
  config.train.rotation = 0.0
  config.train.zoom = 1.0
  config.train.shift = 0.0
  config.unlearn.forget_batch_size = 32
  config.unlearn.methods = (
    "finetune",
    "negative_learning",
    "bounded_neggrad",
    "reinit_head",
    "relabel",
  )
  # Networks that judge labels must not memorise them: they see random views.
  config.audit.kind = "folds"
  config.audit.train.update(rotation=180.0, zoom=1.1, shift=0.05)
  return config
