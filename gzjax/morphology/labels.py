"""Votes to labels: the class of each galaxy, and which galaxies get none."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gzjax.errors import SettingError
from gzjax.morphology import walks
from gzjax.morphology.trees import Tree
from gzjax.morphology.votes import Votes, answered
from gzjax.registry import Natural, Share, Table, choose

LEFT_OUT = -1


class Labels(NamedTuple):
  """A class for each galaxy, or none."""

  classes: tuple[str, ...]
  label: np.ndarray  # i64[N], an index of `classes` or LEFT_OUT
  # f64[N,K]: how much volunteers were for each class; None if nobody knows.
  shares: np.ndarray | None
  left_out: dict[str, int]  # reason -> galaxies, in the order of the checks

  @property
  def kept(self) -> np.ndarray:
    """Rows of the galaxies that have a label, i64[n]."""
    return np.flatnonzero(self.label != LEFT_OUT)


class Choice(NamedTuple):
  """What a scheme says, before galaxies with few votes are left out."""

  classes: tuple[str, ...]
  shares: np.ndarray  # f64[N,K]
  label: np.ndarray  # i64[N]; LEFT_OUT where no class reaches its threshold
  unanswered: np.ndarray  # bool[N], nobody answered what the scheme needs
  needs: str  # the question that was not answered, for the table


def make(
  votes: Votes,
  kind: str,
  *,
  min_votes: Natural = 0,
  debiased: bool = False,
  **settings: Any,
) -> Labels:
  """Labels by one of the `SCHEMES`.

  Args:
    votes: on N galaxies.
    kind: a name of `SCHEMES`.
    min_votes: least number of volunteers; 0 without counts.
    debiased: by debiased fractions instead of what was voted.
    settings: of the scheme.

  Raises:
    UserError: for an unknown scheme or question, or votes that lack what is
      asked for.
  """
  scheme = SCHEMES.pick("kind", kind)
  SCHEMES.check(kind, settings)
  if debiased:
    if votes.debiased is None:
      raise SettingError(
        "debiased is True: these files hold no debiased fractions."
      )
    votes = votes._replace(shares=votes.debiased)
  try:
    choice = scheme(votes, **settings)
  except SettingError:
    raise
  except ValueError as error:
    raise SettingError(f"kind is {kind!r}: {error}; choose question.") from None
  checks = {}
  if min_votes:
    few = answered(votes, votes.tree.questions[0].stem) < min_votes
    checks[f"fewer than {min_votes} volunteers"] = few
  checks[f"nobody answered {choice.needs}"] = choice.unanswered
  checks["uncertain: no class reaches its threshold"] = choice.label == LEFT_OUT
  return sifted(choice, checks)


def sifted(choice: Choice, checks: Mapping[str, np.ndarray]) -> Labels:
  """The labels of a choice, without the galaxies that fail a check.

  The checks are reason -> bool[N], True for galaxies to leave out; each of them
  counts for the first reason only.
  """
  keep = np.ones(len(choice.label), bool)
  left_out = {}
  for why, bad in checks.items():
    left_out[why] = int(np.sum(keep & bad))
    keep &= ~bad
  label = np.where(keep, choice.label, LEFT_OUT)
  return Labels(choice.classes, label, choice.shares, left_out)


def only(found: Labels, classes: tuple[str, ...]) -> Labels:
  """Labels of some of the classes, in this order; (): all of them.

  Raises:
    UserError: for a class that the labels do not have.
  """
  if classes in ((), found.classes):
    return found
  names = ", ".join(found.classes)
  if len(classes) < 2 or len(set(classes)) < len(classes):
    raise SettingError(
      f"classes is {classes}: name two or more different classes of {names}."
    )
  if unknown := set(classes) - set(found.classes):
    raise SettingError(
      f"classes names {min(unknown)!r}: choose some of {names}."
    )
  order = [found.classes.index(name) for name in classes]
  # The last entry is for galaxies that had no label before.
  place = np.full(len(found.classes) + 1, LEFT_OUT)
  place[order] = np.arange(len(classes))
  label = place[found.label]
  others = np.sum((found.label != LEFT_OUT) & (label == LEFT_OUT))
  return Labels(
    classes,
    label,
    None if found.shares is None else found.shares[:, order],
    {**found.left_out, "of a class that was not asked for": int(others)},
  )


def gz2_class(votes: Votes) -> np.ndarray:
  """The class strings of Willett et al. (2013), appendix A, such as SBc2m.

  The way of the largest fractions through the tree of Galaxy Zoo 2, text [N];
  "" where nobody answered the first question. For a quick look only, as its
  authors say, never for quantitative work.
  """
  path = walks.majority_path(votes.tree, votes.shares)

  def say(question, *words):
    choice = path[:, votes.tree.question(question)]
    # The last entry is what -1, a question off the way, says.
    return np.asarray([*words, ""], object)[choice]

  return (
    say("smooth-or-featured", "E", "S", "A")
    + say("how-rounded", "r", "i", "c")
    + say("bulge-shape", "er", "eb", "en")
    + say("bar", "B", "")
    + say("bulge-size", "d", "c", "b", "a")
    + say("spiral-arm-count", "1", "2", "3", "4", "+", "?")
    + say("spiral-winding", "t", "m", "l")
    + say("odd-feature", "(r)", "(l)", "(d)", "(i)", "(o)", "(m)", "(u)")
  )


def _largest(shares, threshold):
  """Index of the first of the largest, LEFT_OUT if under the threshold."""
  known = np.nan_to_num(shares, nan=-1.0)
  label = known.argmax(axis=1)
  return np.where(known.max(axis=1) >= threshold, label, LEFT_OUT)


_SHORT = {"featured-or-disk": "featured"}


def class_names(tree: Tree, question: int) -> tuple[str, ...]:
  """What the classes are called that the answers to a question make."""
  answers = tree.questions[question].answers
  return tuple(_SHORT.get(name, name) for name in answers)


def majority_answer(
  votes: Votes,
  *,
  question: str = "",
  threshold: Share = 0.0,
  min_asked: Share = 0.0,
) -> Choice:
  """The answer of most volunteers; the preprint: argmax of the first question.

  Args:
    votes: on N galaxies.
    question: of the tree; "": its first; of several campaigns without the
      campaign: whichever asked it.
    threshold: least share of the class, of those who answered.
    min_asked: least share of volunteers who are asked the question, such as
      those of Willett et al. (2013), Table 3.
  """
  tree = votes.tree
  question = question or tree.questions[0].stem
  try:
    q, *others = tree.meant(question)
  except ValueError:
    names = tuple(x.name for x in tree.questions)
    raise SettingError(f"question is {question!r}: {choose(names)}.") from None
  shares, asked = votes.shares[:, tree.slices[q]], votes.asked[:, q]
  # Of several campaigns, the one that asked about the galaxy.
  for other in others:
    silent = np.all(np.isnan(shares), axis=1)
    shares = np.where(
      silent[:, None], votes.shares[:, tree.slices[other]], shares
    )
    asked = np.where(silent, votes.asked[:, other], asked)
  label = _largest(shares, threshold)
  label[asked < min_asked] = LEFT_OUT
  unanswered = np.all(np.isnan(shares), axis=1)
  return Choice(class_names(tree, q), shares, label, unanswered, question)


def _clean_five(votes: Votes) -> Choice:
  """Five clean classes of Zhu et al. (2019), on cumulative fractions.

  The thresholds are those of Willett et al. (2013) for well-sampled tasks; the
  first class that reaches them wins.
  """
  tree, cumulative = votes.tree, votes.cumulative

  def share(question, answer):
    return cumulative[:, tree.slices[tree.question(question)].start + answer]

  smooth = share("smooth-or-featured", 0) >= 0.469
  featured = share("smooth-or-featured", 1) >= 0.430
  edge_on = share("disk-edge-on", 0)
  arms = share("has-spiral-arms", 0)
  # Completely round, in between, cigar-shaped, in all trees.
  roundness = [share("how-rounded", answer) for answer in range(3)]
  rules = [
    *(smooth & (fraction >= 0.5) for fraction in roundness),
    featured & (edge_on >= 0.602),
    featured & (share("disk-edge-on", 1) >= 0.715) & (arms >= 0.619),
  ]
  return _choice(
    ("round", "in_between", "cigar", "edge_on", "spiral"),
    np.stack([*roundness, edge_on, arms], axis=1),
    _largest(np.stack(rules, axis=1), True),
    votes,
  )


def _four(votes: Votes, *, threshold: Share = 0.0) -> Choice:
  """The slides' spiral, elliptical, irregular and lenticular galaxies.

  The seed sets its confidence thresholds by eye and prints none; here one
  threshold (0.6 if it is 0, under which the seed calls galaxies uncertain) is
  set on shares of all volunteers: irregular is disturbed, merging or irregular;
  else the largest of spiral (arms), elliptical (smooth) and lenticular (a disk,
  not edge-on, without arms).

  Args:
    votes: on N galaxies.
    threshold: least share of the class.
  """
  threshold = threshold or 0.6
  shares = four_shares(votes.tree, votes.cumulative)
  irregular = shares[:, _IRREGULAR] >= threshold
  regular = np.where(np.arange(4) == _IRREGULAR, 0, shares)
  label = np.where(irregular, _IRREGULAR, _largest(regular, threshold))
  return _choice(FOUR, shares, label, votes)


FOUR = ("spiral", "elliptical", "irregular", "lenticular")
_IRREGULAR = FOUR.index("irregular")
# The answers, of all trees and of networks of these classes, whose shares add
# up to that of each class.
_ANSWERS_OF_FOUR = (
  ("has-spiral-arms_yes", "label_spiral"),
  ("smooth-or-featured_smooth", "label_elliptical"),
  (
    "label_irregular",
    "odd-feature_disturbed",
    "odd-feature_irregular",
    "odd-feature_merger",
    "merging_major-disturbance",
    "merging_tidal-debris",
    "merging_both",
    "merging_merger",
  ),
  ("has-spiral-arms_no", "label_lenticular"),
)


def four_shares(tree: Tree, cumulative: np.ndarray) -> np.ndarray:
  """Shares of all volunteers for the classes `FOUR`: f[N,A] -> f64[N,4].

  0 for a class whose answers the tree does not have.
  """
  columns = [np.isin(tree.answers, answers) for answers in _ANSWERS_OF_FOUR]
  return np.stack([cumulative[:, a].sum(axis=1) for a in columns], axis=1)


def _leaf(votes: Votes) -> Choice:
  """The seven leaves of galaxy-datasets.

  A galaxy is at a leaf if over half of the volunteers are expected to be asked
  the question that decides it.
  """
  tree, shares, asked = votes.tree, np.nan_to_num(votes.shares), votes.asked

  def is_asked(question):
    return asked[:, tree.question(question)] > 0.5

  def largest(question):
    part = shares[:, tree.slices[tree.question(question)]]
    return np.where(part.sum(axis=1) > 0, part.argmax(axis=1), LEFT_OUT)

  smooth, roundness = is_asked("how-rounded"), largest("how-rounded")
  disk, arms = is_asked("has-spiral-arms"), largest("has-spiral-arms")
  spiral, bar = disk & (arms == 0), largest("bar")
  no_bar = len(tree.questions[tree.question("bar")].answers) - 1
  # The question after "edge-on: yes" has two names.
  names = [question.name for question in tree.questions]
  gz2s = "bulge-shape"
  edge_on = is_asked(gz2s if gz2s in names else "edge-on-bulge")
  rules = {
    "smooth_inbetween": smooth & (roundness == 1),
    "smooth_round": smooth & (roundness == 0),
    "smooth_cigar": smooth & (roundness == 2),
    "edge_on_disk": edge_on,
    "unbarred_spiral": spiral & (bar == no_bar),
    "barred_spiral": spiral & (bar != no_bar) & (bar != LEFT_OUT),
    "featured_without_bar_or_spiral": disk & (arms == 1),
  }
  shares = np.stack(list(rules.values()), axis=1).astype(np.float64)
  return _choice(tuple(rules), shares, _largest(shares, 1), votes)


def _choice(classes, shares, label, votes) -> Choice:
  """The choice of a scheme that starts from the first question."""
  unanswered = np.isnan(votes.shares[:, votes.tree.slices[0]]).all(axis=1)
  needs = votes.tree.questions[0].name
  return Choice(classes, shares, label, unanswered, needs)


# (votes, **settings) -> Choice
SCHEMES: Table[Callable[..., Choice]] = Table(
  {
    "question": majority_answer,
    "clean_five": _clean_five,
    "four": _four,
    "leaf": _leaf,
  },
  common=make,
)
