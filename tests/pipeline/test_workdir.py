"""Records of stages, logs that survive a kill, whole files only."""

import json
import os
import subprocess
import sys

import pytest

from gzjax.errors import UserError
from gzjax.files import (
  MetricsLog,
  first_difference,
  read_json,
  to_json,
  write_json,
)
from gzjax.pipeline.workdir import Workdir


def test_a_stage_is_finished_only_when_it_says_so(tmp_path):
  place = Workdir(tmp_path / "run")
  config = {"train": {"epochs": 3, "shares": (0.5, 0.5)}}
  assert not place.check("train", config)
  place.start("train", config)
  assert not place.check("train", config)
  place.finish("train")
  assert place.check("train", config)


def test_records_carry_a_digest_but_for_those_of_older_runs(tmp_path):
  place, path = Workdir(tmp_path), tmp_path / "stages" / "train.json"
  place.start("train", {"train": {"epochs": 3}})
  place.finish("train")
  record = read_json(path)
  write_json(path, {**record, "finished": False})
  with pytest.raises(UserError, match=r"train\.json is damaged"):
    place.is_finished("train")
  del record["digest"]
  write_json(path, record)
  assert place.is_finished("train")


def test_another_config_is_refused_with_the_first_difference(tmp_path):
  place = Workdir(tmp_path)
  place.start("train", {"train": {"epochs": 3}})
  with pytest.raises(UserError, match=r"train\.epochs was 3, is 4.*overwrite"):
    place.check("train", {"train": {"epochs": 4}})


def test_unwritable_workdir(tmp_path):
  (tmp_path / "file").touch()
  place = Workdir(tmp_path / "file" / "run")
  with pytest.raises(UserError, match=r"cannot write.*--workdir"), place.hold():
    pass


def test_one_process_at_a_time(tmp_path):
  place = Workdir(tmp_path)
  for _ in range(2):
    with (
      place.hold(),
      pytest.raises(UserError, match=f"is in use by process {os.getpid()} on"),
      Workdir(tmp_path).hold(),
    ):
      pass
  assert [*tmp_path.rglob("*.json")] == []


def test_a_killed_process_leaves_no_lock_and_no_parts(tmp_path):
  write_json(tmp_path / "whole.json", {})
  script = f"""
import os, signal
from pathlib import Path
from gzjax.files import write_whole
from gzjax.pipeline.workdir import Workdir
def write(part):
  part.write_text("half")
  os.kill(os.getpid(), signal.SIGKILL)
with Workdir({str(tmp_path)!r}).hold():
  write_whole(Path({str(tmp_path)!r}) / "sub" / "table.csv", write)
"""
  subprocess.run([sys.executable, "-c", script], check=False)
  assert len([*tmp_path.rglob("*table.csv*")]) == 1
  with Workdir(tmp_path).hold():
    assert [*tmp_path.rglob("*table.csv*")] == []
    assert (tmp_path / "whole.json").exists()


@pytest.mark.parametrize(
  ("old", "new", "wanted"),
  [
    ({"a": 1}, {"a": 1}, ""),
    ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b was 1, is 2"),
    ({"a": 1}, {}, "a was 1, is unset"),
    ({}, {"a": None}, "a was unset, is null"),
    ({"a": [1]}, to_json({"a": (1,)}), ""),
  ],
)
def test_first_difference(old, new, wanted):
  assert first_difference(old, new) == wanted


@pytest.mark.parametrize(
  ("old", "new", "wanted"),
  [
    ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, ""),
    ({"a": {"b": 1}}, {"a": {"b": 1, "c": 3}}, "a.c was 2, is 3"),
    ({"a": {"b": 1, "c": 4}}, {"a": {"b": 1, "c": 2}}, "a.c was 4, is 2"),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, ""),
    ({"a": {}}, {"a": {"d": 1}}, "a.d was unset, is 1"),
    ({}, {"a": {"c": 2}}, ""),
  ],
)
def test_keys_younger_than_a_record_stood_at_their_defaults(old, new, wanted):
  usual = {"a": {"c": 2}}
  assert first_difference(old, new, usual=usual) == wanted


def test_json_files_are_whole_or_absent(tmp_path):
  assert read_json(tmp_path / "a.json") is None
  write_json(tmp_path / "sub" / "a.json", {"x": 1})
  assert read_json(tmp_path / "sub" / "a.json") == {"x": 1}
  write_json(tmp_path / "b.json", [float("nan"), {"y": float("inf")}, 0.5])
  assert read_json(tmp_path / "b.json") == [None, {"y": None}, 0.5]
  with pytest.raises(TypeError):
    write_json(tmp_path / "sub" / "a.json", {"x": object()})
  assert read_json(tmp_path / "sub" / "a.json") == {"x": 1}
  assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.json"]


def test_log_drops_what_the_checkpoint_has_not_seen(tmp_path):
  path = tmp_path / "metrics.jsonl"
  log = MetricsLog(path, epochs_done=0)
  for epoch in (1, 2, 3):
    log.write(epoch, epoch, "train", loss=0.5)
  with path.open("a") as file:
    file.write('{"step": 4, "epo')  # killed here
  MetricsLog(path, epochs_done=2)
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [line["epoch"] for line in lines] == [1, 2]
  MetricsLog(path, epochs_done=0)
  assert path.read_text() == ""


def test_what_is_put_aside_replaces_what_was_there(tmp_path):
  """A move that was interrupted is done again."""
  place, aside = Workdir(tmp_path / "run"), tmp_path / "aside"
  for text in ("old", "new"):
    place.start("unlearn", {})
    (place / "unlearn" / "ssd").mkdir(parents=True)
    (place / "unlearn" / "ssd" / text).write_text(text)
    (place / "scoreboard.csv").write_text(text)
    place.put_aside("unlearn", ("retrain", "unlearn", "scoreboard.csv"), aside)
    assert not place.check("unlearn", {})
    assert not (place / "unlearn").exists()
  assert [x.name for x in (aside / "unlearn" / "ssd").iterdir()] == ["new"]
  assert (aside / "scoreboard.csv").read_text() == "new"
  assert not (aside / "retrain").exists()
