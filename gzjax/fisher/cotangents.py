"""Which Fisher: the cotangents of the logits whose pullbacks are squared.

The Fisher diagonal of one example is sum_r (J^T c_r)^2, J the Jacobian of its
logits. The empirical Fisher has one cotangent, the gradient of the loss of the
given label; the true one, an expectation over the labels that the model itself
expects, has the columns of any factor S of the logits' Fisher matrix S S^T; the
sampled one has the gradient of the loss of a drawn label.
"""

from collections.abc import Callable
from typing import Literal

import jax

from gzjax.objectives import likelihoods
from gzjax.types import Batch, Objective

Kind = Literal["empirical", "true", "sampled"]


# (logits f32[K], example, key) -> f32[R,K]
Cotangents = Callable[[jax.Array, Batch, jax.Array], jax.Array]


def make_cotangents(
  kind: Kind, objective: Objective, likelihood: likelihoods.Likelihood
) -> Cotangents:
  """The cotangents of one example.

  Raises:
    ValueError: for another kind, or a true one that has no closed form.
  """

  def gradient(logits, example, key):
    del key

    def loss(logits):
      batch = jax.tree.map(lambda x: x[None], dict(example))
      return objective(logits[None], batch)[0]

    return jax.grad(loss)(logits)[None]

  if kind == "empirical":
    return gradient
  if kind == "sampled":
    return lambda logits, example, key: gradient(
      logits, likelihood.sample(key, logits, example), key
    )
  if kind != "true":
    raise ValueError(f"kind is {kind!r}: choose empirical, true or sampled.")
  if likelihood.factor is None:
    raise ValueError(
      'This likelihood has no closed form for kind="true": choose '
      'kind="sampled".'
    )
  return lambda logits, example, key: likelihood.factor(logits, example)
