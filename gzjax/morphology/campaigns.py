"""The decision trees of Galaxy Zoo's campaigns, and trees of a user's own.

`campaigns.json` has those of the campaigns, with their sources; a file of one's
own has one such entry, as JSON or YAML.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import difflib
import importlib.resources
import json
from pathlib import Path
from typing import Any

import yaml

from gzjax.errors import SettingError, UserError
from gzjax.morphology import trees
from gzjax.registry import choose

OF_CLASSES = "classes"  # name of what is no tree of a campaign
JOINT = "+"  # between the names of trees that one network learns together
_KEYS = ("name", "questions", "campaigns", "stems", "source")
_QUESTION_KEYS = ("name", "text", "answers", "after", "campaign")
_FILES = (".json", ".yaml", ".yml")


def _asked_after(questions, names, after) -> tuple[trees.Question, ...]:
  """The questions, some of them asked after other answers than they were."""
  return tuple(
    x._replace(after=after) if x.name in names else x for x in questions
  )


def _published() -> list[trees.Tree]:
  file = importlib.resources.files("gzjax.morphology") / "campaigns.json"
  return list(map(trees.from_json, json.loads(file.read_text())))


GZ2, GZD_5, GZD_1_2, *_OTHERS = _published()

# In the files of the Kaggle challenge "Is there anything odd?" sums to 1 for
# every galaxy, although no volunteer who says "artifact" is asked it.
GZ2_KAGGLE = dataclasses.replace(
  GZ2,
  name="gz2_kaggle",
  questions=_asked_after(GZ2.questions, ["something-odd"], ()),
)
TREES = {
  tree.name: tree for tree in (GZ2, GZ2_KAGGLE, GZD_5, GZD_1_2, *_OTHERS)
}

# The slides' ten labels are the answers to these.
TEN_LABELS = ("smooth-or-featured", "disk-edge-on", "bar", "has-spiral-arms")


_QUESTIONS = 5  # of the hierarchy


def hierarchy(tree: trees.Tree) -> trees.Tree:
  """The five questions of the slides, one for each of their networks.

  Smooth galaxies are asked how round they are, featured ones whether they are
  edge-on, and those that are not for spiral arms and for merging (in Galaxy Zoo
  2: for anything odd).

  Raises:
    ValueError: for a tree that does not ask all of this.
  """
  asked = [x for x in tree.questions if x.name in trees.BRANCHES]
  face_on = ("has-spiral-arms", "merging", "something-odd")
  questions = _asked_after(asked, face_on, ("disk-edge-on_no",))
  found = trees.Tree(f"{tree.name}_hierarchy", questions)
  after = {answer for question in questions for answer in question.after}
  if len(asked) < _QUESTIONS or not after <= set(found.answers):
    raise ValueError(f"the tree {tree.name!r} lacks questions of the hierarchy")
  return found


def find(name: str) -> trees.Tree:
  """The tree of a name: of a campaign, of several, or in a file.

  Several, `gz2+euclid`, are the questions of all, each with its campaign behind
  its name: `smooth-or-featured-gz2`, ... A galaxy has votes on those of its own
  campaign, and a network learns from each what was asked about it.

  Raises:
    SettingError: for another name, or several that ask the same.
    UserError: if the file is no tree, see `read_tree`.
  """
  if JOINT in name:
    return _joint(name, [find(part) for part in name.split(JOINT)])
  if name in TREES:
    return TREES[name]
  if name.lower().endswith(_FILES):
    return read_tree(Path(name))
  raise SettingError(
    f"tree is {name!r}: {choose(TREES)}, several such as gz2{JOINT}euclid, or "
    "a file of your own (.json, .yaml)."
  )


def known_by(name: str) -> tuple[Any, ...]:
  """What tells a tree from another: one in a file may change, not its name."""
  return (name,) if name in ("", *TREES) else (name, *find(name).questions)


def _joint(name: str, parts: Sequence[trees.Tree]) -> trees.Tree:
  questions = [
    trees.of_campaign(question, campaign)
    for tree in parts
    for campaign in tree.campaigns or ("",)
    for question in tree.questions
  ]
  names = [question.name for question in questions]
  if len(set(names)) < len(names):
    twice = next(x for x in names if names.count(x) > 1)
    raise SettingError(
      f"tree is {name!r}: two of its campaigns ask {twice!r}; name one of them."
    )
  return trees.Tree(name, tuple(questions))


def read_tree(path: Path) -> trees.Tree:
  """A tree in a file of a user's own.

  The file has `questions`, a list in order, each with `name`, `answers`, maybe
  `text`, and `after`: the full names of the answers after which it is asked
  (`smooth-or-featured_smooth`), or names of questions for all of theirs. It may
  have `campaigns`, what columns have between question and answer
  (`smooth-or-featured-gz2_smooth`), and a `name`.

  Raises:
    UserError: naming the file and what is wrong.
  """
  if not path.is_file():
    raise SettingError(
      f"tree is {str(path)!r}: there is no such file; give that of your "
      "questions."
    )
  try:
    # All is text: an answer "no" is no truth value.
    plain = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    return trees.from_json({"name": path.stem, **_checked(plain)})
  except (yaml.YAMLError, UnicodeError, TypeError, ValueError) as error:
    raise UserError(
      f"{path} is no decision tree ({error}): give questions, each with a name "
      "and answers, as in docs/data.md."
    ) from None


def _checked(plain: Any) -> Mapping[str, Any]:
  """What a file holds; ValueError for anything but a tree's keys."""
  if not isinstance(plain, Mapping):
    what = "a list" if isinstance(plain, list) else "a text"
    raise ValueError(
      f"it holds {f'{what}, no questions' if plain else 'nothing'}"
    )
  _refuse_others(plain, _KEYS, "it")
  questions = plain.get("questions")
  for number, entry in enumerate(
    questions if type(questions) is list else (), 1
  ):
    if isinstance(entry, Mapping):
      _refuse_others(entry, _QUESTION_KEYS, f"question {number}")
  return plain


def _refuse_others(
  entry: Mapping[str, Any], known: Sequence[str], what: str
) -> None:
  """ValueError for a key that nobody reads, and the one that it may mean."""
  for key in entry:
    if key not in known:
      close = difflib.get_close_matches(str(key), known, 1, 0.7)
      meant = f"did you mean {close[0]!r}?" if close else choose(tuple(known))
      raise ValueError(f"{what} has an unknown key {key!r}: {meant}")
