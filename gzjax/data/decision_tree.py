"""The questions that Galaxy Zoo asks, and the arithmetic of their answers.

A `Tree` is data: questions, answers, and after which answers a question is
asked. Vote fractions come in two forms: *conditional*, where the answers of
each question sum to 1, and *cumulative*, where they sum to the share of
volunteers who were asked, as in the files of the Kaggle challenge. All
functions take and return arrays of NumPy or JAX (traced ones, too), with the
answers on the last axis, in the order of `Tree.answers`.
"""

from collections.abc import Sequence
import dataclasses
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

Array = Any  # of NumPy or JAX


class Question(NamedTuple):
  """A question and its answers."""

  name: str
  text: str
  answers: tuple[str, ...]
  after: tuple[str, ...] = ()  # full names of answers; none: always asked


@dataclasses.dataclass(frozen=True)
class Tree:
  """Questions in the order of their columns."""

  name: str
  questions: tuple[Question, ...]
  # Stems of the answers' columns in the survey's own catalogue.
  stems: tuple[str, ...] = dataclasses.field(default=(), repr=False)

  @cached_property
  def answers(self) -> tuple[str, ...]:
    """Full names, such as smooth-or-featured_smooth."""
    return tuple(
      f"{question.name}_{answer}"
      for question in self.questions
      for answer in question.answers
    )

  @cached_property
  def slices(self) -> tuple[slice, ...]:
    """Where the answers of each question stand among all answers."""
    ends = np.cumsum([len(question.answers) for question in self.questions])
    return tuple(
      slice(int(end) - len(question.answers), int(end))
      for question, end in zip(self.questions, ends, strict=True)
    )

  @cached_property
  def question_of(self) -> np.ndarray:
    """Index of the question of each answer, i32[A]."""
    sizes = [len(question.answers) for question in self.questions]
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

  @cached_property
  def parents(self) -> tuple[tuple[int, ...], ...]:
    """For each question the answers (indices) after which it is asked."""
    return tuple(
      tuple(self.index(name) for name in question.after)
      for question in self.questions
    )

  @cached_property
  def order(self) -> tuple[int, ...]:
    """Question indices, each after all the questions that lead to it."""
    found: list[int] = []

    def visit(q):
      for answer in self.parents[q]:
        visit(int(self.question_of[answer]))
      if q not in found:
        found.append(q)

    for q in range(len(self.questions)):
      visit(q)
    return tuple(found)

  @cached_property
  def branches(self) -> tuple[str, ...]:
    """What the galaxies are called that reach each question.

    The names of `BRANCHES` where it knows all questions, else the questions'.
    """
    names = [question.name for question in self.questions]
    known = all(name in BRANCHES for name in names)
    return tuple(BRANCHES[name] if known else name for name in names)

  def index(self, answer: str) -> int:
    """Index of an answer by its full name.

    Raises:
      ValueError: if the tree has no such answer.
    """
    return self.answers.index(answer)

  def question(self, name: str) -> int:
    """Index of a question by its name.

    Raises:
      ValueError: if the tree has no such question.
    """
    return [question.name for question in self.questions].index(name)

  def kaggle_columns(self) -> tuple[str, ...]:
    """Class1.1, Class1.2, ..."""
    return tuple(
      f"Class{q}.{a}"
      for q, question in enumerate(self.questions, 1)
      for a in range(1, len(question.answers) + 1)
    )


def part(tree: Tree, questions: Sequence[str]) -> Tree:
  """The tree of some of the questions, in the order of `tree`.

  Raises:
    ValueError: for a question that the tree does not have, and for one that is
      asked after another that is left out.
  """
  wanted = {tree.question(name) for name in questions}
  for q in sorted(wanted):
    for answer in tree.parents[q]:
      if int(tree.question_of[answer]) not in wanted:
        raise ValueError(
          f"{tree.questions[q].name} is asked after {tree.answers[answer]}"
        )
  kept = tuple(tree.questions[q] for q in sorted(wanted))
  return Tree(f"{tree.name}_{len(kept)}", kept)


