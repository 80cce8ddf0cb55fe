"""What a network learns to say about a galaxy: answers to questions.

A network ends in K numbers (logits); a `Target` says what they mean. They speak
of the questions of a decision tree, and so of classes: the answers to the
question that the labels are made from. A network of classes has a tree of that
one question.

Letters in the shapes: B examples, K logits, C classes, A answers of the tree.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from gzjax.morphology import trees
from gzjax.morphology.labels import class_names
from gzjax.morphology.trees import Question, Tree
from gzjax.morphology.votes import Predictions
from gzjax.objectives import likelihoods, losses
from gzjax.types import Objective

# f32[...,K] -> f32[...,A]
Reading = Callable[[jax.Array], jax.Array]

Head = Literal["sigmoid", "divisive", "softmax"]


def _same(x):
  return x


class Target(NamedTuple):
  """The meaning of K logits, and how wrong they are."""

  outputs: int  # K
  objective: Objective  # of each example, nats
  name: str  # of the objective, where it is recorded
  # The law of which the objective is the negative logarithm.
  likelihood: likelihoods.Likelihood
  # f32[...,K] -> f32[...,C]: their softmax is the probability of each class.
  class_logits: Reading
  tree: Tree  # the questions
  class_answers: tuple[int, ...]  # the answers that are the classes, C of them
  shares: Reading  # of each question's answers, sum to 1
  # The mean of the objective -> what a training descends and people read.
  summary: Callable[[jax.Array], jax.Array] = _same
  learns: str = "votes"  # the entry of a batch that the objective looks at
  # Whether the shares are vote fractions; if not they are probabilities that
  # most volunteers give the answer.
  expects_fractions: bool = False
  concentration: Reading | None = None  # of Dirichlet laws, if they are known
  # Probability that each answer is right; None: the shares.
  labels: Reading | None = None

  def merit(self, scores: Mapping[str, float]) -> float:
    """What the best network has most of, of its numbers on validation."""
    by_class = self.learns == "label" and "balanced_accuracy" in scores
    return scores["balanced_accuracy"] if by_class else -scores["loss"]

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the C classes."""
    question = int(self.tree.question_of[self.class_answers[0]])
    first = self.tree.slices[question].start
    names = class_names(self.tree, question)
    return tuple(names[answer - first] for answer in self.class_answers)


class Prediction(NamedTuple):
  """What a network says about N galaxies, on the host in float64."""

  probabilities: np.ndarray  # f64[N,C]; NaN where a logit is not finite
  votes: Predictions  # on the questions of the target
  labels: np.ndarray  # f64[N,A], see `Target.labels`

  def select(self, rows: np.ndarray) -> "Prediction":
    """What it says about some of the galaxies."""
    return Prediction(
      self.probabilities[rows], self.votes.select(rows), self.labels[rows]
    )


def classes(names: int | Sequence[str]) -> Target:
  """One of C = K classes, by name or so many: a softmax over the logits.

  The objective is the cross-entropy of `batch["label"]`, i32[B].
  """
  if isinstance(names, int):
    names = tuple(str(k) for k in range(names))
  tree = Tree(
    "classes", (Question("label", "Which class is it?", tuple(names)),)
  )
  return Target(
    outputs=len(names),
    objective=losses.cross_entropy,
    name="cross_entropy",
    likelihood=likelihoods.CATEGORICAL,
    class_logits=_same,
    tree=tree,
    class_answers=tuple(range(len(names))),
    shares=jax.nn.softmax,
    learns="label",
  )


