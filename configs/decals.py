r"""All systems of the slides on the same galaxies of Galaxy Zoo DECaLS.

    python launch.py --config=configs/decals.py:cpu --workdir=runs/decals

Seven runs (`_SYSTEMS`), one in each folder of the workdir. Then one table and
one report.html with all of them on the test galaxies that at least `min_votes`
volunteers saw. A tenth of the training labels are wrong, so each system stands
there twice: as trained on those, and retrained without them.

`:cpu` takes a synthetic sky with the questions of GZD-5, see presets.decals;
without it, give --manual_dir=FOLDER with the files of Galaxy Zoo DECaLS, and a
GPU. Keys of `data` and `predict` are those of all systems; the others are set
as --config.systems.multiclass.train.epochs=5. Some systems only:
--config.compared="('multiclass', 'dirichlet')".

`:tiny` is the same in minutes, for tests: too small to learn anything.
"""

from pathlib import Path

import ml_collections

from gzjax.pipeline import config_files

_SYSTEMS = {
  "multiclass": ("decals_multiclass", ""),
  "multilabel": ("decals_multilabel", ""),
  "multilabel_tree": ("decals_multilabel", "tree"),
  "hierarchical": ("decals_hierarchical", ""),
  "hierarchical_shared": ("decals_hierarchical", "shared"),
  "efficientnetv2": ("decals_efficientnetv2", ""),
  "dirichlet": ("decals_dirichlet", ""),
}
# What the slides and Walmsley et al. (2022, Table 1) print, on other galaxies:
# accuracies of the answers on all and on confident ones.
_PUBLISHED = {
  "systems": {
    "multilabel": dict(exact_match=0.0319, macro_f1=0.2686, micro_f1=0.4480),
    "efficientnetv2": dict(four_accuracy=0.80),
  },
  "questions": {
    "smooth-or-featured": (0.9352, 0.9997),
    "disk-edge-on": (0.9871, 0.9980),
    "has-spiral-arms": (0.9349, 0.9921),
    "bar": (0.8185, 0.9945),
    "bulge-size": (0.8419, 1.0),
    "how-rounded": (0.9314, 0.9968),
    "edge-on-bulge": (0.9111, 0.9961),
    "spiral-winding": (0.7832, 0.9906),
    "spiral-arm-count": (0.7742, 0.9863),
    "merging": (0.8798, 0.9987),
  },
}


def get_config(variant: str = ""):
  if variant not in ("", "cpu", "tiny"):
    raise ValueError(
      f"decals.py has no variant {variant!r}; use one of cpu, tiny"
    )
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.min_votes = 30  # volunteers who saw a galaxy that is compared
  config.gallery = 8  # galaxies that the report shows
  config.compared = tuple(_SYSTEMS)  # those that are run, and their order
  config.systems = ml_collections.ConfigDict()
  for name, (file, own) in _SYSTEMS.items():
    kind = "_".join(filter(None, (own, "cpu" if variant else "")))
    path = Path(__file__).with_name(f"{file}.py")
    system = config_files.load(f"{path}:{kind}")
    for section in ("data", "predict"):
      if section not in config:
        config[section] = system[section]
      # One and the same section, so that a change is one for all.
      system[section] = config[section]
    system.seed = config.get_ref("seed")
    config.systems[name] = system
  if variant == "tiny":
    _tiny(config)
  config.published = ml_collections.ConfigDict(_PUBLISHED)
  return config


def _tiny(config):
  config.data.galaxies = 600
  config.data.size = 16
  for system in config.systems.values():
    system.model.width = 16
    system.train.epochs = 2
    system.train.batch_size = 16
    system.train.balanced_to = min(system.train.balanced_to, 96)
    system.unlearn.batch_size = 16
    system.unlearn.methods = (
      "retrain",
      "gradient_ascent",
      "negative_learning",
      "fisher_forgetting",
    )
    system.unlearn.gradient_ascent.epochs = 1
    system.unlearn.gradient_ascent.checks = 1
    system.unlearn.negative_learning.epochs = 1
    system.unlearn.fisher_forgetting.search = 2
