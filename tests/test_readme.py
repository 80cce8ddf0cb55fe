"""What the README says works."""

import re

from tests.command_line import ROOT

README = (ROOT / "README.md").read_text()


def _blocks(language):
  return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_it_is_read_in_minutes():
  assert len(README.splitlines()) <= 130


def test_commands_are_single_lines_that_set_everything_up():
  blocks = [block.strip() for block in _blocks("sh")]
  quick, tests = blocks[0], blocks[-1]
  for command in (quick, tests):
    assert command.startswith("python3 -m venv .venv && ")
    assert "\n" not in command
  assert "launch.py --config=demo:quick --workdir=runs/quick" in quick
  assert tests.endswith("pytest")


def test_the_table_is_that_of_the_results():
  """Its numbers stand in the table of all methods, too."""
  results = (ROOT / "docs" / "results.md").read_text()
  table = results[: results.index("## Real galaxies")]
  rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", README, flags=re.MULTILINE)
  assert len(rows) == 3
  for name, cells in rows:
    (full,) = re.findall(rf"^\| `{name}` \|(.*)$", table, flags=re.MULTILINE)
    *quoted, work = (cell.strip() for cell in cells.split("|"))
    every = [cell.strip() for cell in full.split("|")]
    assert set(quoted) <= set(every), name
    assert work in {f"{float(every[10]):.2f}"}, name


def test_linked_files_exist():
  prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
  targets = re.findall(r"\]\(([^)#]+)\)", prose)
  assert "docs/demo.png" in targets
  for target in targets:
    if target.startswith("https://"):
      continue
    assert (ROOT / target).exists(), target