# Seed 3's ten labels are the answers to these.
TEN_LABELS = ("smooth-or-featured", "disk-edge-on", "bar", "has-spiral-arms")
# What seed 3 calls the galaxies that reach a question of its hierarchy.
BRANCHES = {
  "smooth-or-featured": "root",
  "how-rounded": "smooth",
  "disk-edge-on": "disk",
  "has-spiral-arms": "spiral",
  "merging": "merging",
  "something-odd": "odd",
}


def hierarchy(tree: Tree) -> Tree:
  """The five questions of seed 3, one for each of its networks.

  Smooth galaxies are asked how round they are, featured ones whether they are
  edge-on, and those that are not for spiral arms and for merging (in Galaxy Zoo
  2: for anything odd).
  """
  after_face_on = ("has-spiral-arms", "merging", "something-odd")
  return Tree(
    f"{tree.name}_hierarchy",
    tuple(
      question._replace(after=(_FACE_ON,))
      if question.name in after_face_on
      else question
      for question in tree.questions
      if question.name in BRANCHES
    ),
  )


def places(tree: Tree, inner: Tree) -> np.ndarray:
  """Where the answers of `inner`, a part of `tree`, stand there, i64[A]."""
  return np.array([tree.index(answer) for answer in inner.answers])


def to_json(tree: Tree) -> dict[str, Any]:
  """A tree as plain data; its survey's own column names are left out."""
  questions = [question._asdict() for question in tree.questions]
  return {"name": tree.name, "questions": questions}


def from_json(plain: dict[str, Any]) -> Tree:
  """The tree of `to_json`."""
  return Tree(
    plain["name"],
    tuple(
      Question(q["name"], q["text"], tuple(q["answers"]), tuple(q["after"]))
      for q in plain["questions"]
    ),
  )


def sums(tree: Tree, values: Array) -> Array:
  """Sum of the answers of each question: f[...,A] -> f[...,Q]."""
  xp = values.__array_namespace__()
  return xp.stack([values[..., part].sum(-1) for part in tree.slices], axis=-1)


def conditional(tree: Tree, values: Array, empty: float = 0.0) -> Array:
  """Shares among the volunteers who were asked: f[...,A] -> f[...,A].

  Args:
    tree: the questions.
    values: vote counts, cumulative fractions or any other numbers >= 0.
    empty: what the answers of a question are that sums to 0.

  Returns:
    The values, divided by the sum of their question. The gradient is finite
    where that sum is 0, too.
  """
  xp = values.__array_namespace__()
  total = _per_answer(tree, sums(tree, values))
  shares = values / xp.where(total > 0, total, 1)
  return xp.where(total > 0, shares, empty)


def asked(tree: Tree, shares: Array) -> Array:
  """Share of volunteers who are asked each question: f[...,A] -> f[...,Q].

  The forward weights of the tree: the sum over the parent answers of the
  probability that a volunteer gets there.

  Args:
    tree: the questions.
    shares: conditional fractions, all defined.
  """
  xp = shares.__array_namespace__()
  reach: dict[int, Array] = {}
  for q in tree.order:
    parents = tree.parents[q]
    if parents:
      reach[q] = sum(
        reach[int(tree.question_of[a])] * shares[..., a] for a in parents
      )
    else:
      reach[q] = xp.ones_like(shares[..., 0])
  return xp.stack([reach[q] for q in range(len(reach))], axis=-1)


def joint(tree: Tree, shares: Array) -> Array:
  """Cumulative fractions, the share of all volunteers who give each answer.

  The product of the conditional fractions up the tree, summed over the ways
  that lead there: f[...,A] -> f[...,A].
  """
  return _per_answer(tree, asked(tree, shares)) * shares


def joint_probability(tree: Tree, shares: Array, answer: str) -> Array:
  """`joint` of one answer, by its full name: f[...,A] -> f[...]."""
  return joint(tree, shares)[..., tree.index(answer)]


