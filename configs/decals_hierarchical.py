r"""A CNN for each of five questions of GZ DECaLS (the slides, hierarchical).

    python launch.py --config=configs/decals_hierarchical.py \
      --workdir=runs/hierarchy --manual_dir=FOLDER

FOLDER holds gz_decals_volunteers_5.csv and the images of Galaxy Zoo DECaLS.
This is the recipe of the slides: five networks, for the root (smooth, featured
or artifact), the smooth branch (how round), the disks (edge-on) and the face-on
disks (spiral arms; merging). Each learns the majority's answers about the
galaxies that the majority leads to it, if at least 5 people answered. A
prediction walks the tree:

    python launch.py --config=configs/decals_hierarchical.py \
      --workdir=runs/hierarchy --stage=predict --config.predict.catalog=FILE

`:shared` is one network with five heads, trained in one step: a fifth of the
cost.

`:cpu` and `:shared_cpu` are half as wide, on a synthetic sky of 64 pixels,
about 30 and 10 minutes on two busy cores; docs/decals.md has the numbers to
expect.
"""

from gzjax.pipeline import presets


def get_config(variant: str = ""):
  kind, small = presets.split_variant(
    "decals_hierarchical.py", variant, ("shared",)
  )
  config = presets.decals(small=small)
  config.target.kind = "branches"
  config.target.min_votes = 5
  config.model.name = "cnn"
  config.model.dropout = 0.25
  config.model.per_question = kind != "shared"
  if small:
    config.model.width = 32
    if kind == "shared":
      # Of 5e-4, 1e-3 and 2e-3 the best on validation.
      config.train.learning_rate = 2e-3
  return config
