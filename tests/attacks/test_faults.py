"""Faults that the first version had, each tried on a finished run.

A mistake is one line, before any work, and nothing of the run is touched.
"""

import io
import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from tests.attacks.conftest import assert_same

pytestmark = pytest.mark.slow

OVER = ("--overwrite",)
# (row of the list of faults, what is wrong, flags, words of the line)
MISTAKES = (
  ("A1", "another size", (*OVER, "--config.data.size=32"), "data.size was 16"),
  ("A1", "a batch of all", (*OVER, "--config.train.batch_size=1000"), "1000"),
  ("A1", "odd batches", (*OVER, "--config.train.batch_size=9"), "batch_size=9"),
  ("A1", "weights gone", (*OVER, "--config.model.weights=/no.pth"), "/no.pth"),
  ("A1", "table gone", (*OVER, "--config.data.catalog=no.csv"), "no.csv"),
  ("A8", "a seed of 1.5", ("--config.seeds=(1,1.5)",), "seeds"),
  ("A8", "no zoom", ("--config.train.zoom=0.",), "train.zoom"),
  ("A8", "rotation NaN", ("--config.train.rotation=nan",), "train.rotation"),
  ("B", "a seed of a", ("--config.seeds=('a',)",), "seeds"),
  (
    "B",
    "a batch of -1",
    ("--config.unlearn.forget_batch_size=-1",),
    "unlearn.forget_batch_size",
  ),
  (
    "B",
    "no epoch",
    ("--config.unlearn.finetune.epochs=0",),
    "unlearn.finetune.epochs",
  ),
  ("C", "a rate below 0", ("--config.train.learning_rate=-1.",), "learning"),
  ("C", "dropout of 2", ("--config.model.dropout=2.",), "dropout"),
  ("C", "a shift of 5", ("--config.train.shift=5.",), "train.shift"),
  ("C", "no workdir", ("--workdir=",), "--workdir has no value"),
  ("C", "a bucket", ("--workdir=gs://bucket/run",), "gs://bucket/run"),
  ("D", "no config", ("--config=dem",), "demo"),
  ("D", "a short flag", ("--epochs=3",), "--config.train.epochs"),
)


def _rows(table):
  """What differs between tests, with their rows of the list of faults."""
  return [
    pytest.param(row, *values, id=f"{row} {what}", marks=pytest.mark.fault(row))
    for row, what, *values in table
  ]


@pytest.mark.parametrize(("row", "flags", "words"), _rows(MISTAKES))
def test_a_mistake_in_a_flag_touches_nothing(target, row, flags, words):
  before = target.state()
  done = target.launch(*flags, stage="train" if "A1" in row else "all")
  assert done.code == 2, done.said
  assert words in done.line
  assert target.state() == before


def _edit(target, text):
  """The catalogue with other text."""
  target.catalogue.write_text(text(target.catalogue.read_text()))


def _doubled(table):
  lines = table.splitlines()
  more = [f"{x},{x.split(',')[2]}" for x in lines]
  return "\n".join(more)


TABLES = (
  ("C", "ids as floats", lambda x: re.sub(r"\n1", "\n5.877229817361e+1", x)),
  ("C", "two columns label", _doubled),
  ("B", "cut", lambda x: x[:20]),
  ("D", "no column of ids", lambda x: x.replace("id_str", "shape")),
)


@pytest.mark.parametrize(("row", "edit"), _rows(TABLES))
def test_a_mistake_in_the_table_touches_nothing(target, row, edit):
  del row
  before = target.state()
  _edit(target, edit)
  done = target.launch("--overwrite")
  assert done.code == 2, done.said
  assert target.catalogue.name in done.line
  assert target.state() == before


@pytest.mark.fault("A2")
def test_a2_each_result_names_the_network_that_it_is_of(whole):
  rows = json.loads((whole.run / "scoreboard.json").read_text())
  named = {row["method"]: row["network"] for row in rows}
  assert named.pop("constant") == ""
  assert len(set(named.values())) == len(named) == 4
  for name, digest in named.items():
    table = pd.read_parquet(whole.run / "evaluate" / f"{name}.parquet")
    assert table.attrs["network"] == digest


@pytest.mark.fault("A3")
def test_a3_a_data_folder_that_moved_is_made_again_in_its_place(target, whole):
  networks = target.networks()
  shutil.rmtree(target.folder / "tfds")
  for place in ("tfds", "elsewhere"):
    done = target.launch(f"--data_dir={target.folder / place}")
    assert done.code == 0, done.said
    assert target.networks() == networks
    assert_same(target, whole)
    shutil.rmtree(target.folder / place)
  _edit(target, lambda x: x.replace("smooth", "featured", 3))
  assert "have changed since" in target.launch().line


@pytest.mark.fault("A4")
def test_a4_verify_reads_the_records(target):
  (path,) = (target.folder / "tfds").rglob("*.array_record*")
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  assert target.launch().code == 0  # pixels and table are kept
  done = target.launch("--verify")
  assert done.code == 2, done.said
  assert f"{path} is damaged" in done.line