def renormalise(tree: Tree, values: Array) -> Array:
  """Any numbers >= 0 to cumulative fractions that obey the tree, f[...,A].

  The answers of each question are divided by their sum and multiplied with the
  share of volunteers who are asked (seed 2, section 3.5; the divisive
  normalisation of Dieleman et al. 2015).
  """
  return joint(tree, conditional(tree, values))


def violation(tree: Tree, cumulative: Array) -> Array:
  """How far cumulative fractions are from obeying the tree.

  f[...,A] -> f[...,Q]: for each question the sum of its answers less the sum of
  its parent answers (less 1 for a question that is always asked); 0 is perfect.
  """
  xp = cumulative.__array_namespace__()
  wanted = [
    sum(cumulative[..., a] for a in parents)
    if parents
    else xp.ones_like(cumulative[..., 0])
    for parents in tree.parents
  ]
  return sums(tree, cumulative) - xp.stack(wanted, axis=-1)


def majority_path(tree: Tree, shares: np.ndarray) -> np.ndarray:
  """The way of the largest conditional fractions through the tree.

  Args:
    tree: the questions.
    shares: f[N,A], conditional; NaN or 0 where nobody was asked.

  Returns:
    i64[N,Q]: the answer of each question that lies on the way, counted within
    the question; -1 for questions that do not.
  """
  known = np.nan_to_num(shares)
  choice = np.full((len(shares), len(tree.questions)), -1)
  for q in tree.order:
    part = known[:, tree.slices[q]]
    answered = _leads_to(tree, choice, q) & (part.sum(axis=1) > 0)
    choice[answered, q] = part[answered].argmax(axis=1)
  return choice


def reached(tree: Tree, path: np.ndarray) -> np.ndarray:
  """The questions that the way of a galaxy leads to, answered or not.

  Args:
    tree: the questions.
    path: i64[N,Q], see `majority_path`.

  Returns:
    bool[N,Q]; True for questions that are always asked.
  """
  questions = range(len(tree.questions))
  return np.stack([_leads_to(tree, path, q) for q in questions], axis=1)


class Step(NamedTuple):
  """One answer on the way of a galaxy through a tree."""

  level: int  # how many answers led to the question
  branch: str  # see `Tree.branches`
  question: str
  answer: str  # full name
  confidence: float  # conditional share, 0 to 1


def walk(tree: Tree, shares: np.ndarray) -> list[list[Step]]:
  """The way of the largest conditional fractions, galaxy by galaxy.

  Args:
    tree: the questions.
    shares: f[N,A], conditional; the way ends at a question that is NaN or 0.

  Returns:
    For each of the N galaxies its steps, level by level; none where no question
    is answered.
  """
  path = majority_path(tree, shares)
  return [_steps(tree, *galaxy) for galaxy in zip(path, shares, strict=True)]


def _steps(tree, choice, shares) -> list[Step]:
  found: dict[int, Step] = {}  # by the answer
  for q in tree.order:
    if choice[q] < 0:
      continue
    answer = tree.slices[q].start + int(choice[q])
    level = max(
      (found[a].level + 1 for a in tree.parents[q] if a in found), default=0
    )
    found[answer] = Step(
      level,
      tree.branches[q],
      tree.questions[q].name,
      tree.answers[answer],
      float(shares[answer]),
    )
  return sorted(found.values(), key=lambda step: step.level)


def walk_lines(steps: Sequence[Step]) -> list[str]:
  """What a user is told of the `walk` of a galaxy, a line for each step."""
  return [
    f"Level {step.level} ({step.branch}): {step.answer}, "
    f"confidence {step.confidence:.2f}"
    for step in steps
  ] or ["No answer"]


def _leads_to(tree, choice, q):
  """Who is asked question `q` after the answers `choice` i64[N,Q], bool[N]."""
  if not tree.parents[q]:
    return np.ones(len(choice), bool)
  return np.any([_chosen(tree, choice, a) for a in tree.parents[q]], axis=0)


def _chosen(tree, choice, answer):
  q = tree.question_of[answer]
  return choice[:, q] == answer - tree.slices[q].start


