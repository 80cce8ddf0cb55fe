r"""Votes of Galaxy Zoo DECaLS by Dirichlet-multinomial laws (slides, outlook).

    python launch.py --config=configs/decals_dirichlet.py \
      --workdir=runs/dirichlet --manual_dir=FOLDER \
      --config.model.weights=efficientnet_v2_m.safetensors

The comparison that the slides wish for: the loss of Zoobot (Walmsley et al.
2022) on all ten questions, with the network of decals_efficientnetv2.py. It
learns the numbers of votes, so galaxies with few volunteers teach it, too, and
it says how sure it is. Published by Walmsley et al. for an EfficientNetB0, on
galaxies with at least 34 votes, accuracy on all and on confident ones: smooth
or featured 0.935 and 0.9997, edge-on 0.987 and 0.998, spiral arms 0.935 and
0.992, bar 0.819 and 0.995, merging 0.880 and 0.999.

`:cpu` is a tiny EfficientNetV2 without ImageNet weights on a synthetic sky of
64 pixels, about 25 minutes on two busy cores; expect 0.91 of all galaxies and
0.95 of the confident ones at smooth or featured, 0.94 and 0.98 after retraining
without wrong votes.
"""

from gzjax.pipeline import presets


def get_config(variant: str = ""):
  _, small = presets.split_variant("decals_dirichlet.py", variant)
  config = presets.decals(small=small)
  config.labels.min_votes = 0
  config.target.kind = "counts"
  presets.efficientnet(config, small=small)
  return config