@pytest.mark.fault("A5")
def test_a5_a_table_edited_since_is_told(target):
  before = target.networks()
  _edit(target, lambda x: x.replace("smooth", "featured", 3))
  done = target.launch()
  assert "changed since" in done.said
  assert target.networks() == before


@pytest.mark.fault("A7")
def test_a7_a_training_that_diverges_stops_at_that_epoch(target):
  before = target.networks()
  rate = "--config.train.learning_rate=1e8"
  done = target.launch(*OVER, rate, stage="train")
  assert done.code == 2, done.said
  assert "train.learning_rate" in done.line and "epoch" in done.line
  assert target.networks() == before


def _new_images(target, draw):
  for path in sorted((target.folder / "images").iterdir()):
    draw(path)


@pytest.mark.fault("A9")
def test_a9_deep_pixels_of_few_bits_are_not_black(target):
  """16-bit files of values up to 255, and some that are black, are counted."""

  def draw(path):
    bright = 0 if path.stem in ("0", "1", "2") else 200
    noise = np.random.default_rng(int(path.stem)).integers(0, 56, (16, 16))
    Image.fromarray((noise * (bright > 0) + bright).astype(np.uint16)).save(
      path
    )

  _new_images(target, draw)
  done = target.launch("--overwrite", stage="prepare")
  assert done.code == 0, done.said
  assert "3 images" in done.said
  pixels = next((target.folder / "tfds").rglob("*.npy"), None)
  assert pixels is None or np.load(pixels, mmap_mode="r").max() > 200


@pytest.mark.fault("B")
def test_b_a_config_file_with_a_mistake_names_its_line(target, tmp_path):
  path = tmp_path / "mine.py"
  path.write_text("def get_config():\n  return (\n")
  done = target.launch(f"--config={path}")
  assert done.code == 2
  assert str(path) in done.line and "line 2" in done.line


@pytest.mark.fault("B")
def test_b_nothing_that_windows_lacks_is_imported():
  from gzjax import locks
  import gzjax.pipeline.launch  # noqa: F401

  assert not hasattr(locks, "fcntl")
  assert "gzjax" in sys.modules


@pytest.mark.fault("C")
def test_c_the_same_image_everywhere_is_told(target):
  first = (target.folder / "images" / "0.png").read_bytes()
  _new_images(target, lambda path: path.write_bytes(first))
  done = target.launch("--overwrite", stage="prepare")
  assert "same" in done.said, done.said


@pytest.mark.fault("D")
def test_d_a_table_of_semicolons_is_read(target):
  _edit(target, lambda x: x.replace(",", ";"))
  done = target.launch("--overwrite", stage="prepare")
  assert done.code == 0, done.said


@pytest.mark.fault("D")
def test_d_all_bad_images_are_told_at_once(target):
  before = target.networks()
  for i in range(30):
    (target.folder / "images" / f"{i}.png").write_bytes(b"\x89PNG no more")
  done = target.launch("--overwrite", stage="prepare")
  assert done.code == 2, done.said
  assert "30 of 90 images" in done.line and "20 more" in done.line
  assert "BytesIO" not in done.said
  assert target.networks() == before


@pytest.mark.fault("D")
def test_d_a_finished_run_says_that_nothing_was_done(target):
  before = target.state()
  done = target.launch()
  assert done.code == 0 and "all of this is done" in done.said
  assert target.state() == before


@pytest.mark.fault("E")
def test_e_a_postscript_file_starts_no_program(target, monkeypatch):
  monkeypatch.setenv("PATH", str(target.folder))
  (target.folder / "images" / "4.png").write_bytes(
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n"
  )
  done = target.launch("--overwrite", stage="prepare")
  assert done.code == 2, done.said
  assert "4.png" in done.line and "none of" in done.line


@pytest.mark.fault("E")
def test_e_a_picture_that_declares_more_than_it_has_takes_no_memory(target):
  buffer = io.BytesIO()
  Image.new("RGB", (16, 16)).save(buffer, "PNG")
  content = bytearray(buffer.getvalue())
  content[16:24] = (60_000).to_bytes(4, "big") * 2
  (target.folder / "images" / "5.png").write_bytes(content)
  done = target.launch("--overwrite", stage="prepare")
  assert done.code == 2, done.said
  assert "5.png" in done.line


@pytest.mark.fault("A15")
def test_a15_a_forget_set_of_one_claims_nothing(target):
  one = pd.read_parquet(target.run / "split.parquet")
  train = one["id_str"][one["split"] == "train"]
  shutil.rmtree(target.run / "reviews")
  path = target.folder / "one.txt"
  path.write_text(train.iloc[0])
  done = target.launch(f"--forget={path}", "--retrain", stage="unlearn")
  assert done.code == 0, done.said
  rows = json.loads((target.run / "scoreboard.json").read_text())
  assert "it learned its wrong labels" not in done.said, rows
