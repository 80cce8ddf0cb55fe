"""What the other documents say works, too."""

from pathlib import Path
import re

import pandas as pd

from gzjax.data.builders import READERS
from gzjax.morphology import labels, noise
from gzjax.unlearning import METHODS
from tests.command_line import ROOT, launch

DOCS = ROOT / "docs"


def test_every_method_is_in_the_table():
  text = (DOCS / "unlearning.md").read_text()
  for name in METHODS:
    assert f"`{name}`" in text or name.startswith("published_"), name


def test_the_method_of_the_document_runs_from_its_own_file(tmp_path: Path):
  text = (DOCS / "unlearning.md").read_text()
  (code,) = re.findall(
    r"<!-- mine.py -->\n```python\n(.*?)```", text, re.DOTALL
  )
  (tmp_path / "mine.py").write_text(code)
  done = launch(
    f"--config={tmp_path / 'mine.py'}:tiny",
    f"--workdir={tmp_path / 'run'}",
    f"--data_dir={tmp_path / 'tfds'}",
    "--config.train.epochs=1",
    "--config.evaluate.relearn_epochs=0",
    "--config.unlearn.careful.weight=0.25",
  )
  assert done.returncode == 0, done.stderr
  table = pd.read_csv(tmp_path / "run" / "scoreboard.csv")
  assert list(table["method"]) == ["constant", "original", "retrain", "careful"]


def test_a_section_can_be_copied_to_another_row():
  text = (DOCS / "unlearning.md").read_text()
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  names: dict = {}
  exec(compile(blocks[0], "unlearning.md", "exec"), names)
  unlearn = names["config"].unlearn
  assert unlearn.finetune_long.method == "finetune"
  assert unlearn.finetune_long.epochs == 10
  assert unlearn.finetune.epochs != 10


def test_the_data_document_names_all_builders_labels_and_flips():
  text = (DOCS / "data.md").read_text()
  names = {*labels.SCHEMES, *noise.NOISE_MODELS}
  names |= {name for name in READERS if name.startswith("galaxy_zoo")}
  assert names == {name for name in names if f"| `{name}` |" in text}


def test_the_code_of_the_data_document_runs():
  text = (DOCS / "data.md").read_text()
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  assert blocks
  for block in blocks:
    exec(compile(block, "data.md", "exec"), {})


def test_the_code_for_people_who_know_jax_runs(capsys):
  text = (DOCS / "core.md").read_text()
  names: dict = {}  # later blocks go on from earlier ones
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  assert len(blocks) == 2
  for block in blocks:
    exec(compile(block, "core.md", "exec"), names)
  assert float(capsys.readouterr().out) > 0


def test_linked_files_exist():
  for page in DOCS.glob("*.md"):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
      assert (DOCS / target).exists(), (page.name, target)
