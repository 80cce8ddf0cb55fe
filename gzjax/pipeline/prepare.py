"""prepare: files of galaxies -> data set, pixels, split.parquet."""

from collections.abc import Iterator
import contextlib
import io
import os
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from gzjax.audit import evidence
from gzjax.data import (
  bad_images,
  builders,
  dataset,
  pixels,
  survey,
)
from gzjax.data.images import open_image
from gzjax.errors import UserError, naming
from gzjax.evaluation import vote_tables
from gzjax.files import write_json, write_table, write_whole
from gzjax.morphology import labels, noise, splits, trees, vote_statistics
from gzjax.morphology.votes import Votes
from gzjax.pipeline import labels_and_flips
from gzjax.pipeline.experiment import Experiment
from gzjax.progress import say


def run(experiment: Experiment) -> None:
  """Writes `split.parquet` and notes where the prepared data set lies."""
  config = experiment.config
  folder = record(experiment, _builder(experiment))
  _check_crop(experiment, folder)
  everything = dataset.load(folder, crop=experiment.crop, size=config.data.size)
  found, task = _labels(config, everything)
  left_out = {**everything.left_out, **found.left_out}
  _say_what_is_left(found, left_out)
  data, label = everything.select(found.kept), found.label[found.kept]
  ids = data.table["id_str"]
  split = _split(experiment, data.table, label, found.classes)
  _look_at_images(experiment, data, np.asarray(splits.SPLITS)[split])
  train = np.flatnonzero(split == splits.SPLITS.index("train"))
  train_label = label.copy()
  train_label[train] = _flipped(experiment, everything, found, train)
  retain = int(np.sum(train_label[train] == label[train]))
  sizes = {"train": retain, "unlearn": retain}
  _check_sizes(experiment, sizes, train_label, found.classes)
  if config.target.kind == "branches":
    # How many galaxies teach each question, as the slides do.
    taught = trees.sums(task.tree, task.votes[found.kept[train]]) > 0
    title = "training galaxies of each branch"
    _say_counts(title, task.tree.branches, np.sum(taught, axis=0))
  write_json(
    experiment.workdir / "stages" / "dataset.json",
    {
      "folder": str(folder),
      "fingerprint": data.fingerprint,
      "classes": found.classes,
      "left_out": left_out,
      "questions": _questions(data),
      # Of the votes that the network learns.
      "tree": trees.to_json(task.tree),
      "normalisation": pixels.channel_statistics(data.image, train)
      if config.data.normalise == "training"
      else None,
    },
  )
  if data.votes:
    _write_votes(experiment.workdir / "data", ids, data.votes, split)
  flips = not experiment.is_repair
  table = _split_table(
    ids, split, label, train_label, found.classes, flips=flips
  )
  if task.votes.size:
    donors = np.arange(len(label))
    donors[train] = train[
      noise.donors(label[train], train_label[train], experiment.data_seed)
    ]
    table["votes_of"] = ids.to_numpy()[donors]
  write_table(experiment.workdir / "split.parquet", table)


def check(experiment: Experiment) -> None:
  """UserError for a config that does not suit the galaxies that there are."""
  label, sets = experiment.labels("train_label"), experiment.sets
  sizes = {"train": len(sets.train), "unlearn": len(sets.retain)}
  _check_sizes(experiment, sizes, label, experiment.classes)


def find_again(experiment: Experiment) -> None:
  """Makes a data set that is gone once more, from the same galaxies.

  UserError for others.
  """
  folder = experiment.data_folder
  if folder.is_dir():
    return
  builder = _builder(experiment)
  if Path(os.fspath(builder.data_dir)) != folder:
    raise UserError(
      f"the prepared data set {folder} is gone, and the galaxies that it was "
      "made from have changed since: put it or them back, or start anew with "
      "--overwrite."
    )
  say(f"the prepared data set {folder} is gone: making it again")
  record(experiment, builder)


def record(experiment: Experiment, builder: Any) -> Path:
  """Writes a data set unless it is there; see `listing_bad_images`."""
  with listing_bad_images(experiment):
    return dataset.prepare(builder, experiment.manual_dir)


@contextlib.contextmanager
def listing_bad_images(
  experiment: Experiment, section: str = "data"
) -> Iterator[None]:
  """UserError for bad images, of which a list is left in the workdir.

  The section of the config is that of the settings of their images.
  """
  path = experiment.workdir / "data" / "bad_images.csv"
  path.unlink(missing_ok=True)
  try:
    with naming(section):
      yield
  except bad_images.BadImagesError as error:
    write_table(path, pd.DataFrame(error.bad))
    raise UserError(
      f"{error} All are in {path}; --skip_bad leaves them out."
    ) from error
  except bad_images.BadImageError as error:
    raise UserError(f"{error} --skip_bad leaves it out.") from error


