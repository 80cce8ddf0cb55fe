"""The stage profile on the tiny demo: new runs, finished ones, mistakes."""

from pathlib import Path

import pytest

from gzjax.errors import UserError
from gzjax.files import read_json
from gzjax.pipeline import stages
from gzjax.profiling import ceilings, operations
from tests.pipeline import tiny_runs

SETTINGS = {
  "profile.what": ("train", "fisher", "finetune"),
  "profile.steps": 2,
}


@pytest.fixture(scope="module", autouse=True)
def small_ceilings():
  """How high they are is of no interest here."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(ceilings.SIZES, "cpu", ceilings.Sizes(64, 2**16))
    yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sky, on_one_device):
  """A new run that was profiled at once."""
  folder = tmp_path_factory.mktemp("profile")
  (folder / "tfds").symlink_to(sky)
  tiny_runs.run(folder, tiny_runs.config(SETTINGS), "profile")
  return folder


def _files(folder: Path) -> dict[str, int]:
  return {
    str(path.relative_to(folder)): path.stat().st_mtime_ns
    for path in folder.rglob("*")
    if path.is_file()
  }


def test_a_new_run_is_prepared_and_profiled(folder):
  run = folder / "run"
  assert (run / "split.parquet").exists()
  assert not (run / "train").exists()
  record = read_json(run / "profile" / "profile.json")
  assert record
  assert list(record["programs"]) == list(SETTINGS["profile.what"])
  assert record["ceilings"]["flops_per_second"] > 0
  for name, found in record["programs"].items():
    assert found["steps"] == 2
    assert set(found["shares"]) == set(operations.KINDS)
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["shares"]["other"] < 0.05
    assert found["product_flops"] > 0
    assert len([*(run / "profile" / name).rglob("*.xplane.pb")]) == 1
  fishers = record["programs"]["fisher"]["shares"]
  assert fishers["sums"] > 0
  assert fishers["optimizer"] == 0


def test_a_second_profile_takes_the_place_of_the_first(folder, capsys):
  before = _files(folder / "run")
  again = tiny_runs.config(SETTINGS, {"profile.what": ("train",)})
  tiny_runs.run(folder, again, "profile")
  said = " ".join(capsys.readouterr().out.split())
  assert "train: busy time of a step" in said
  assert "convolutions, weight gradient" in said
  after = _files(folder / "run")
  changed = {x for x in {*before, *after} if before.get(x) != after.get(x)}
  own = ("profile/", "stages/profile")
  assert all(path.startswith(own) for path in changed), changed
  record = read_json(folder / "run" / "profile" / "profile.json")
  assert list(record["programs"]) == ["train"]


@pytest.mark.parametrize(
  "name", ["train_", "retrain", "original", "unlearn", "fisher,train"]
)
def test_what_has_no_steps_is_one_line(tmp_path, name):
  wrong = tiny_runs.config({"profile.what": (name,)})
  with pytest.raises(UserError) as refused:
    stages.run(wrong, tmp_path / "run", "profile")
  said = str(refused.value)
  assert said.startswith(f"profile.what names {name!r}: choose ")
  assert "\n" not in said
  assert not (tmp_path / "run").exists()


def test_a_method_needs_something_to_forget(folder, tmp_path):
  (tmp_path / "tfds").symlink_to((folder / "tfds").resolve())
  own = tiny_runs.config(
    SETTINGS,
    {"profile.what": ("finetune",)},
    {"flips.kind": "none", "data.split_by": "id"},
  )
  with pytest.raises(UserError, match="nobody has said yet which labels"):
    tiny_runs.run(tmp_path, own, "profile")
