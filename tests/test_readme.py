"""What the README says works."""

from pathlib import Path
import re

README = (Path(__file__).parent.parent / "README.md").read_text()


def _blocks(language):
  return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_examples_run(capsys):
  blocks = _blocks("python")
  assert blocks
  names = {}  # later blocks go on from earlier ones
  for block in blocks:
    exec(compile(block, "README.md", "exec"), names)
  assert float(capsys.readouterr().out) > 0


def test_commands_are_single_lines_that_set_everything_up():
  demo, tests = (b.strip() for b in _blocks("sh")[:2])
  for command in (demo, tests):
    assert command.startswith("python3 -m venv .venv && ")
    assert "\n" not in command
  assert "--config=configs/demo.py --workdir=runs/demo" in demo
  assert tests.endswith("pytest")


def test_linked_files_exist():
  prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
  targets = re.findall(r"\]\(([^)#]+)\)", prose)
  assert "docs/demo.png" in targets
  for target in targets:
    if target.startswith("https://"):
      continue
    assert (Path(__file__).parent.parent / target).exists(), target
