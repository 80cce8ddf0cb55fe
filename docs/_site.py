"""What the site has beyond the pages of this folder: a hook of mkdocs.

The README as its front page, a table of all config keys, and a page for each
package of the reference; links to other files of the repository lead there.
"""

import collections
from pathlib import Path
import re

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
API = {
  "problem": ["gzjax.problem", "gzjax.types", "gzjax.batches"],
  "unlearning": [
    "gzjax.unlearning.driver",
    "gzjax.unlearning.methods",
    "gzjax.unlearning.transforms",
    "gzjax.unlearning.step",
  ],
  "fisher": ["gzjax.fisher.diagonal", "gzjax.fisher.transform"],
  "training": [
    "gzjax.training.recipe",
    "gzjax.training.step",
    "gzjax.training.loop",
    "gzjax.training.optim",
  ],
  "audit": [
    "gzjax.audit.ranking",
    "gzjax.audit.how_many",
    "gzjax.audit.volunteers",
    "gzjax.audit.suspicion",
  ],
  "evaluation": [
    "gzjax.evaluation.scoreboard",
    "gzjax.evaluation.health",
    "gzjax.evaluation.metrics",
    "gzjax.evaluation.intervals",
  ],
  "objectives": [
    "gzjax.objectives.losses",
    "gzjax.objectives.likelihoods",
    "gzjax.objectives.targets",
  ],
  "models": ["gzjax.models", "gzjax.models.layers"],
  "morphology": [
    "gzjax.morphology.trees",
    "gzjax.morphology.votes",
    "gzjax.morphology.labels",
    "gzjax.morphology.noise",
  ],
  "sky": ["gzjax.sky.scene", "gzjax.sky.render", "gzjax.sky.volunteers"],
}


def on_files(files, config):
  """Adds the pages that are made."""
  pages = {"keys.md": _keys()}
  for name, modules in API.items():
    parts = "\n\n".join(f"::: {module}" for module in modules)
    pages[f"api/{name}.md"] = f"# {name}\n\n{parts}\n"
  for path, content in pages.items():
    files.append(File.generated(config, path, content=content))
  return files


def on_page_markdown(markdown, page, config, files):
  """The README as the front page; links out of docs/ to the repository."""
  if page.file.src_uri == "index.md":
    markdown = (ROOT / "README.md").read_text()
    markdown = re.sub(r"\]\(docs/", "](", markdown)
    own = r"\]\((?!https?:|#|[\w.-]+\.(?:md|png|jpg)[#)])"
    markdown = re.sub(own, "](../", markdown)
  files_url = f"{config.repo_url}/blob/main/"
  return re.sub(r"\]\(\.\./(?!\.)", f"]({files_url}", markdown)


def _keys() -> str:
  """Every key of the config: its default and its meaning."""
  # Here, so that whoever reads this file needs no gzjax.
  from gzjax.pipeline import defaults

  lines = [
    "# All keys of the config",
    "",
    "`--config.KEY=VALUE` sets one, `--print_config` shows a run's.",
  ]
  sections = collections.defaultdict(list)
  for name, key in sorted(defaults.keys().items()):
    meaning = key.words.replace("|", "\\|")
    section = name.rpartition(".")[0] or "the run"
    sections[section].append(f"| `{name}` | `{key.default!r}` | {meaning} |")
  for section, rows in sorted(sections.items()):
    lines += ["", f"## {section}", ""]
    lines += ["| key | default | meaning |", "|---|---|---|", *rows]
  return "\n".join(lines) + "\n"
