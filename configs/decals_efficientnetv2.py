r"""Four classes of Galaxy Zoo DECaLS by a finetuned EfficientNetV2 (slides).

    python launch.py --config=configs/decals_efficientnetv2.py \
      --workdir=runs/efficientnet --manual_dir=FOLDER \
      --config.model.weights=efficientnet_v2_m.safetensors

FOLDER holds gz_decals_volunteers_5.csv and the images of Galaxy Zoo DECaLS; the
weights are those of torchvision (see docs/votes.md). This is the recipe of the
slides: an EfficientNetV2-M with ImageNet weights, its feature blocks kept and
its head replaced, finetuned for 10 epochs on the galaxies and classes of
decals_multiclass.py. The head learns alone for one epoch; afterwards each layer
has 0.9 of the rate of the next one. Published there: an accuracy of 0.80 after
10 epochs. --config.model.name=efficientnetv2_s is the smaller one. A GPU is
needed at this size.

`:cpu` is a tiny EfficientNetV2 without ImageNet weights on a synthetic sky of
64 pixels, about 10 minutes on two busy cores; expect an accuracy of 0.91.
"""

from gzjax.pipeline import presets


def get_config(variant: str = ""):
  _, small = presets.split_variant("decals_efficientnetv2.py", variant)
  config = presets.decals(small=small)
  presets.four_classes(config, small=small)
  presets.efficientnet(config, small=small)
  return config
