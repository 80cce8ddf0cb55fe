"""What the logits of one example say about its target."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gzjax.types import Batch


class Likelihood(NamedTuple):
  """What the logits of one example say about its target."""

  # (logits f32[K], example) -> S^T f32[R,K], S S^T the Fisher matrix of the
  # logits; None where there is no closed form.
  factor: Callable[[jax.Array, Batch], jax.Array] | None
  # (key, logits, example) -> the example with a target drawn.
  sample: Callable[[jax.Array, jax.Array, Batch], Batch]


def softmax_factor(logits: jax.Array) -> jax.Array:
  """S^T f[K-1,K] with S S^T = diag(p) - p p^T, p the softmax (K >= 2).

  The Cholesky factor of a multinomial covariance (Tanabe & Sagae 1992): one
  backward pass less than there are classes. With q_j = sum of p_i, i > j:
  S[j,j] = sqrt(p_j q_j / q_{j-1}), S[i,j] = -p_i sqrt(p_j / (q_{j-1} q_j)).
  """
  classes = logits.shape[-1]
  p = jax.nn.softmax(logits)
  # Sums of the tail, not 1 minus sums of the head: those cancel.
  tail = jnp.cumsum(p[::-1])[::-1]
  # Where nothing is left to share, the column is zero.
  before, after = tail[:-1], jnp.maximum(tail[1:], jnp.finfo(p.dtype).tiny)
  share = p[:-1] / jnp.maximum(before, jnp.finfo(p.dtype).tiny)
  column = jnp.sqrt(share / after)[:, None]
  ahead = jnp.arange(classes)[None, :] - jnp.arange(classes - 1)[:, None]
  return column * jnp.where(
    ahead > 0, -p[None], jnp.where(ahead == 0, after[:, None], 0)
  )


def _categorical_sample(key, logits, example):
  return {**example, "label": jax.random.categorical(key, logits)}


CATEGORICAL = Likelihood(
  lambda logits, example: softmax_factor(logits), _categorical_sample
)


def _bernoulli_factor(logits, example):
  del example
  return jnp.diag(jnp.sqrt(jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)))


def _bernoulli_sample(key, logits, example):
  drawn = jax.random.bernoulli(key, jax.nn.sigmoid(logits))
  return {**example, "votes": drawn.astype(logits.dtype)}


# Independent yes-or-no answers, `votes` 0 or 1 (multi-label).
BERNOULLI = Likelihood(_bernoulli_factor, _bernoulli_sample)


def gaussian(mean: Callable[[jax.Array], jax.Array]) -> Likelihood:
  """`votes` around `mean`, f32[K] -> f32[A], with unit variance.

  Its loss is |votes - mean(logits)|^2 / 2.
  """

  def sample(key, logits, example):
    expected = mean(logits)
    noise = jax.random.normal(key, expected.shape, expected.dtype)
    return {**example, "votes": expected + noise}

  return Likelihood(lambda logits, example: jax.jacrev(mean)(logits), sample)


def multinomial(questions: Sequence[Sequence[int]]) -> Likelihood:
  """`votes` are counts, by a softmax over the answers of each question.

  The number of people asked is that of the example's own votes. It may be a
  fraction, the probability that one person is asked.

  Args:
    questions: the logits (and votes) of each question's answers.
  """

  def factor(logits, example):
    blocks = []
    for answers in map(jnp.asarray, questions):
      asked = jnp.sum(example["votes"][answers])
      rows = jnp.sqrt(asked) * softmax_factor(logits[answers])
      block = jnp.zeros((len(rows), *logits.shape), rows.dtype)
      blocks.append(block.at[:, answers].set(rows))
    return jnp.concatenate(blocks)

  def sample(key, logits, example):
    votes = example["votes"]
    for i, answers in enumerate(map(jnp.asarray, questions)):
      asked_key, answer_key = jax.random.split(jax.random.fold_in(key, i))
      expected = jnp.sum(votes[answers])
      whole = jnp.floor(expected)
      asked = whole + jax.random.bernoulli(asked_key, expected - whole)
      drawn = jax.random.multinomial(
        answer_key, asked, jax.nn.softmax(logits[answers])
      )
      votes = votes.at[answers].set(drawn)
    return {**example, "votes": votes}

  return Likelihood(factor, sample)
