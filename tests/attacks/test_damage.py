"""Files that are cut, flipped or gone: noticed, told, and made whole again."""

import numpy as np
import pytest

from tests.attacks.conftest import assert_same

# Of each kind of file, one.
FILES = (
  "config.json",
  "split.parquet",
  "stages/prepare.json",
  "stages/dataset.json",
  "stages/columns.json",
  "stages/train.json",
  "stages/audit.json",
  "stages/unlearn.json",
  "stages/evaluate.json",
  "stages/report.json",
  "train/cost.json",
  "train/dynamics.parquet",
  "train/metrics.jsonl",
  "train/origin.json",
  "retrain/cost.json",
  "retrain/dynamics.parquet",
  "retrain/metrics.jsonl",
  "unlearn/finetune/settings.json",
  "unlearn/finetune/health.json",
  "unlearn/finetune/metrics.jsonl",
  "unlearn/finetune/origin.json",
  "audit/scores.parquet",
  "audit/summary.json",
  "audit/review.html",
  "reviews/1/reviewed.csv",
  "reviews/1/source.json",
  "evaluate/original.parquet",
  "evaluate/recommendation.json",
  "scoreboard.json",
  "scoreboard.csv",
  "report.html",
)
# What is a person's, and what only a person can put back: one line.
TOLD = ("config.json", "reviews/1/reviewed.csv", "reviews/1/source.json")
RECORDS = tuple(
  f"stages/{name}.json" for name in ("prepare", "train", "unlearn")
)


def _cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
  content = bytearray(path.read_bytes())
  rng = np.random.default_rng(len(content))
  content[rng.integers(len(content))] ^= 1 << rng.integers(8)
  path.write_bytes(content)


def _empty(path):
  path.write_bytes(b"")


DAMAGES = (_cut, _flip, _empty)


# Tried whenever CI runs: what takes another way than the others.
SOME = (
  "split.parquet",
  "stages/train.json",
  "train/dynamics.parquet",
  "unlearn/finetune/health.json",
  "audit/scores.parquet",
  "reviews/1/source.json",
  "scoreboard.json",
)


def _pairs():
  """All files and damages."""
  for i, name in enumerate(FILES):
    for j, damage in enumerate(DAMAGES):
      is_one = name in SOME and i % 3 == j
      mark = pytest.mark.slow if is_one else pytest.mark.attack
      yield pytest.param(name, damage, marks=mark)


@pytest.mark.parametrize(("name", "damage"), [*_pairs()])
@pytest.mark.fault("B")
def test_a_damaged_file_is_noticed_and_made_whole(target, whole, name, damage):
  networks = target.networks()
  damage(target.run / name)
  done = target.launch()
  if name in (*TOLD, *RECORDS):
    assert done.code == 2, done.said
    assert str(target.run / name) in done.line
    assert target.networks() == networks
    return
  assert done.code == 0, done.said
  assert name in done.said
  assert_same(target, whole)
  # The trainings are those that were there.
  kept = {k: x for k, x in target.networks().items() if k in networks}
  assert kept == networks
  again = target.launch()
  assert "all of this is done" in again.said, again.said


@pytest.mark.attack
@pytest.mark.parametrize("name", [x for x in FILES if x not in TOLD])
@pytest.mark.fault("B")
def test_a_missing_file_is_made_again(target, whole, name):
  networks = target.networks()
  (target.run / name).unlink()
  done = target.launch()
  assert done.code == 0, done.said
  assert_same(target, whole)
  assert (target.run / name).exists()
  kept = {k: x for k, x in target.networks().items() if k in networks}
  assert kept == networks


@pytest.mark.attack
@pytest.mark.fault("A4")
def test_no_flipped_bit_of_a_checkpoint_changes_a_number(target, whole):
  """40 times: the numbers are the same, or one line names the checkpoint."""
  rng = np.random.default_rng(1)
  files = sorted(
    path
    for path in target.run.rglob("checkpoints/*/**/*")
    if path.is_file() and path.stat().st_size
  )
  for _ in range(40):
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(flipped)
    done = target.launch("--overwrite", stage="evaluate")
    if done.code:
      assert done.code == 2, done.said
      assert "is damaged" in done.line
    else:
      assert_same(target, whole)
    path.write_bytes(content)


@pytest.mark.attack
@pytest.mark.fault("A4")
def test_no_flipped_bit_of_a_data_set_changes_a_number(target, whole):
  """Thrice in each file; of records pixels and table are read again."""
  rng = np.random.default_rng(3)
  files = [x for x in (target.folder / "tfds").rglob("1.*/*") if x.is_file()]
  for k in range(3 * len(files)):
    kept = {path: path.read_bytes() for path in files}
    path = files[k % len(files)]
    flipped = bytearray(kept[path])
    if flipped:
      flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
    path.write_bytes(flipped)
    if "array_record" in path.name:
      for other in files:
        if other.suffix in (".npy", ".parquet"):
          other.unlink()
    done = target.launch("--overwrite", stage="evaluate")
    if done.code:
      assert done.code == 2, done.said
      assert "damaged" in done.line, done.line
    else:
      assert_same(target, whole)
    for other, content in kept.items():
      other.write_bytes(content)
