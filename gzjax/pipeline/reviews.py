"""reviews/: what a person said of the suspects, round by round."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gzjax import digests
from gzjax.audit import review
from gzjax.data.galaxy_catalog import tables
from gzjax.errors import DamagedError, UserError
from gzjax.files import read_json, read_text_table, write_json, write_whole
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say

if TYPE_CHECKING:
  from gzjax.pipeline.experiment import Experiment

# As --forget: what the audit would cut, without a person.
SUSPECTS = "suspects"
_SOURCE = "source.json"  # what --forget was
# Of files that may be a list with an id on each line.
_OF_LISTS = (".csv", ".txt", "")


def state(workdir: Workdir, split: pd.DataFrame) -> pd.DataFrame:
  """What all rounds have said of the labels in split.parquet.

  id_str, given_label, verdict, corrected_label, note and round, a row for each
  galaxy. A later round replaces what an earlier one said of it, and a cut of
  the audit the cut before it; what was said of another label than the galaxy
  has now does not count.
  """
  return _standing(_rounds(workdir), split)


def has_forget_set(workdir: Workdir) -> bool:
  """Whether some label that the network learned was called wrong."""
  path = workdir / "split.parquet"
  if not path.exists():  # it is being made anew: it may well be
    return bool(_files(workdir))
  split = pd.read_parquet(path)
  wrong = review.forget_ids(state(workdir, split))
  return bool(split["id_str"][split["split"] == "train"].isin(wrong).any())


def add(
  experiment: "Experiment",
  source: str,
  put_aside: Callable[[str, Path], None],
) -> None:
  """Records a round of review, unless it says nothing new.

  Args:
    experiment: of an audited run.
    source: a table as the review page exports it, a list of ids, or `SUSPECTS`.
    put_aside: keeps in a folder what a stage, and those after it, made of the
      rounds before.

  Raises:
    UserError: for what cannot be read back, see `review.read`, and for a review
      that leaves too little to learn or to judge by.
  """
  place, split = experiment.workdir, experiment.split
  rounds = _rounds(place)
  before = _standing(rounds, split)
  kept = _rounds(place, cuts=0) if source == SUSPECTS else rounds
  found = _find(experiment, source, _standing(kept, split))
  after = _standing([*kept, found], split)
  if _said(before) == _said(after):
    say(f"{source} says nothing new: going on with round {len(rounds)}")
    return
  name = f"--forget={SUSPECTS}" if source == SUSPECTS else source
  _check(experiment, after, name)
  only = (review.WRONG,)
  same = _said(before, only) == _said(after, only)
  put_aside(
    "evaluate" if same else "unlearn", _folder(place, len(rounds)) / "results"
  )
  folder = _folder(place, len(rounds) + 1)
  text = found.to_csv(index=False)
  record = {"forget": source, "reviewed": digests.of_bytes(text.encode())}
  write_json(folder / _SOURCE, digests.signed(record))
  write_whole(
    folder / "reviewed.csv", lambda part: part.write_bytes(text.encode())
  )
  _tell(after, len(rounds) + 1)


def _rounds(workdir: Workdir, cuts: int = 1) -> list[pd.DataFrame]:
  """What each round said; of cuts without a person only the last ones."""
  paths = _files(workdir)
  sources = [_source(path) for path in paths]
  rounds = [read_text_table(path) for path in paths]
  of_cuts = [i for i, x in enumerate(sources) if x["forget"] == SUSPECTS]
  for i in of_cuts[: len(of_cuts) - cuts]:
    rounds[i] = rounds[i].head(0)
  return rounds


def _source(path: Path) -> dict[str, str]:
  """Where a round comes from; DamagedError if it is not as it was written."""
  source = path.with_name(_SOURCE)
  record = digests.unsigned(read_json(source))
  mend = "put a copy back, or delete the folder and give the review again"
  if not record:
    raise DamagedError(source, "its digest is another one", mend)
  if record.get("reviewed") not in (None, digests.of_file(path)):
    raise DamagedError(path, "its digest is another one", mend)
  return record


def _standing(
  rounds: Sequence[pd.DataFrame], split: pd.DataFrame
) -> pd.DataFrame:
  """All rounds together, as far as the labels are those that they are of."""
  said = review.merge(rounds)
  if not rounds:
    return said.assign(given_label="")
  given = split.set_index("id_str")["train_label"].reindex(said["id_str"])
  return said[said["given_label"] == given.to_numpy()]


def _said(
  state: pd.DataFrame, verdicts: Sequence[str] = review.VERDICTS
) -> dict[str, tuple[str, str]]:
  """Verdict and correction by id, of some verdicts."""
  part = state[state["verdict"].isin(verdicts)]
  said = zip(part["verdict"], part["corrected_label"], strict=True)
  return dict(zip(part["id_str"], said, strict=True))


def _find(
  experiment: "Experiment", source: str, before: pd.DataFrame
) -> pd.DataFrame:
  """What a round says, with the labels that it is of."""
  suspects = experiment.suspects
  if source == SUSPECTS:
    found = _cut(experiment, before)
  else:
    table = _read(Path(source).expanduser(), source, set(suspects["id_str"]))
    found = review.read(table, suspects, experiment.classes, source)
    _tell_what_stands(table, found, before)
  given = suspects.set_index("id_str")["given_label"]
  found.insert(1, "given_label", given.loc[found["id_str"]].to_numpy())
  return found


def _tell_what_stands(
  table: pd.DataFrame, found: pd.DataFrame, before: pd.DataFrame
) -> None:
  """Says of which galaxies a table has no verdict that had one before."""
  named = before["id_str"].isin(table["id_str"].str.strip())
  count = int(np.sum(named & ~before["id_str"].isin(found["id_str"])))
  if count:
    say(
      f"{count:,} verdicts of earlier rounds are empty here and stand: write "
      "unsure to take one back"
    )


def _cut(experiment: "Experiment", before: pd.DataFrame) -> pd.DataFrame:
  """The training labels that are suspicious enough, as `review.read` returns.

  What a person has said stands; UserError if nobody has read it yet.
  """
  suspects = experiment.suspects
  path = experiment.workdir / "audit" / "suspects.csv"
  written = tables.read_text(path).reindex(columns=review.COLUMNS)
  has_verdict = written["verdict"].fillna("") != ""
  if (has_verdict & ~written["id_str"].isin(before["id_str"])).any():
    raise UserError(
      f"--forget={SUSPECTS}: somebody has written verdicts into {path}: take "
      f"them up first, with --forget={path}."
    )
  chosen = suspects["is_label_issue"] & (suspects["split"] == "train")
  chosen &= ~suspects["id_str"].isin(before["id_str"])
  if not chosen.any() and before.empty:
    raise UserError(
      f"--forget={SUSPECTS}: no training label is suspicious enough at "
      f"audit.false_discovery={experiment.config.audit.false_discovery:g}: "
      "there is nothing to forget."
    )
  found = {"id_str": suspects["id_str"][chosen], "verdict": review.WRONG}
  return pd.DataFrame({**found, "corrected_label": "", "note": ""})


def _read(path: Path, source: str, known: set[str]) -> pd.DataFrame:
  """A reviewed table as text; of a list of ids that column alone.

  A list may have a heading, which is none of the ids that are `known`.
  """
  if not path.is_file():
    raise UserError(
      f"--forget is {source!r}: there is no such file; give what "
      f"audit/review.html exports, a list of ids, or {SUSPECTS}."
    )
  if path.suffix.lower() in _OF_LISTS:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line.strip().strip('"') for line in text.splitlines()]
    lines = [line for line in lines if line]
    if lines and not any(mark in line for line in lines for mark in ",;\t"):
      first = lines[0].lower()
      is_heading = lines[0] not in known and ("id" in first or "name" in first)
      return pd.DataFrame({"id_str": lines[is_heading:]}, dtype=str)
  table = tables.read_text(path)
  if len(table.columns) == 1:
    table.columns = ["id_str"]
  return table


def _check(experiment: "Experiment", after: pd.DataFrame, source: str) -> None:
  """Raises UserError where a review leaves too little."""
  split = experiment.split
  wrong = split["id_str"].isin(review.forget_ids(after)).to_numpy()
  train = (split["split"] == "train").to_numpy()
  kept = split["train_label"][train & ~wrong]
  for name in experiment.classes:
    if not (kept == name).any():
      raise UserError(
        f"{source} calls the labels of all training galaxies of class {name!r} "
        "wrong: nothing would be left to learn the class from; leave the class "
        "out with --config.labels.classes in a new run instead."
      )
  batch = experiment.largest_batch
  if len(kept) < batch:
    raise UserError(
      f"{source} leaves {len(kept)} training galaxies, fewer than a batch of "
      f"{batch}: call fewer labels wrong, or lower --config.unlearn.batch_size "
      "and, for retraining, --config.unlearn.retrain."
    )
  if not experiment.is_repair:
    return
  corrected = split["id_str"].isin(review.corrected(after)).to_numpy()
  for name in ("validation", "test"):
    part = (split["split"] == name).to_numpy()
    if not np.any(part & ~(wrong & ~corrected)):
      raise UserError(
        f"{source} calls all labels of the {name} set wrong and corrects none: "
        "nothing would be left to judge by; correct some of them."
      )


def _tell(after: pd.DataFrame, number: int) -> None:
  counts = after["verdict"].value_counts()
  words = (f"{counts[x]:,} {x}" for x in review.VERDICTS if x in counts)
  corrected = len(review.corrected(after))
  say(
    f"review, round {number}: {', '.join(words)}; {corrected:,} of them with a "
    "corrected label"
  )


def _files(workdir: Workdir) -> list[Path]:
  """The rounds in their order."""
  files = (workdir / "reviews").glob("*/reviewed.csv")
  return sorted(files, key=lambda path: int(path.parent.name))


def _folder(workdir: Workdir, number: int) -> Path:
  return workdir / "reviews" / str(number)