def _per_answer(tree, per_question):
  return per_question[..., tree.question_of]


_SMOOTH = "smooth-or-featured_smooth"
_FEATURED = "smooth-or-featured_featured-or-disk"
_EDGE_ON = "disk-edge-on_yes"
_FACE_ON = "disk-edge-on_no"
_ARMS = "has-spiral-arms_yes"


def _all(question: str, *answers: str) -> tuple[str, ...]:
  return tuple(f"{question}_{answer}" for answer in answers)


# Willett et al. (2013), Table 2, in the order of the Kaggle columns; names as
# in Zoobot, where it has one.
_WINDINGS = ("tight", "medium", "loose")
_BULGES = ("no", "just-noticeable", "obvious", "dominant")
_ROUNDNESS = ("round", "in-between", "cigar")
_BULGE_SHAPES = ("round", "boxy", "no-bulge")
_ARM_COUNTS = ("1", "2", "3", "4", "more-than-4", "cant-tell")
_GZ2_QUESTIONS = (
  Question(
    "smooth-or-featured",
    "Is the galaxy simply smooth and rounded, with no sign of a disk?",
    ("smooth", "featured-or-disk", "artifact"),
  ),
  Question(
    "disk-edge-on",
    "Could this be a disk viewed edge-on?",
    ("yes", "no"),
    (_FEATURED,),
  ),
  Question(
    "bar",
    "Is there a sign of a bar feature through the centre?",
    ("yes", "no"),
    (_FACE_ON,),
  ),
  Question(
    "has-spiral-arms",
    "Is there any sign of a spiral arm pattern?",
    ("yes", "no"),
    _all("bar", "yes", "no"),
  ),
  Question(
    "bulge-size",
    "How prominent is the central bulge?",
    _BULGES,
    ("has-spiral-arms_no", *_all("spiral-arm-count", *_ARM_COUNTS)),
  ),
  Question(
    "something-odd",
    "Is there anything odd?",
    ("yes", "no"),
    (
      *_all("bulge-size", *_BULGES),
      *_all("how-rounded", *_ROUNDNESS),
      *_all("bulge-shape", *_BULGE_SHAPES),
    ),
  ),
  Question("how-rounded", "How rounded is it?", _ROUNDNESS, (_SMOOTH,)),
  Question(
    "odd-feature",
    "Is the odd feature a ring, or is the galaxy disturbed or irregular?",
    (
      "ring",
      "lens-or-arc",
      "disturbed",
      "irregular",
      "other",
      "merger",
      "dust-lane",
    ),
    ("something-odd_yes",),
  ),
  Question(
    "bulge-shape",
    "Does the galaxy have a bulge at its centre? If so, what shape?",
    _BULGE_SHAPES,
    (_EDGE_ON,),
  ),
  Question(
    "spiral-winding",
    "How tightly wound do the spiral arms appear?",
    _WINDINGS,
    (_ARMS,),
  ),
  Question(
    "spiral-arm-count",
    "How many spiral arms are there?",
    _ARM_COUNTS,
    _all("spiral-winding", *_WINDINGS),
  ),
)

