r"""Four classes of Galaxy Zoo DECaLS by a small CNN (the slides, multi-class).

    python launch.py --config=configs/decals_multiclass.py --workdir=runs/four \
      --manual_dir=FOLDER

FOLDER holds gz_decals_volunteers_5.csv and the images of Galaxy Zoo DECaLS.
This is the recipe of the slides: galaxies that at least 60% of the volunteers
call spiral, elliptical, irregular or lenticular; the rare classes repeated
under other rotations and mirror images until 9,000 galaxies of an epoch are
balanced; three convolutions, 25% dropout, Adam at 1e-4, 20 epochs at 224
pixels. Where no class has a probability of 0.6 the network says "uncertain":
the report shows the confusion on the galaxies that volunteers agree on, each
class weighing the same, and on all galaxies of the validation set.

`:cpu` is the same on a synthetic sky of 64 pixels, about 15 minutes on two busy
cores; docs/decals.md has the numbers to expect.
"""

from gzjax.pipeline import presets


def get_config(variant: str = ""):
  _, small = presets.split_variant("decals_multiclass.py", variant)
  config = presets.decals(small=small)
  presets.four_classes(config, small=small)
  config.model.name = "cnn"
  config.model.dropout = 0.25
  return config
