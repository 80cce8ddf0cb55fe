"""evaluate: every network on every galaxy -> predictions and scoreboard."""

from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from gzjax import metrics, scoreboard, training
from gzjax.data import noise
from gzjax.stages.experiment import Experiment
from gzjax.unlearning import health
from gzjax.workdir import Workdir, read_json, write_json, write_whole

_FROM_HEALTH = ("verdict", "reason", "wall_seconds", "compile_seconds")


def run(experiment: Experiment) -> None:
  """Writes evaluate/<method>.parquet and the scoreboard as CSV and JSON."""
  galaxies = _galaxies(experiment)
  names = ["original", *experiment.config.unlearn.methods]
  names.sort(key=lambda name: name not in ("original", "retrain"))
  everything = np.arange(len(experiment.split))
  probabilities = {"constant": _constant(galaxies, len(experiment.classes))}
  for name in names:
    state = experiment.restore(_folder(name))
    probabilities[name] = metrics.softmax(experiment.predict(state, everything))
  verdicts = _Verdicts(experiment, probabilities["original"])
  rows = []
  for name, found in probabilities.items():
    folder = experiment.workdir / _folder(name)
    health_report = read_json(folder / "health.json")
    # A method's own report has the seconds, too.
    judged = health_report or {
      **verdicts.of(found),
      **(read_json(folder / "cost.json") or training.Clock().seconds()),
    }
    rows.append(
      {
        "method": name,
        "seed": experiment.config.seed,
        **scoreboard.score(found, galaxies),
        **{key: judged[key] for key in _FROM_HEALTH},
        "health": health_report,
        "confusion": _confusion(found, galaxies).tolist(),
      }
    )
  _compare_with_retrain(rows, probabilities, galaxies)
  for name, found in probabilities.items():
    _write_predictions(experiment, name, found)
  frame = scoreboard.to_frame(rows)
  write_json(experiment.workdir / "scoreboard.json", rows)
  write_whole(
    experiment.workdir / "scoreboard.csv",
    lambda part: frame.to_csv(part, index=False),
  )


def show(workdir: Workdir) -> None:
  """Prints the scoreboard of a finished run."""
  rows = read_json(workdir / "scoreboard.json")
  console = Console()
  if not console.is_terminal:
    console = Console(width=160)
  scoreboard.show(rows, console)
  report = workdir / "report.html"
  if report.exists():
    console.print(f"Report: {report}")


def _folder(name: str) -> str:
  """Where the stage that made a row left its checkpoints."""
  return {"original": "train", "retrain": "retrain"}.get(
    name, f"unlearn/{name}"
  )


def _galaxies(experiment: Experiment) -> scoreboard.Galaxies:
  true_label = experiment.labels("true_label")
  test = experiment.members("test")
  flips = experiment.config.flips
  rows, wrong = noise.wrong_labels(
    true_label[test],
    kind=flips.kind,
    # Other draws than those of the training labels.
    seed=experiment.config.seed + 1,
    class_names=experiment.classes,
    pair=flips.pair,
  )
  return scoreboard.Galaxies(
    true_label=true_label,
    train_label=experiment.labels("train_label"),
    test=test,
    retain=experiment.members("retain"),
    forget=experiment.members("forget"),
    unseen=test[rows],
    unseen_label=wrong,
  )


def _constant(galaxies: scoreboard.Galaxies, num_classes: int) -> np.ndarray:
  """Probabilities of always saying the commonest training label."""
  train = np.concatenate([galaxies.retain, galaxies.forget])
  commonest = np.bincount(galaxies.train_label[train]).argmax()
  one_hot = np.eye(num_classes)[commonest]
  return np.tile(one_hot, (len(galaxies.true_label), 1))


class _Verdicts:
  """Verdicts on networks that no method judged itself."""

  def __init__(self, experiment: Experiment, original: np.ndarray):
    self._experiment = experiment
    self._original = self._read(original)
    label = experiment.labels("true_label")
    rows = experiment.members("validation")
    self._target = health.expected_forget_accuracy(
      metrics.accuracy(label[rows], metrics.predicted_class(original[rows])),
      len(experiment.classes),
    )

  def of(self, probabilities: np.ndarray) -> dict[str, Any]:
    return health.diagnose(
      self._read(probabilities),
      self._original,
      self._target,
      self._experiment.classes,
    )._asdict()

  def _read(self, probabilities: np.ndarray) -> health.Reading:
    validation = self._experiment.members("validation")
    forget = self._experiment.members("forget")
    return health.read(
      None,
      probabilities[validation],
      self._experiment.labels("true_label")[validation],
      probabilities[forget],
      self._experiment.labels("train_label")[forget],
    )


def _compare_with_retrain(
  rows: list[dict[str, Any]],
  probabilities: dict[str, np.ndarray],
  galaxies: scoreboard.Galaxies,
) -> None:
  """Adds the columns that compare with retraining, if there was one."""
  retrain = next((r for r in rows if r["method"] == "retrain"), None)
  if retrain is None:
    return
  for row in rows:
    row |= scoreboard.distance_to_retrain(
      probabilities[row["method"]], probabilities["retrain"], galaxies
    )
    row["gap_to_retrain"] = scoreboard.gap_to_retrain(row, retrain)
    row["cost_vs_retrain"] = row["wall_seconds"] / max(
      retrain["wall_seconds"], 1e-9
    )


def _confusion(
  probabilities: np.ndarray, galaxies: scoreboard.Galaxies
) -> np.ndarray:
  return metrics.confusion_matrix(
    galaxies.true_label[galaxies.test],
    metrics.predicted_class(probabilities[galaxies.test]),
    probabilities.shape[1],
  )


def _write_predictions(experiment, name, probabilities):
  classes = np.asarray([*experiment.classes, None], object)
  table = pd.DataFrame({"id_str": experiment.split["id_str"]})
  table["predicted"] = classes[metrics.predicted_class(probabilities)]
  for k, label in enumerate(experiment.classes):
    table[f"p_{label}"] = probabilities[:, k].astype(np.float32)
  folder = experiment.workdir / "evaluate"
  folder.mkdir(exist_ok=True)
  write_whole(
    folder / f"{name}.parquet",
    lambda part: table.to_parquet(part, index=False),
  )