# Column stems of Hart et al. (2016); a35 does not exist and a38 is in task 8.
_HART16_STEMS = (
  "t01_smooth_or_features_a01_smooth",
  "t01_smooth_or_features_a02_features_or_disk",
  "t01_smooth_or_features_a03_star_or_artifact",
  "t02_edgeon_a04_yes",
  "t02_edgeon_a05_no",
  "t03_bar_a06_bar",
  "t03_bar_a07_no_bar",
  "t04_spiral_a08_spiral",
  "t04_spiral_a09_no_spiral",
  "t05_bulge_prominence_a10_no_bulge",
  "t05_bulge_prominence_a11_just_noticeable",
  "t05_bulge_prominence_a12_obvious",
  "t05_bulge_prominence_a13_dominant",
  "t06_odd_a14_yes",
  "t06_odd_a15_no",
  "t07_rounded_a16_completely_round",
  "t07_rounded_a17_in_between",
  "t07_rounded_a18_cigar_shaped",
  "t08_odd_feature_a19_ring",
  "t08_odd_feature_a20_lens_or_arc",
  "t08_odd_feature_a21_disturbed",
  "t08_odd_feature_a22_irregular",
  "t08_odd_feature_a23_other",
  "t08_odd_feature_a24_merger",
  "t08_odd_feature_a38_dust_lane",
  "t09_bulge_shape_a25_rounded",
  "t09_bulge_shape_a26_boxy",
  "t09_bulge_shape_a27_no_bulge",
  "t10_arms_winding_a28_tight",
  "t10_arms_winding_a29_medium",
  "t10_arms_winding_a30_loose",
  "t11_arms_number_a31_1",
  "t11_arms_number_a32_2",
  "t11_arms_number_a33_3",
  "t11_arms_number_a34_4",
  "t11_arms_number_a36_more_than_4",
  "t11_arms_number_a37_cant_tell",
)

GZ2 = Tree("gz2", _GZ2_QUESTIONS, _HART16_STEMS)

# In the files of the Kaggle challenge "Is there anything odd?" sums to 1 for
# every galaxy, although no volunteer who says "artifact" is asked it.
GZ2_KAGGLE = Tree(
  "gz2_kaggle",
  tuple(
    question._replace(after=())
    if question.name == "something-odd"
    else question
    for question in _GZ2_QUESTIONS
  ),
  _HART16_STEMS,
)


def _decals_tree(name, *, bar, bulge_size, roundest, arm_counts, merging):
  """The tree of a DECaLS campaign; Walmsley et al. (2022), section 3."""
  texts = {question.name: question.text for question in _GZ2_QUESTIONS}

  def question(name, answers, *after, text=""):
    return Question(name, text or texts[name], answers, after)

  questions = (
    question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact")),
    question("disk-edge-on", ("yes", "no"), _FEATURED),
    question("has-spiral-arms", ("yes", "no"), _FACE_ON),
    question("bar", bar, _FACE_ON),
    question("bulge-size", bulge_size, _FACE_ON),
    question("how-rounded", (roundest, "in-between", "cigar-shaped"), _SMOOTH),
    question(
      "edge-on-bulge",
      ("boxy", "none", "rounded"),
      _EDGE_ON,
      text=texts["bulge-shape"],
    ),
    question("spiral-winding", _WINDINGS, _ARMS),
    question("spiral-arm-count", arm_counts, _ARMS),
    question(
      "merging",
      merging,
      _SMOOTH,
      _FEATURED,
      text="Is the galaxy merging or disturbed?",
    ),
  )
  # The release's own column names are the full names of the answers.
  return Tree(name, questions)


GZD_5 = _decals_tree(
  "gzd_5",
  bar=("strong", "weak", "no"),
  bulge_size=("dominant", "large", "moderate", "small", "none"),
  roundest="round",
  arm_counts=_ARM_COUNTS,
  merging=("none", "minor-disturbance", "major-disturbance", "merger"),
)

GZD_1_2 = _decals_tree(
  "gzd_1_2",
  bar=("yes", "no"),
  bulge_size=("dominant", "obvious", "none"),
  roundest="completely",
  arm_counts=_ARM_COUNTS[:-1],
  merging=("neither", "tidal-debris", "both", "merger"),
)

TREES = {tree.name: tree for tree in (GZ2, GZ2_KAGGLE, GZD_5, GZD_1_2)}


def column_key(name: str) -> str:
  """What is the same in all spellings of a column: hyphens are underscores."""
  return name.strip().lower().replace("-", "_")


def find_columns(
  wanted: Sequence[str], columns: Sequence[str]
) -> list[str | None]:
  """The columns of a table that are called `wanted`, in any spelling.

  Hyphens and underscores are the same (the DECaLS release has the former,
  derived tables the latter), and so are cases; None where there is none.
  """
  spelled = {column_key(name): name for name in columns}
  return [spelled.get(column_key(name)) for name in wanted]
