"""prepare: files of galaxies -> data set, pixels, split.parquet."""

from pathlib import Path

import numpy as np
import pandas as pd

from gzjax.data import dataset, labels, noise, splits
from gzjax.data.galaxy_catalog.catalog import Columns
from gzjax.errors import UserError
from gzjax.progress import say
from gzjax.stages import labelling
from gzjax.stages.experiment import Experiment
from gzjax.workdir import write_json, write_whole


def run(experiment: Experiment) -> None:
  """Writes `split.parquet` and notes where the prepared data set lies."""
  config = experiment.config
  folder = dataset.prepare(_builder(experiment))
  data = dataset.load(folder, crop=config.data.crop, size=config.data.size)
  found = labelling.find_labels(config, data)
  kept = found.kept
  left_out = {**data.left_out, **found.left_out}
  _say_what_is_left(found, left_out)
  write_json(
    experiment.workdir / "stages" / "dataset.json",
    {
      "folder": str(folder),
      "fingerprint": data.fingerprint,
      "classes": found.classes,
      "left_out": left_out,
    },
  )
  label = found.label[kept]
  split = _split(experiment, data.table.iloc[kept], label, found.classes)
  train = np.flatnonzero(split == splits.SPLITS.index("train"))
  train_label = label.copy()
  train_label[train] = noise.flip_labels(
    labelling.flip_model(config, found.classes, experiment.data_seed),
    label[train],
    labelling.evidence(config, data, found).select(kept[train]),
  )
  retain = int(np.sum(train_label[train] == label[train]))
  for section in ("train", "unlearn"):
    if config[section].batch_size > retain:
      raise UserError(
        f"{section}.batch_size={config[section].batch_size} is more than the "
        f"{retain} training galaxies with right labels: lower it or add "
        "galaxies."
      )
  classes = np.asarray(found.classes)
  flipped = train_label != label
  table = pd.DataFrame(
    {
      "id_str": data.table["id_str"].to_numpy()[kept],
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


def _say_what_is_left(found: labels.Labels, left_out: dict[str, int]) -> None:
  for why, count in left_out.items():
    if count:
      say(f"left out {count:,}: {why}")
  counts = np.bincount(found.label[found.kept], minlength=len(found.classes))
  parts = [
    f"{name} {count:,}"
    for name, count in zip(found.classes, counts, strict=True)
  ]
  say(f"kept {len(found.kept):,} galaxies: {', '.join(parts)}")


def _split(
  experiment: Experiment,
  table: pd.DataFrame,
  label: np.ndarray,
  classes: tuple[str, ...],
) -> np.ndarray:
  """Indices of SPLITS: those of the data set if it has some, else drawn."""
  if "split" in table:
    return pd.Index(splits.SPLITS).get_indexer(pd.Index(table["split"]))
  shares = experiment.config.data.split
  return splits.stratified_split(label, shares, experiment.data_seed, classes)


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