def _check_crop(experiment: Experiment, folder: Path) -> None:
  """UserError for a central crop that is larger than all images."""
  crop = experiment.crop
  if not crop:
    return
  sizes = []
  for data in dataset.some_images(folder, 100):
    with open_image(io.BytesIO(data)) as image:
      sizes.append(image.size)
  width, height = max(sizes, key=min)
  if crop > min(width, height):
    raise UserError(
      f"data.crop is {crop}: the images have {width} x {height} pixels; give "
      f"at most {min(width, height)}, or 0 for the whole of them."
    )


def _look_at_images(
  experiment: Experiment, data: dataset.Dataset, split: np.ndarray
) -> None:
  """Says, and lists in data/, which images are empty or there twice.

  UserError if all are the same.
  """
  found, ids = survey.look(data.image), data.table["id_str"].to_numpy()
  if not found.first.any():
    raise UserError(
      f"all {len(ids):,} images are the same: check the column and the pattern "
      "of their files (data.file_column, data.file_pattern)."
    )
  empty, twins = np.flatnonzero(found.constant), np.flatnonzero(found.twins)
  same = found.first[twins]
  leaks = int(np.sum(split[twins] != split[same]))
  table = pd.DataFrame({"id_str": ids[twins], "same_as": ids[same]})
  for name, rows, listed, words in (
    (
      "empty_images.csv",
      empty,
      pd.DataFrame({"id_str": ids[empty]}),
      "have one colour only: they show nothing",
    ),
    (
      "same_images.csv",
      twins,
      table.assign(split=split[twins], split_of_the_other=split[same]),
      f"are the same as another one, {leaks:,} of them in another part of the "
      "split: what is measured there may have been learned by heart",
    ),
  ):
    path = experiment.workdir / "data" / name
    path.unlink(missing_ok=True)
    if len(rows):
      write_table(path, listed)
      say(f"note: {len(rows):,} images {words} ({path})")


def _labels(
  config: ml_collections.ConfigDict, everything: dataset.Dataset
) -> tuple[labels.Labels, labels_and_flips.VoteTask]:
  """Labels of galaxies that the network can learn from, and its task.

  The task is that of all galaxies, to say at once what cannot be learned.
  """
  found = labels_and_flips.find_labels(config, everything)
  for note in everything.notes:
    say(f"note: {note}")
  task = labels_and_flips.task(config, everything, found.classes)
  if not task.known.all():
    label = np.where(task.known, found.label, labels.LEFT_OUT)
    lost = int(np.sum(found.label != label))
    why = "nobody answered a question that is learned"
    found = found._replace(label=label, left_out={**found.left_out, why: lost})
  return found, task


def _flipped(
  experiment: Experiment,
  everything: dataset.Dataset,
  found: labels.Labels,
  train: np.ndarray,
) -> np.ndarray:
  """The labels of the training galaxies, some of them wrong on purpose."""
  config, rows = experiment.config, found.kept[train]
  model = labels_and_flips.flip_model(
    config, found.classes, experiment.data_seed
  )
  known = labels_and_flips.evidence(config, everything, found)
  with naming("flips"):
    return noise.flip_labels(model, found.label[rows], known.select(rows))


def _split_table(
  ids, split, label, train_label, class_names, *, flips: bool
) -> pd.DataFrame:
  classes, flipped = np.asarray(class_names), train_label != label
  table = pd.DataFrame(
    {
      "id_str": ids,
      "split": np.asarray(splits.SPLITS)[split],
      "true_label": classes[label],
      "train_label": classes[train_label],
      "flipped": flipped,
      "set": np.where(flipped, "forget", "retain"),
    }
  )
  if not flips:  # which labels are wrong nobody knows
    table = table.drop(columns=["true_label", "flipped"])
  # Validation and test galaxies belong to neither set.
  table.loc[table["split"] != "train", "set"] = None
  return table


def _check_sizes(
  experiment: Experiment,
  galaxies: dict[str, int],  # that each section learns from
  label: np.ndarray,
  names: tuple[str, ...],
) -> None:
  for section, retain in galaxies.items():
    size = experiment.config[section].batch_size
    if size > retain:
      raise UserError(
        f"{section}.batch_size={size} is more than the {retain} training "
        "galaxies whose labels are kept: lower it or add galaxies."
      )
  _check_folds(experiment, label, names)


