r"""Ten yes-or-no labels of Galaxy Zoo DECaLS (the slides, multi-label).

    python launch.py --config=configs/decals_multilabel.py \
      --workdir=runs/labels --manual_dir=FOLDER

FOLDER holds gz_decals_volunteers_5.csv and the images of Galaxy Zoo DECaLS.
This is the recipe of the slides: the ten answers to smooth or featured,
edge-on, spiral arms and bar are each right or wrong (a fraction over 0.5,
debiased where the catalogue has that); three convolutions, 50% dropout, two
dense layers, sigmoids and binary cross-entropy. Published there: exact match
0.03, macro-F1 0.27, micro-F1 0.45.

That approach does not know that answers exclude each other, nor that a question
is asked only after others. `:tree` does: a softmax for each question, learned
from the fractions of volunteers who gave each answer, so that a question counts
as much as people were asked it. What few volunteers say is a fair guess of such
a fraction, if a rough one, but often a wrong label; so `:tree` learns from all
galaxies, not only from those with 30 votes.

`:cpu` and `:tree_cpu` are the same on a synthetic sky of 64 pixels, about 10
and 30 minutes on two busy cores; docs/decals.md has the numbers to expect.
"""

from gzjax.morphology.campaigns import TEN_LABELS
from gzjax.pipeline import presets


def get_config(variant: str = ""):
  kind, small = presets.split_variant(
    "decals_multilabel.py", variant, ("tree",)
  )
  config = presets.decals(small=small)
  config.target.kind = "labels"
  if kind == "tree":
    config.labels.min_votes = 0
    config.target.kind = "answers"
    config.target.questions = TEN_LABELS
  config.model.name = "cnn"
  config.model.dropout = 0.5
  return config
