"""--overwrite: killed anywhere, it leaves the old run or the new one."""

from pathlib import Path
import shutil

import pytest

from gzjax.pipeline import stops
from gzjax.pipeline.replaced import Replaced

OLD = {
  "config.json": "old config",
  "split.parquet": "old split",
  "stages/train.json": "old record",
  "train/checkpoints/3/model": "old network",
  "train/metrics.jsonl": "old log",
  "reviews/1/reviewed.csv": "a person's",
}
NEW = {
  "config.json": "new config",
  "split.parquet": "old split",
  "stages/train.json": "new record",
  "train/checkpoints/1/model": "new network",
  "unlearn/x": "new",
  "reviews/1/reviewed.csv": "a person's",
}
NAMES = ["stages/train.json", "train", "unlearn"]


class Killed(BaseException):
  """As SIGKILL does, nothing is cleaned up."""


class Process:
  """Is killed before its n-th act on the disk."""

  def __init__(self, monkeypatch, left):
    self.left = left
    acts = (Path, "replace"), (Path, "unlink"), (shutil, "rmtree")
    for place, name in acts:
      monkeypatch.setattr(place, name, self._counting(getattr(place, name)))

  def _counting(self, act):
    def counted(*arguments, **named):
      self.left -= 1
      if self.left < 0:
        raise Killed
      return act(*arguments, **named)

    return counted


def _write(root, files):
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def _files(root):
  """All that a run has, but for what is left over of writing."""
  paths = [x for x in root.rglob("*") if x.is_file() and x.name[0] != "."]
  return {str(x.relative_to(root)): x.read_text() for x in paths}


def _anew(root):
  """What a stage does."""
  _write(root, {name: NEW[name] for name in NEW if NEW[name].startswith("new")})


def _until_killed(monkeypatch, acts, do):
  """Whether `do` came to its end within so many acts."""
  with monkeypatch.context() as patch:
    Process(patch, acts)
    try:
      do()
    except Killed:
      return False
  return True


def _every_kill(tmp_path, monkeypatch, prepare, do):
  """The files after `do` was killed at each of its acts, and taken up again."""
  for acts in range(100):
    root = tmp_path / str(acts)
    prepare(root)
    if _until_killed(monkeypatch, acts, lambda root=root: do(Replaced(root))):
      assert acts > 3
      return
    # Whatever takes it up may be killed, too.
    for more in range(100):
      again = Replaced(root)
      if _until_killed(monkeypatch, more, again.recover):
        break
    yield root
  raise AssertionError("it never ended")


def _old(root):
  _write(root, OLD)


def _set_aside(root):
  _old(root)
  Replaced(root).set_aside(NAMES, "note")


def _made_anew(root):
  _set_aside(root)
  _anew(root)


def test_what_is_set_aside_can_be_put_back_or_dropped(tmp_path):
  for act, wanted in (("put_back", OLD), ("drop", NEW)):
    root = tmp_path / act
    _set_aside(root)
    found = Replaced(root)
    assert found.is_kept and found.note == "note"
    assert not (root / "train").exists()
    assert (
      found.find("train/metrics.jsonl") == root / "replaced/train/metrics.jsonl"
    )
    assert found.find("unlearn") is None
    _anew(root)
    getattr(found, act)()
    assert not found.is_kept
    found.finish()
    assert found.note is None
    assert _files(root) == wanted


def _put_back(found):
  if found.is_kept:  # before the first act, or after the last one
    found.put_back()


def _finish(found):
  found.drop()
  found.finish()


@pytest.mark.parametrize(
  ("prepare", "act", "end", "wanted"),
  [
    (_old, lambda x: x.set_aside(NAMES, "note"), _put_back, OLD),
    (_made_anew, Replaced.put_back, _put_back, OLD),
    (_made_anew, Replaced.drop, _finish, NEW),
  ],
)
def test_killed_at_any_act_one_of_both_runs_is_there(
  tmp_path, monkeypatch, prepare, act, end, wanted
):
  for root in _every_kill(tmp_path, monkeypatch, prepare, act):
    end(Replaced(root))
    assert _files(root) == wanted


@pytest.mark.parametrize("state", [_old, _made_anew])
def test_taking_up_what_was_not_killed_changes_nothing(tmp_path, state):
  state(tmp_path)
  before = _files(tmp_path)
  Replaced(tmp_path).recover()
  assert _files(tmp_path) == before


def test_whoever_stops_it_knows_where_the_old_files_are(tmp_path, monkeypatch):
  told = []
  monkeypatch.setattr(stops, "tell", told.append)
  _write(tmp_path, OLD)
  Replaced(tmp_path).set_aside(NAMES, "note")
  assert told[-1].startswith(f"the old result lies in {tmp_path / 'replaced'} ")
  told.clear()
  again = Replaced(tmp_path)  # after a kill
  again.recover()
  assert "the old result lies in" in told[-1]
  again.drop()
  assert told[-1] == ""
