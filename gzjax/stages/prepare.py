"""prepare: files of galaxies -> data set, pixels, split.parquet."""

from pathlib import Path

import numpy as np
import pandas as pd

from gzjax.data import dataset, noise, splits
from gzjax.data.galaxy_catalog.catalog import Columns
from gzjax.errors import UserError
from gzjax.stages.experiment import Experiment
from gzjax.workdir import write_json, write_whole


def run(experiment: Experiment) -> None:
  """Writes `split.parquet` and notes where the prepared data set lies."""
  config = experiment.config
  folder = dataset.prepare(_builder(experiment))
  write_json(
    experiment.workdir / "stages" / "dataset.json", {"folder": str(folder)}
  )
  data = experiment.dataset
  label = data.table["label"].to_numpy()
  split = splits.stratified_split(
    label, config.data.split, experiment.data_seed, data.classes
  )
  train = np.flatnonzero(split == splits.SPLITS.index("train"))
  train_label = label.copy()
  train_label[train] = noise.flip_labels(
    label[train],
    kind=config.flips.kind,
    fraction=config.flips.fraction,
    seed=experiment.data_seed,
    class_names=data.classes,
    pair=config.flips.pair,
  )
  retain = int(np.sum(train_label[train] == label[train]))
  for section in ("train", "unlearn"):
    if config[section].batch_size > retain:
      raise UserError(
        f"{section}.batch_size={config[section].batch_size} is more than the "
        f"{retain} training galaxies with right labels: lower it or add "
        "galaxies."
      )
  classes = np.asarray(data.classes)
  flipped = train_label != label
  table = pd.DataFrame(
    {
      "id_str": data.table["id_str"],
      "split": np.asarray(splits.SPLITS)[split],
      "true_label": classes[label],
      "train_label": classes[train_label],
      "flipped": flipped,
      "set": np.where(flipped, "forget", "retain"),
    }
  )
  # Validation and test galaxies belong to neither set.
  table.loc[table["split"] != "train", "set"] = None
  write_whole(
    experiment.workdir / "split.parquet",
    lambda part: table.to_parquet(part, index=False),
  )


def _builder(experiment: Experiment):
  data = experiment.config.data
  if data.builder == "galaxy_synthetic":
    return dataset.synthetic_builder(
      galaxies=data.galaxies,
      image_size=data.size,
      class_fractions=tuple(data.class_fractions),
      seed=experiment.data_seed,
      data_dir=experiment.data_dir,
    )
  if data.builder == "galaxy_catalog":
    path = _find(data.catalog, experiment.manual_dir)
    return dataset.catalog_builder(
      path,
      Path(data.images) if data.images else path.parent,
      Columns(
        data.id_column,
        data.file_column,
        data.label_column,
        tuple(data.vote_columns),
      ),
      tuple(data.classes),
      experiment.data_dir,
    )
  raise UserError(
    f"data.builder is {data.builder!r}: choose galaxy_catalog or "
    "galaxy_synthetic."
  )


def _find(catalog: str, manual_dir: str | None) -> Path:
  """The catalogue as given, or in the folder of downloaded files."""
  if not catalog:
    raise UserError(
      "data.catalog is empty: give the table with "
      "--config.data.catalog=FILE.csv."
    )
  path = Path(catalog)
  if not path.exists() and manual_dir:
    return Path(manual_dir) / catalog
  return path