def _check_folds(
  experiment: Experiment, label: np.ndarray, names: tuple[str, ...]
) -> None:
  """Finds what the audit could not do after hours of training."""
  audit = experiment.config.audit
  with naming("audit"):
    evidence.check_folds(label, audit.folds, names)
  if audit.kind != "folds":
    return
  largest = int(np.sum(-(-np.bincount(label) // audit.folds)))
  learned, size = len(label) - largest, experiment.recipe("audit").batch_size
  if size > learned:
    raise UserError(
      f"audit.folds={audit.folds} leaves about {learned} galaxies to learn "
      f"from, fewer than a batch of {size}: raise the folds, lower the "
      "batch_size of train or audit.train, or add galaxies."
    )


def _questions(data: dataset.Dataset) -> dict[str, tuple[int, int]]:
  """Where the answers of each question stand, from and to."""
  if not data.votes:
    return {}
  tree = data.votes.tree
  return {
    question.name: (part.start, part.stop)
    for question, part in zip(tree.questions, tree.slices, strict=True)
  }


def _write_votes(
  folder: Path, ids: pd.Series, votes: Votes, split: np.ndarray
) -> None:
  """Writes the votes, and what the lab report looks at before training."""
  values, names = votes.cumulative, votes.tree.answers
  write_whole(
    folder / "correlations.csv",
    vote_statistics.correlations(values, names).to_csv,
  )
  write_table(
    folder / "splits.csv", vote_statistics.compare_splits(values, split, names)
  )
  table = vote_tables.votes_table(votes)
  table.insert(0, "id_str", ids)
  write_table(folder / "votes.parquet", table)


def _say_what_is_left(found: labels.Labels, left_out: dict[str, int]) -> None:
  for why, count in left_out.items():
    if count:
      say(f"left out {count:,}: {why}")
  counts = np.bincount(found.label[found.kept], minlength=len(found.classes))
  _say_counts(f"kept {len(found.kept):,} galaxies", found.classes, counts)


def _say_counts(title, names, counts) -> None:
  words = (f"{name} {n:,}" for name, n in zip(names, counts, strict=True))
  say(f"{title}: {', '.join(words)}")


def _split(
  experiment: Experiment,
  table: pd.DataFrame,
  label: np.ndarray,
  classes: tuple[str, ...],
) -> np.ndarray:
  """Indices of SPLITS: those of the data set if it has some, else drawn.

  A person's own labels may be rare: then validation and test may lack one.
  """
  split = experiment.split_of(table)
  if split is None:
    with naming("data"):
      return splits.stratified_split(
        label, experiment.config.data.split, experiment.data_seed, classes
      )
  needed = splits.SPLITS[:1] if experiment.is_repair else splits.SPLITS
  # Of a person's own labels, a corrected one would draw another split.
  may_draw = not experiment.is_repair
  splits.check_all_present(label, split, classes, needed, may_draw=may_draw)
  for number, name in enumerate(splits.SPLITS):
    if not np.any(split == number):
      raise UserError(
        f"no galaxy falls into {name}: add some, or give another data.split."
      )
  return split


def _builder(experiment: Experiment):
  data, flips = experiment.config.data, experiment.config.flips
  settings = builders.READERS.take(data.builder, data)
  if "catalog" in settings:
    path, images = catalog_files(experiment, "data")
    settings["catalog"] = str(path)
    if "images" in settings:
      settings["images"] = str(images)
  place = builders.Place(
    experiment.data_dir,
    experiment.manual_dir,
    experiment.data_seed,
    data.size,
    "" if flips.column == "votes" else flips.column,
  )
  with naming("data"):
    return builders.READERS[data.builder](place, **settings)


def catalog_files(experiment: Experiment, section: str) -> tuple[Path, Path]:
  """A catalogue and the folder of its images, which a section names.

  The catalogue may lie in the folder of downloaded files, too; the images lie
  beside it unless the section says where. UserError if no catalogue is named.
  """
  named = experiment.config[section]
  if not named.catalog:
    raise UserError(
      f"{section}.catalog is empty: give the table with "
      f"--config.{section}.catalog=FILE.csv."
    )
  path = Path(named.catalog).expanduser()
  if not path.exists() and experiment.manual_dir:
    path = Path(experiment.manual_dir) / named.catalog
  images = Path(named.images).expanduser() if named.images else path.parent
  if path.exists() and not images.is_dir():
    raise UserError(
      f"{section}.images is {str(images)!r}: there is no such folder; if the "
      f"images have moved, give the new one with --config.{section}.images=DIR."
    )
  return path, images