def fractions(
  tree: Tree, class_answers: Sequence[int], *, head: Head = "sigmoid"
) -> Target:
  """All cumulative vote fractions, by least squares (Dieleman 2015).

  The objective is half the squared distance to `batch["votes"]`, f32[B,A], a
  Gaussian law of unit variance; its summary is the root mean squared error over
  answers and examples, the measure of the Kaggle challenge.

  Args:
    tree: the questions; K = A.
    class_answers: indices of the answers that are the classes, C of them, all
      of one question.
    head: fractions: how logits become shares, see targets.share_head.

  Raises:
    KeyError: for another head.
  """
  shares = share_head(tree, head)
  answers = len(tree.answers)

  def expected(logits):
    return trees.joint(tree, shares(logits))

  return Target(
    outputs=answers,
    objective=losses.squared_error(expected),
    name="squared_error",
    likelihood=likelihoods.gaussian(expected),
    class_logits=_class_logits(shares, class_answers),
    # Of a network without error, the root would have no gradient.
    summary=lambda x: jnp.sqrt(jnp.maximum(2 * x / answers, 1e-12)),
    tree=tree,
    class_answers=tuple(class_answers),
    shares=shares,
    expects_fractions=True,
  )


def counts(tree: Tree, class_answers: Sequence[int]) -> Target:
  """Numbers of votes, by a Dirichlet-multinomial law for each question.

  The hierarchical loss of Walmsley et al. (2022), on `batch["votes"]`, counts
  f32[B,A]: see `losses.dirichlet_multinomial`; K = A.
  """

  def shares(logits):
    return trees.conditional(tree, concentration(logits))

  return Target(
    outputs=len(tree.answers),
    objective=losses.dirichlet_multinomial(tree, concentration),
    name="dirichlet_multinomial",
    likelihood=_dirichlet_multinomial(tree),
    class_logits=_class_logits(shares, class_answers),
    tree=tree,
    class_answers=tuple(class_answers),
    shares=shares,
    expects_fractions=True,
    concentration=concentration,
  )


def answers(
  tree: Tree, class_answers: Sequence[int], expects_fractions: bool = True
) -> Target:
  """The answers to each question, by a softmax over them.

  The objective is -sum of `batch["votes"]` times the logarithms of the shares,
  f32[B,A]. Of cumulative fractions that is what the way of one volunteer
  through the tree costs, expected over all volunteers; of ones at the answers
  of the majority and zeros where a question is not asked, the cross-entropies
  of a hierarchy of classifiers. A question without votes costs nothing. K = A.
  """
  shares = share_head(tree, "softmax")
  return Target(
    outputs=len(tree.answers),
    objective=losses.answer_entropy(_log_softmax(tree)),
    name="answer_entropy",
    likelihood=likelihoods.multinomial([np.r_[part] for part in tree.slices]),
    class_logits=_class_logits(shares, class_answers),
    tree=tree,
    class_answers=tuple(class_answers),
    shares=shares,
    expects_fractions=expects_fractions,
  )


def labels(tree: Tree, class_answers: Sequence[int]) -> Target:
  """Each answer for itself: is it right, yes or no (the slides, multi-label)?

  The objective is the binary cross-entropy of `batch["votes"]`, f32[B,A] of 0
  and 1, summed over the answers; its summary is their mean. That answers
  exclude each other is not known to it; the shares are the probabilities
  divided by their sum. K = A.
  """
  count = len(tree.answers)
  # Of the laws of independent answers, given that exactly one class is right.
  picked = np.asarray(class_answers, np.int32)
  return Target(
    outputs=count,
    objective=losses.binary_cross_entropy,
    name="binary_cross_entropy",
    likelihood=likelihoods.BERNOULLI,
    class_logits=lambda logits: logits[..., picked],
    summary=lambda x: x / count,
    tree=tree,
    class_answers=tuple(class_answers),
    shares=share_head(tree, "sigmoid"),
    labels=jax.nn.sigmoid,
  )


def interpret(target: Target, logits: np.ndarray) -> Prediction:
  """What logits f32[N,K] say; NaN for galaxies with one that is not finite."""
  shares = _on_host(target.shares, logits)
  law, right = target.concentration, target.labels
  votes = Predictions(
    target.tree, shares, _on_host(law, logits) if law else None
  )
  right = _on_host(right, logits) if right else shares
  return Prediction(probabilities(target, logits), votes, right)


def probabilities(target: Target, logits: np.ndarray) -> np.ndarray:
  """Those of the classes alone, f64[N,C]: see `interpret`."""
  return softmax(_on_host(target.class_logits, logits))


