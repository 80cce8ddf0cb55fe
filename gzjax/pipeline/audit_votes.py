"""What volunteers and networks say together -> audit/consensus.csv."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from gzjax.audit import volunteers
from gzjax.audit.evidence import Evidence
from gzjax.files import write_table
from gzjax.morphology import labels, trees
from gzjax.pipeline.experiment import Experiment


class ClassVotes(NamedTuple):
  """Votes on the classes of N galaxies."""

  counts: np.ndarray  # f64[N,C]
  may_judge: bool  # the labels


class _Asked(NamedTuple):
  """What was said of one question: N galaxies, K answers."""

  name: str
  answers: tuple[str, ...]
  counts: np.ndarray  # f64[N,K]
  shares: np.ndarray  # f64[N,K], by networks that did not learn these votes
  concentration: np.ndarray | None  # f64[N,K], of their Dirichlet laws


def class_votes(experiment: Experiment) -> ClassVotes | None:
  """None where nobody knows how the classes were voted."""
  counts = _class_counts(experiment)
  if counts is None:
    return None
  # Where labels are flipped on purpose, votes know what a catalogue's do not.
  flips = experiment.config.flips
  return ClassVotes(counts, experiment.is_repair or flips.column == "votes")


def write(
  experiment: Experiment, found: Evidence, of_classes: ClassVotes | None
) -> None:
  """Writes consensus.csv, where somebody voted.

  A row for each galaxy and question that somebody was asked, those that another
  volunteer would help most first.
  """
  asked = _asked(experiment, found, of_classes)
  parts = [_table(experiment, one) for one in asked]
  if parts:
    table = pd.concat(parts, ignore_index=True)
    table = table.sort_values("certainty", kind="stable", ignore_index=True)
    table.insert(2, "show_rank", np.arange(1, len(table) + 1))
    write_table(experiment.workdir / "audit" / "consensus.csv", table)


def _can_agree(counts: np.ndarray) -> bool:
  return bool(np.any(counts.sum(axis=1) > 1))


def _class_counts(experiment: Experiment) -> np.ndarray | None:
  """Votes for each class, f64[N,C], of the question that the labels answer.

  None where nobody knows which one that is (several have a yes and a no), and
  where no galaxy has two votes: shares of them are no votes.
  """
  votes, classes = experiment.dataset.votes, experiment.classes
  if votes is None or votes.counts is None:
    return None
  tree, chosen = votes.tree, experiment.config.labels
  names = [labels.class_names(tree, i) for i in range(len(tree.questions))]
  able = [i for i, each in enumerate(names) if set(classes) <= set(each)]
  if chosen.kind == "question":
    asked = tree.question(chosen.question or tree.questions[0].stem)
    able = [i for i in able if i == asked]
  if len(able) != 1:
    return None
  first, answers = tree.slices[able[0]].start, names[able[0]]
  places = [first + answers.index(name) for name in classes]
  counts = np.rint(votes.counts[:, places])
  return counts if _can_agree(counts) else None


def _asked(
  experiment: Experiment, found: Evidence, of_classes: ClassVotes | None
) -> Iterator[_Asked]:
  """The questions that the network answers and somebody voted on."""
  votes, target = experiment.dataset.votes, experiment.target
  said = found.votes
  if votes is None or votes.counts is None:
    return
  if target.expects_fractions and said is not None:
    counts = votes.counts[:, trees.places(votes.tree, target.tree)]
    counts = np.rint(counts)
    for question, part in zip(target.tree.questions, target.tree.slices):
      law = said.concentration
      one = _Asked(
        question.name,
        question.answers,
        counts[:, part],
        said.shares[:, part],
        None if law is None else law[:, part],
      )
      if _can_agree(one.counts):
        yield one
    return
  if of_classes is not None:
    counts, p = of_classes.counts, found.probabilities
    yield _Asked("classes", experiment.classes, counts, p, None)


def _table(experiment: Experiment, one: _Asked) -> pd.DataFrame:
  """What volunteers, network and both say of a question, where it was asked."""
  n = one.counts.sum(axis=1)
  rows = np.flatnonzero(n > 0)
  counts, shares = one.counts[rows], one.shares[rows]
  found = volunteers.consensus(counts, shares)
  both = volunteers.dawid_skene(counts, shares)
  answers = np.asarray(one.answers)
  table = {
    "id_str": experiment.split["id_str"].to_numpy()[rows],
    "question": one.name,
    "votes": n[rows].astype(int),
    "majority": answers[found.majority],
    "network": answers[shares.argmax(axis=1)],
    "consensus": answers[found.label],
    "quality": found.quality,
    "dawid_skene": answers[both.argmax(axis=1)],
    "dawid_skene_share": both.max(axis=1),
    "certainty": volunteers.one_more_volunteer(found, counts),
  }
  if one.concentration is not None:
    law = one.concentration[rows]
    after = volunteers.conjugate(counts, law)
    table["conjugate"] = answers[after.argmax(axis=1)]
    table["conjugate_share"] = after.max(axis=1)
    table["tail_probability"] = volunteers.tail_probability(
      counts, law, experiment.config.seed
    )
  return pd.DataFrame(table)
