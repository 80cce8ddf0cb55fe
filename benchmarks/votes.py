"""How near networks come to the best that can be said about votes.

    python -m benchmarks.votes --truth=practice/truth.parquet \
      --workdirs=runs/votes,runs/votes_dirichlet

For skies of `gzjax.sky.export`, whose laws of voting are known. Prints the
Kaggle challenge's RMSE on the test galaxies, with 95% intervals (a bootstrap
over galaxies): of the mean vector, of the central pixel benchmark, of the
network `original` of each workdir (some of whose training votes were wrong) and
of `retrain` (without those), and of the mean of the true law. That last one is
the floor: what is left is chance, in whom was asked. Beside it stands
the distance, the RMSE to the mean of the true law instead of to the votes (the
squares of floor and distance add up to that of the RMSE, but for chance). For
networks with Dirichlet laws also the mean negative log-likelihood of the votes
per galaxy, beside that of one law for all galaxies and of the true laws.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
import zipfile

from absl import app, flags
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy import special

from benchmarks import report
from gzjax.data.images import to_square
from gzjax.errors import UserError
from gzjax.evaluation import baselines, dirichlet, vote_tables
from gzjax.evaluation.baselines import CENTRE
from gzjax.evaluation.votes import scores
from gzjax.files import read_json
from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE
from gzjax.progress import progress
from gzjax.sky import export
from gzjax.threads import bounded_map

TRUE_LAW = "true law"


def expected_fractions(
  concentration: np.ndarray, volunteers: np.ndarray
) -> np.ndarray:
  """Mean of `export.kaggle_fractions` over all votes, f64[N,37].

  No prediction has a smaller expected squared error. The questions' laws are
  independent, so that means multiply along the tree. But where all volunteers
  say "artifact", nobody is asked whether anything is odd, and the challenge's
  files then say that nothing is.

  Args:
    concentration: f[N,37], of the Dirichlet laws, as `GZ2.answers`.
    volunteers: i[N], how many vote on each galaxy.
  """
  alpha = np.asarray(concentration, np.float64)
  shares = dirichlet.mean_shares(GZ2, alpha)
  artifact = alpha[:, GZ2.index("smooth-or-featured_artifact")]
  rest = alpha[:, GZ2.slices[0]].sum(axis=1) - artifact
  all_say_so = np.exp(
    special.betaln(artifact + volunteers, rest) - special.betaln(artifact, rest)
  )
  yes = GZ2.index("something-odd_yes")
  shares[:, yes] *= 1 - all_say_so
  shares[:, GZ2.index("something-odd_no")] = 1 - shares[:, yes]
  return trees.joint(GZ2_KAGGLE, shares)


def compare(
  truth: pd.DataFrame, workdirs: list[Path], pictures: Path | None
) -> pd.DataFrame:
  """All numbers: `measure`, `method`, `question`, `value`, `low`, `high`.

  Args:
    truth: of an exported sky.
    workdirs: of finished runs on it, all with the same split.
    pictures: folder or zip file of its JPEGs; None leaves the central pixel
      benchmark out.

  Raises:
    UserError: for a workdir that is not finished, predicts no votes of this
      sky, or has another split than the first or the same name, and for a
      picture that is missing.
  """
  split, runs = _read_runs(workdirs)
  truth = _select(truth, split["id_str"], workdirs[0])
  train, test = (
    np.flatnonzero(split["split"] == name) for name in ("train", "test")
  )
  counts, law = (_values(truth, kind) for kind in ("counts", "concentration"))
  fractions = export.kaggle_fractions(counts)
  best = expected_fractions(law, counts[:, GZ2.slices[0]].sum(axis=1))
  found = _baselines(fractions, train, split["id_str"], pictures)
  for name, run in runs.items():
    found[name] = trees.joint(GZ2_KAGGLE, run.shares)
  found[TRUE_LAW] = best
  found = {name: values[test] for name, values in found.items()}
  tables = [
    _long(measure, scores(goal[test], found))
    for measure, goal in (("rmse", fractions), ("distance", best))
  ]
  laws = {
    name: run.concentration[test]
    for name, run in runs.items()
    if run.concentration is not None
  }
  if laws:
    constant = dirichlet.fit_concentration(GZ2, counts[train])
    laws = {dirichlet.CONSTANT: constant, **laws, TRUE_LAW: law[test]}
    nll = dirichlet.likelihood(GZ2, counts[test], laws)
    tables.append(_long("nll", nll))
  return pd.concat(tables, ignore_index=True)


def _baselines(fractions, train, ids, pictures) -> dict[str, np.ndarray]:
  """What networks have to beat, f64[N,37] each."""
  mean = baselines.mean_vector(fractions[train])
  found = {"mean vector": np.broadcast_to(mean, fractions.shape)}
  if pictures:
    colour = baselines.central_colour(_centres(pictures, ids))
    centre = baselines.central_pixel(colour, fractions, train)
    found["central pixel"] = centre
  return found


def show(table: pd.DataFrame, console: Console) -> None:
  """Prints the numbers of `compare`."""
  is_nll = table["measure"] == "nll"
  titles = {"rmse": "RMSE", "distance": "distance to the true law"}
  title = "The 37 fractions of the test galaxies"
  _show(console, title, table[~is_nll], "method", "measure", titles)
  if is_nll.any():
    title = "-log likelihood of the votes per test galaxy (nats)"
    _show(console, title, table[is_nll], "question", "method", {})


def _show(console, title, table, rows, columns, names):
  heads = [names.get(name, name) for name in table[columns].unique()]
  shown = Table("", *heads, title=title)
  for name, part in table.groupby(rows, sort=False):
    cells = [
      f"{x.value:.4f}\n[dim]{x.low:.4f} to {x.high:.4f}[/dim]"
      for x in part.itertuples()
    ]
    shown.add_row(name, *cells)
  console.print(shown)


def _long(measure, table):
  """The table with the same columns for all measures."""
  score = "nll" if "nll" in table else "rmse"
  names = {score: "value", f"{score}_low": "low", f"{score}_high": "high"}
  table = table.rename(columns=names).assign(measure=measure)
  if "question" not in table:
    table["question"] = dirichlet.ALL
  return table[["measure", "method", "question", "value", "low", "high"]]


def _read_runs(workdirs):
  """The split that all runs share, and what each one predicts."""
  runs, first = {}, None
  for workdir in workdirs:
    split = _read(workdir, "split.parquet")[["id_str", "split"]]
    if first is None:
      first = split
    if not split.equals(first):
      raise UserError(
        f"{workdir} has another split than {workdirs[0]}: compare runs of the "
        "same galaxies and seed."
      )
    if workdir.name in runs:
      raise UserError(
        f"--workdirs names two folders {workdir.name}: rename one of them."
      )
    record = read_json(workdir / "stages" / "dataset.json") or {}
    tree = record.get("tree", {}).get("name")
    if tree not in (GZ2.name, GZ2_KAGGLE.name):
      raise UserError(
        f"{workdir} predicts no votes of Galaxy Zoo 2 (its tree is {tree!r}): "
        "leave it out of --workdirs."
      )
    table = _read(workdir, "evaluate/original.parquet")
    runs[workdir.name] = vote_tables.predictions_of(GZ2, table)
    if (workdir / "evaluate" / "retrain.parquet").exists():
      table = _read(workdir, "evaluate/retrain.parquet")
      name = f"{workdir.name}, retrain"
      runs[name] = vote_tables.predictions_of(GZ2, table)
  return first, runs


def _read(workdir, name):
  path = workdir / name
  if not path.exists():
    raise UserError(f"{path} is missing: finish the run in {workdir} first.")
  return pd.read_parquet(path)


def _read_truth(path: Path) -> pd.DataFrame:
  if not path.is_file():
    raise UserError(
      f"--truth={path} is no file: export a sky with python -m "
      "gzjax.sky.export."
    )
  return pd.read_parquet(path)


def _select(truth, ids, workdir):
  truth = truth.set_index(truth["GalaxyID"].astype(str))
  unknown = ids[~ids.isin(truth.index)]
  if len(unknown):
    raise UserError(
      f"galaxy {unknown.iloc[0]} of {workdir} is not in the table of --truth: "
      "give the truth.parquet of the sky it was trained on."
    )
  return truth.loc[ids]


def _values(truth, kind):
  names = [f"{answer}_{kind}" for answer in GZ2.answers]
  return truth[names].to_numpy(np.float64)


def _centres(pictures: Path, ids: pd.Series) -> np.ndarray:
  """The central square of each picture, u8[N,CENTRE,CENTRE,3]."""
  square = partial(to_square, crop=CENTRE, size=CENTRE)
  found = bounded_map(square, _files(pictures, ids))
  return np.stack(list(progress(found, len(ids), "reading centres")))


def _files(pictures, ids) -> Iterator[bytes]:
  place = pictures
  if pictures.is_file():
    place = zipfile.Path(pictures) / export.IMAGES
  for name in ids:
    file = place / f"{name}.jpg"
    if not file.exists():
      raise UserError(
        f"{file} is missing: give the pictures of the sky with --images."
      )
    yield file.read_bytes()


def _find_pictures(images: str | None, truth: Path) -> Path | None:
  if images:
    return Path(images).expanduser()
  beside = truth.parent / export.IMAGES
  places = (beside, beside.with_suffix(".zip"))
  return next((path for path in places if path.exists()), None)


def _define_flags():
  flags.DEFINE_string(
    "truth", None, "truth.parquet of an exported sky.", required=True
  )
  flags.DEFINE_list(
    "workdirs", None, "Finished runs on that sky.", required=True
  )
  flags.DEFINE_string(
    "images", None, "Folder or zip of its JPEGs; default: beside the truth."
  )
  flags.DEFINE_string("out", None, "File for the numbers: .csv or .json.")


def main(arguments):
  """Compares, prints and writes."""
  del arguments
  values = flags.FLAGS
  truth = Path(values.truth).expanduser()

  def measure():
    return compare(
      _read_truth(truth),
      [Path(name).expanduser() for name in values.workdirs],
      _find_pictures(values.images, truth),
    )

  out = Path(values.out) if values.out else None
  report.end(measure, partial(show, console=Console()), out)


if __name__ == "__main__":
  _define_flags()
  app.run(main)