def softmax(logits: np.ndarray) -> np.ndarray:
  """f[N,K] -> f64[N,K]; NaN where a row is not finite."""
  logits = np.asarray(logits, np.float64)
  finite = np.isfinite(logits).all(axis=1, keepdims=True)
  return np.where(
    finite, special.softmax(np.where(finite, logits, 0), axis=1), np.nan
  )


def _on_host(reading: Reading, logits: np.ndarray) -> np.ndarray:
  finite = np.isfinite(logits).all(axis=1, keepdims=True)
  return np.where(finite, _in_chunks(reading, logits), np.nan)


def example_losses(
  target: Target, logits: np.ndarray, batch: Mapping[str, np.ndarray]
) -> np.ndarray:
  """The objective of N examples, f64[N], nats, of logits f32[N,K].

  It is infinite where it, or a logit, is no number. The batch, [N,...], is what
  it compares the logits with.
  """
  found = _in_chunks(target.objective, logits, dict(batch))
  finite = np.isfinite(logits).all(axis=1) & ~np.isnan(found)
  return np.where(finite, found, np.inf)


# Rows that are computed at once, so that one program does for any number.
_CHUNK = 256


def _in_chunks(function, *arrays):
  """`function` of arrays [N,...] that treats each row alone, f64[N,...].

  It is compiled once if it is the same object in each call.
  """
  run = jax.jit(function)
  count = len(jax.tree.leaves(arrays)[0])

  def cut(start, x):
    part = x[start : start + _CHUNK]
    return np.pad(part, [(0, _CHUNK - len(part))] + [(0, 0)] * (x.ndim - 1))

  found = []
  for start in range(0, max(count, 1), _CHUNK):
    rows = jax.tree.map(partial(cut, start), arrays)
    found.append(np.asarray(run(*rows), np.float64))
  return np.concatenate(found)[:count]


def share_head(tree: Tree, head: Head) -> Reading:
  """Logits -> conditional fractions: positive numbers, divided by their sum.

  * sigmoid: of sigmoids (the lab report, section 3.5).
  * divisive: of max(z + 1, 0) (Dieleman et al. 2015). It says 0 and 1 exactly;
    the 1 lets a fresh network start alive and undecided.
  * softmax: of exponentials.

  Raises:
    KeyError: for another head.
  """
  if head == "softmax":
    log_shares = _log_softmax(tree)
    return lambda logits: jnp.exp(log_shares(logits))
  positive = {
    "sigmoid": jax.nn.sigmoid,
    "divisive": lambda logits: jax.nn.relu(logits + 1) + 1e-12,
  }[head]
  return lambda logits: trees.conditional(tree, positive(logits))


def concentration(logits: jax.Array) -> jax.Array:
  """1 + 100 sigmoid(z), between 1 and 101 as in Walmsley et al. (2022)."""
  return 1 + 100 * jax.nn.sigmoid(logits)


def _log_softmax(tree):
  """Logits -> logarithms of the shares of each question's answers."""
  return lambda logits: jnp.concatenate(
    [jax.nn.log_softmax(logits[..., part]) for part in tree.slices], axis=-1
  )


def _class_logits(shares, answers):
  answers = np.asarray(answers, np.int32)
  # A class that nobody expects keeps a finite logit.
  floor = jnp.finfo(jnp.float32).tiny
  return lambda logits: jnp.log(
    jnp.maximum(shares(logits)[..., answers], floor)
  )


def _dirichlet_multinomial(tree):
  """The law of the votes on one example; its Fisher has no closed form."""

  def sample(key, logits, example):
    alpha, votes = concentration(logits), example["votes"]
    for i, part in enumerate(tree.slices):
      share_key, vote_key = jax.random.split(jax.random.fold_in(key, i))
      drawn = jax.random.multinomial(
        vote_key,
        jnp.round(jnp.sum(votes[part])),
        jax.random.dirichlet(share_key, alpha[part]),
      )
      votes = votes.at[part].set(drawn)
    return {**example, "votes": votes}

  return likelihoods.Likelihood(None, sample)
