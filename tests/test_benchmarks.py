"""Benchmarks that run on a bare machine, their gates and ends; the audit's."""

import json
import subprocess
import sys
import time

from gzjax.configs import demo
import jax
import numpy as np
import pandas as pd
import pytest

from benchmarks import (
  accelerator,
  audit,
  audit_trials,
  epoch_ways,
  growth,
  harm,
  peers,
  repair,
  report,
  timing,
  ways,
  wrong_validation,
)
from benchmarks.ways import Way
from gzjax import models, sharding
from gzjax.audit import ranking
from gzjax.errors import UserError
from tests import problems
from tests.command_line import ROOT
from tests.problems import Net

# What such a machine has not; None makes the import fail.
_MISSING = (
  "tensorflow_datasets",
  "ml_collections",
  "pandas",
  "scipy",
  "PIL",
  "matplotlib",
  "jinja2",
  "torch",
)


def _run_without(missing, module, *arguments):
  """Runs a benchmark where imports of some packages fail."""
  program = (
    "import runpy, sys; "
    f"sys.modules.update(dict.fromkeys({missing!r})); "
    f"runpy.run_module('benchmarks.{module}', run_name='__main__')"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return done


@pytest.mark.slow
def test_fisher_benchmark_runs_on_a_bare_machine(tmp_path):
  result = tmp_path / "fisher.json"
  network = "--model=resnet18", "--size=16", "--batch_size=2"
  how = "--rounds=1", "--at_once=2", f"--out={result}"
  done = _run_without(_MISSING, "fisher", *network, *how)
  assert "equal within 0.01: yes" in done.stdout
  ways = json.loads(result.read_text())["ways"]
  assert ways["exact"]["error"] < 1e-5
  assert ways["train step"]["images_per_second"] > 0


# Neither data sets nor configs; PyTorch is left out or is there.
_NO_DATA = ("tensorflow_datasets", "tensorflow", "ml_collections", "pandas")


@pytest.mark.slow
@pytest.mark.parametrize(
  "peers", [False, pytest.param(True, marks=pytest.mark.oracle)]
)
def test_the_accelerator_script_passes_at_toy_size(tmp_path, peers):
  missing = _NO_DATA if peers else (*_NO_DATA, "torch")
  out = tmp_path / "toy.json"
  all_of_it = "--toy", "--budget_seconds=1e9"
  _run_without(missing, "accelerator", *all_of_it, f"--out={out}")
  found = json.loads(out.read_text())
  assert found["left_out"] == []
  tables = {table["name"]: table["rows"] for table in found["measurements"]}
  kinds = {name.split(":")[0] for name in tables}
  assert kinds == {
    "train step", "exact Fisher", "steps", "Fisher of 20 galaxies", "epochs",
    "predict",
  }  # fmt: skip
  rows = [row for table in tables.values() for row in table]
  for row in rows:
    assert row["images_per_second"] > 0, row
  ways = {row["way"] for row in rows}
  assert ("PyTorch eager" in ways) == peers
  assert found["machine"]["jax"] and found["machine"]["device"]
  page = out.with_suffix(".md").read_text()
  assert all(name in page for name in tables)
  assert ("| torch | " in page) == peers


MAINS = [
  path
  for path in sorted((ROOT / "benchmarks").glob("*.py"))
  if "def main(" in path.read_text()
]


@pytest.mark.parametrize("path", MAINS, ids=lambda path: path.stem)
def test_benchmarks_end_alike(path):
  text = path.read_text()
  assert "report.end(" in text
  assert "report.parser(__doc__" in text or '"out", None' in text
  assert "--output" not in text
  page = (ROOT / "benchmarks" / "README.md").read_text()
  assert f"`benchmarks.{path.stem}`" in page


def test_results_are_written_by_their_suffix(tmp_path, capsys):
  table = pd.DataFrame({"way": ["a"], "seconds": [np.float32(0.5)]})
  for name in ("table.csv", "table.parquet", "table.json"):
    report.end(lambda: table, lambda found: print(len(found)), tmp_path / name)
  assert capsys.readouterr().out == "1\n1\n1\n"
  assert pd.read_csv(tmp_path / "table.csv")["seconds"][0] == 0.5
  assert len(pd.read_parquet(tmp_path / "table.parquet")) == 1
  found = json.loads((tmp_path / "table.json").read_text())
  assert found["rows"] == [{"way": "a", "seconds": 0.5}]
  assert {"device", "jax", "revision", "date"} <= found["machine"].keys()
  nested = {"tables": {"x": table}, "rounds": np.arange(2), "bad": np.nan}
  report.write(tmp_path / "nested.json", nested)
  found = json.loads((tmp_path / "nested.json").read_text())
  assert found["tables"]["x"] == [{"way": "a", "seconds": 0.5}]
  assert found["rounds"] == [0, 1] and found["bad"] is None
  with pytest.raises(SystemExit, match=r"error: .*x\.txt must end with \.json"):
    report.end(dict, print, tmp_path / "x.txt")


def test_rounds_end_when_their_time_is_spent():
  runs = {"a": lambda: time.sleep(0.02), "b": lambda: None}
  assert len(timing.interleaved(runs, 50, 0.05)["b"]) == 3
  assert len(timing.interleaved(runs, 50, 0.0)["a"]) == 2
  assert len(timing.interleaved(runs, 4)["a"]) == 4


def _bench():
  return accelerator.Bench(accelerator.TOY, None, "eager", peers=False)


def test_what_fails_its_gate_has_no_speed():
  found = {
    "right": Way(lambda: time.sleep(0.01), images=1),
    "wrong": Way(lambda: None, images=1),
    "nan": Way(lambda: None, images=1),
    "absent": "no compiler here",
  }
  errors = {"right": 1e-6, "wrong": 1.0, "nan": float("nan")}
  rows = accelerator._compare(_bench(), found, errors, 1e-3)
  assert 0 < rows[0]["images_per_second"] <= 100
  assert rows[0]["times"] == [1, 1, 1]
  for row in rows[1:3]:
    assert "failed its gate" in row["note"]
  assert rows[3] == {"way": "absent", "note": "no compiler here"}
  assert not any("seconds" in row for row in rows[1:])
  table = accelerator._table({"name": "which is right", "rows": rows})
  assert "time / right" in table and "no compiler here" in table


def test_what_does_not_fit_the_budget_is_named(monkeypatch, capsys):
  now, kept = [0.0], []

  def measure(seconds):
    now[0] += seconds
    return [{"way": "gzjax", "images_per_second": 1.0}]

  # Twice as long as guessed: 60 seconds are then 120, of which 100 are left.
  monkeypatch.setattr(accelerator.time, "perf_counter", lambda: now[0])
  monkeypatch.setattr(
    accelerator,
    "measurements",
    lambda bench: [
      accelerator.Measurement(name, needs, lambda takes=takes: measure(takes))
      for name, needs, takes in (("a", 50, 100), ("b", 60, 0), ("c", 40, 80))
    ],
  )
  found = accelerator.run(_bench(), 200, lambda found: kept.append(str(found)))
  assert [table["name"] for table in found["measurements"]] == ["a", "c"]
  assert found["left_out"] == ["b"]
  assert "'c'" not in kept[0] and "'c'" in kept[1]
  assert "* b\n" in accelerator.to_markdown(found)
  assert "| gzjax | 1.0 |" in capsys.readouterr().out


def test_a_measurement_that_fails_does_not_take_the_others_with_it(monkeypatch):
  def fail():
    raise MemoryError("no room\nfor it")

  def measure():
    return [{"way": "gzjax", "images_per_second": 1.0}]

  monkeypatch.setattr(
    accelerator,
    "measurements",
    lambda bench: [
      accelerator.Measurement("a", 1, fail),
      accelerator.Measurement("b", 1, measure),
    ],
  )
  found = accelerator.run(_bench(), 1e9, lambda found: None)
  a, b = found["measurements"]
  assert a["rows"] == [{"way": "all", "note": "MemoryError: no room"}]
  assert b["rows"] == measure()


def test_loops_scans_and_fishers_of_a_set_agree():
  size = accelerator.TOY
  setting = size.setting(16, bf16=False)
  mesh = sharding.make_mesh(jax.devices()[:1])
  problem = ways.make_problem(setting, mesh)
  galaxies = epoch_ways.make_galaxies(20, 16, setting.batch, mesh)
  # The padding of the last batch counts nothing.
  scan, loop = (
    epoch_ways.fisher(problem, galaxies, in_chunks=x).result()
    for x in (True, False)
  )
  assert float(scan[0]) == 20
  assert ways.tree_error(scan, loop) < 1e-5
  halved = jax.tree.map(lambda x: x / 2, loop)
  assert ways.tree_error(scan, halved) > 0.9 < ways.means_error(scan, halved)


@pytest.fixture
def trial(tmp_path, monkeypatch):
  """A tiny benchmark of the audit, of galaxies that nobody has to draw."""

  def pictures(seed, label, size):
    rng = np.random.default_rng(seed)
    shape = (len(label), size, size, 3)
    image = rng.normal(60 + 50 * label[:, None, None, None], 30, shape)
    return image.clip(0, 255).astype(np.uint8)

  monkeypatch.setattr(audit_trials, "pictures", pictures)
  monkeypatch.setattr(models, "build", lambda *_, **__: Net())
  audit_trials.sky.cache_clear()
  yield [
    f"--folder={tmp_path / 'kept'}", f"--out={tmp_path / 'all.csv'}",
    "--galaxies=120", "--seeds=0", "--size=6", "--epochs=2", "--folds=2",
  ]  # fmt: skip
  audit_trials.sky.cache_clear()


def test_the_audit_benchmark_measures_planted_labels(
  trial, tmp_path, capsys, monkeypatch
):
  trial += ["--noise=ambiguity", "--kinds=folds,features"]
  audit.main(trial)
  out = capsys.readouterr().out
  for name in (*ranking.OF_NETWORKS, "AUROC", "estimated", "false discovery"):
    assert name in out
  assert " of 1 " in out  # trials whose interval holds the number
  table = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
  assert set(table["kind"]) == {"folds", "features"}
  wrong = table.loc[table["measure"] == "wrong", "value"]
  assert list(wrong.astype(float)) == [12.0] * 2
  # All of it is kept: nothing is trained again.
  monkeypatch.setattr(audit, "measure", None)
  audit.main(trial)
  again = pd.read_csv(tmp_path / "all.csv", keep_default_na=False)
  pd.testing.assert_frame_equal(again, table)


def test_the_audit_benchmark_measures_votes(trial, tmp_path, capsys):
  audit.main([*trial, "--votes"])
  assert "right: endless votes, 5 votes a galaxy" in capsys.readouterr().out
  table = pd.read_csv(tmp_path / "all.csv")
  assert set(table["learned"]) == {"majority", "votes", "classes"}
  found = table.groupby(["learned", "measure"])["value"].mean()
  assert 0 < found["votes", "conjugate right"] <= 1
  assert 0 < found["majority", "dawid_skene right"] <= 1
  for name in ("disagreement", "consensus", "favourite"):
    assert 0.5 < found["majority", f"AUROC, {name}"] <= 1


def test_a_folder_of_another_audit_benchmark_is_refused(trial, monkeypatch):
  nothing = pd.DataFrame({"revision": [], "device": []})
  monkeypatch.setattr(audit, "measured", lambda *_: nothing)
  monkeypatch.setattr(audit, "show", lambda *_: None)
  audit.main(trial)
  with pytest.raises(SystemExit, match=r"how\.epochs was 2, is 3"):
    audit.main([*trial, "--epochs=3"])


def _a_run(place, ids, wrong, split, said):
  """What the benchmark reads of a run."""
  (place / "evaluate").mkdir(parents=True)
  (place / "audit").mkdir()
  score = np.where(wrong, 0.1, 0.9)
  suspects = pd.DataFrame(
    {"id_str": ids, "split": split, "label_score": score}
  ).assign(is_label_issue=wrong)
  suspects = suspects.sort_values("label_score", kind="stable")
  suspects.to_csv(place / "audit" / "suspects.csv", index=False)
  summary = {"wrong": 11.0, "wrong_low": 5.0, "wrong_high": 20.0}
  (place / "audit" / "summary.json").write_text(json.dumps(summary))
  split = pd.DataFrame({"id_str": ids, "split": split})
  split.to_parquet(place / "split.parquet")
  for name, predicted in said.items():
    table = pd.DataFrame({"predicted": predicted})
    table.to_parquet(place / "evaluate" / f"{name}.parquet")
  board = pd.DataFrame({"method": [*said], "cost_vs_retrain": 0.25})
  board.assign(verdict="ok").to_csv(place / "scoreboard.csv", index=False)


def test_the_loop_is_judged_by_labels_that_were_hidden(tmp_path, capsys):
  rng = np.random.default_rng(0)
  ids = [f"0{i}" for i in range(200)]
  right = pd.Series(rng.choice(["spiral", "round"], 200))
  path = tmp_path / "mine.csv"
  pd.DataFrame({"name": ids, "Type": right}).to_csv(path, index=False)
  files = [f"--{x}={tmp_path / x}.csv" for x in ("truth", "table")]
  repair.main([f"--plant={path}", *files, "--id=name", "--label=Type"])
  given = pd.read_csv(tmp_path / "table.csv", dtype=str)["Type"]
  wrong = (given != right).to_numpy()
  assert wrong.sum() == 20
  listed = (tmp_path / "truth.txt").read_text().split()
  assert listed == [x for x, is_wrong in zip(ids, wrong) if is_wrong]
  # On held-out galaxies the original is wrong for 40, retraining for 8 of
  # these, the method for 16: it wins back 24 of 32.
  split = np.repeat(["train", "validation", "test"], [100, 50, 50])
  other = right.map({"spiral": "round", "round": "spiral"}).to_numpy()
  missed = {"original": 40, "cheap": 16, "retrain": 8, "constant": 60}
  said = {
    name: np.where(np.arange(200) >= 200 - count, other, right)
    for name, count in missed.items()
  }
  _a_run(tmp_path / "run", ids, wrong, split, said)
  truth = pd.read_csv(tmp_path / "truth.csv", dtype=str).set_index("id_str")
  found = repair.of_methods([tmp_path / "run"], truth).set_index("method")
  assert "constant" not in found.index
  assert found.loc["cheap", "accuracy"] == pytest.approx(0.84)
  assert found.loc["cheap", "accuracy won back"].startswith("0.75 (0.")
  audited = repair.of_audit(tmp_path / "run", truth).set_index("labels")
  assert audited.loc["all", "AUROC"] == 1
  assert audited.loc["all", "named, wrong"] == 20
  assert audited["wrong"].iloc[0] == audited["wrong"][1:].sum()
  repair.main([files[0], f"--runs={tmp_path / 'run'}"])
  assert "estimated 11 (5 to 20) wrong labels" in capsys.readouterr().out
  (tmp_path / "run" / "evaluate" / "retrain.parquet").unlink()
  with pytest.raises(SystemExit, match="no retraining: unlearn with --retrain"):
    repair.main([files[0], f"--runs={tmp_path / 'run'}"])


@pytest.fixture
def tiny_recipe(monkeypatch):
  """A recipe of seconds, for the benchmark of methods at their defaults."""
  tiny = demo.get_config("tiny")
  tiny.unlearn.methods = ("finetune", "gradient_ascent")
  monkeypatch.setattr(harm, "RECIPES", {"sky_tiny": ("resnet_tiny", 8, 2)})
  monkeypatch.setattr(harm.demo, "get_config", tiny.copy_and_resolve_references)
  return ["--recipes=sky_tiny", "--noise=uniform", "--fractions=0.1"]


@pytest.mark.slow
def test_defaults_and_wrong_validation_labels_are_measured(
  tiny_recipe, tmp_path, capsys
):
  folder, out = tmp_path / "harm", tmp_path / "out.csv"
  harm.main([f"--folder={folder}", f"--out={out}", *tiny_recipe])
  assert "largest" in capsys.readouterr().out
  found = pd.read_csv(out).set_index("method")
  assert {"original", "finetune", "gradient_ascent"} <= set(found.index)
  assert found.loc["original", "lost"] == 0
  moved = found["test_balanced_accuracy"]
  np.testing.assert_allclose(found["lost"], moved["original"] - moved)

  run = folder / "sky_tiny-uniform-0.1-0"
  wrong_validation.main(
    [f"--runs={run}", "--methods=finetune", "--draws=2", f"--out={out}"]
  )
  assert "original stands" in capsys.readouterr().out
  found = pd.read_csv(out)
  assert list(found["wrong"]) == [0, 0.1, 0.1]
  # With right labels it ends as in the run itself.
  board = pd.read_csv(run / "scoreboard.csv").set_index("method")
  for name in ("test_balanced_accuracy", "corrected_accuracy"):
    wanted = board.loc["finetune", name]
    np.testing.assert_allclose(found[name][0], wanted)


def test_a_share_of_the_validation_labels_goes_wrong_and_no_others():
  problem = problems.make()
  seen = wrong_validation.with_wrong_validation(problem, 0.3, 1)
  changed = np.flatnonzero(seen.true != problem.true)
  assert len(changed) == round(0.3 * len(problem.sets.validation))
  assert set(changed) <= set(problem.sets.validation)
  assert set(np.unique(seen.true)) <= {0, 1, 2}


def test_real_galaxies_need_a_folder(tmp_path):
  with pytest.raises(SystemExit, match="say where, with --real"):
    harm.main([f"--folder={tmp_path}", "--recipes=real_resnet18"])
  with pytest.raises(SystemExit, match="choose from sky_resnet18"):
    harm.main([f"--folder={tmp_path}", "--recipes=other"])


def test_the_table_of_peers_says_what_failed(monkeypatch, tmp_path, capsys):
  one = {"images_per_second": 2.0, "gzjax_is_faster_by": [1.5, 1.0, 2.0]}
  way = {
    **{"images_per_second": 3.0, "exact_is_faster_by": [2.5, 2.0, 3.0]},
    **{"temporary_mb": 7.0, "error": 1e-6},
  }
  answers = {
    "train step": {
      **{"losses": {"pytorch": [1.0], "gzjax": [1.0]}, "versions": {}},
      **{"errors": {"pytorch": 0.0, "gzjax": 1e-5}},
      **{"pytorch": one, "gzjax": one},
    },
    "predict": {"failed": "ImportError: no timm"},
    "exact Fisher": {
      "ways": {"train step": way, "exact": way, "Opacus": way},
      **{"versions": {"opacus": "1"}, "left_out": {"BackPACK": "no layer"}},
    },
  }
  monkeypatch.setattr(peers, "_child", lambda what, *_: answers[what])
  out = tmp_path / "peers.json"
  peers.main([f"--out={out}", "--networks=resnet18"])
  rows = json.loads(out.read_text())["rows"]
  assert [row["way"] for row in rows] == [
    "gzjax", "pytorch", "", "exact", "Opacus", "BackPACK",
  ]  # fmt: skip
  text = capsys.readouterr().out
  for words in ("no timm", "no layer", "2.50 (2.00 to 3.00)", "1.50 (1.00"):
    assert words in text
  with pytest.raises(SystemExit, match="--networks has vgg: choose from"):
    peers.main(["--networks=vgg"])


def _grown(count, stage, seconds, peak):
  return {
    "galaxies": count,
    "stage": stage,
    "seconds": seconds,
    "cpu_seconds": 2 * seconds,
    "peak_mib": peak,
  }


def test_growth_goes_on_along_the_line_through_the_two_largest():
  rows = [
    _grown(10, "train", 99.0, 99.0),  # the smallest: it compiles above all
    _grown(20, "train", 3.0, 500.0),
    _grown(40, "train", 5.0, 500.0),
  ]
  found = growth.extrapolated(rows, 100)
  assert found == [_grown(100, "train", 11.0, 500.0)]
  assert not growth.extrapolated(rows[:1], 100)  # through one there is no line
  lines = growth.table({"rows": rows, "extrapolated": found}).splitlines()
  assert lines[0] == "| galaxies | train |"
  assert lines[-1] == "| 100 (extrapolated) | 11 s (22), 500 MiB |"


@pytest.mark.slow
def test_growth_measures_every_stage(tmp_path):
  out = tmp_path / "growth.json"
  folder = tmp_path / "runs"
  growth.main([f"--folder={folder}", "--galaxies=300", f"--out={out}"])
  found = json.loads(out.read_text())
  assert [row["stage"] for row in found["rows"]] == list(growth.STAGES)
  for row in found["rows"]:
    assert 0.5 < row["cpu_seconds"] < 600, row
    assert 0.5 < row["seconds"] < 600, row
    assert 100 < row["peak_mib"] < 10_000, row
  assert found["extrapolated"] == []
  # A run with fewer galaxies than it is said to have is no measurement.
  with pytest.raises(UserError, match="has 300 galaxies, not 301"):
    growth._check(folder / "300", 301, ("predict",))
