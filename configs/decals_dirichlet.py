r"""Votes of Galaxy Zoo DECaLS by Dirichlet-multinomial laws (slides, outlook).

    python launch.py --config=configs/decals_dirichlet.py \
      --workdir=runs/dirichlet --manual_dir=FOLDER \
      --config.model.weights=efficientnet_v2_m.safetensors

The comparison that the slides wish for: the loss of Zoobot (Walmsley et al.
2022) on all ten questions, with the network of decals_efficientnetv2.py. It
learns the numbers of votes, so galaxies with few volunteers teach it, too, and
it says how sure it is.

`:cpu` is a tiny EfficientNetV2 without ImageNet weights on a synthetic sky of
64 pixels, about 25 minutes on two busy cores; docs/decals.md has the numbers to
expect, and those that Walmsley et al. published for an EfficientNetB0.
"""

from gzjax.pipeline import presets


def get_config(variant: str = ""):
  _, small = presets.split_variant("decals_dirichlet.py", variant)
  config = presets.decals(small=small)
  config.labels.min_votes = 0
  config.target.kind = "counts"
  presets.efficientnet(config, small=small)
  return config
