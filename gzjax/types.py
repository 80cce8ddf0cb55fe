"""Named data that the parts of gzjax hand to each other.

Letters in the shapes: B examples in a batch, H and W pixels, K classes,
A answers of a decision tree. Every array of examples has B in front.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import optax

PyTree = Any

# image f32[B,H,W,3] (normalised), label i32[B] or votes f32[B,A],
# valid f32[B] (0 marks the padding of a last batch), id i32[B] (row in the
# data set).
Batch = Mapping[str, jax.Array]

# (logits f32[B,K], batch) -> loss of each example f32[B], in nats.
Objective = Callable[[jax.Array, Batch], jax.Array]


class ApplyFn(Protocol):
  """A network as a pure function.

  With `train=False` the stored BatchNorm statistics are used and returned
  unchanged; with `train=True` the statistics of the batch are used and the
  stored ones move towards them. Dropout and stochastic depth need
  `train=True` and a key; without a key there is neither.
  """

  def __call__(
    self,
    params: PyTree,
    batch_stats: PyTree,
    image: jax.Array,  # f32[B,H,W,3]
    *,
    train: bool,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, PyTree]:  # logits f32[B,K], new batch_stats
    ...


class TrainState(NamedTuple):
  """What the next training or unlearning step needs."""

  step: jax.Array  # i32[]
  params: PyTree
  batch_stats: PyTree
  opt_state: optax.OptState


# Of a gradient: a backward pass is two products of the size of the forward one.
FORWARD = 1 / 3


class Cost(NamedTuple):
  """What it took to make a network.

  Seconds are synchronised with the devices and depend on the machine and on
  what else it does. `gradients` is work, the same anywhere: a forward and a
  backward pass over one example is 1, a forward pass alone `FORWARD`.
  """

  wall_seconds: float = 0.0  # without compilation
  compile_seconds: float = 0.0
  gradients: float = 0.0

  def plus(self, other: "Cost") -> "Cost":
    """Of both."""
    return Cost(*(a + b for a, b in zip(self, other, strict=True)))


class Fisher(NamedTuple):
  """Sum of squared per-example gradients: a monoid under `fisher.merge`."""

  count: jax.Array  # f32[], number of valid examples
  sum_sq: PyTree  # like params, f32


class UnlearnBatch(NamedTuple):
  """One step's examples to keep and one step's examples to forget."""

  retain: Batch
  forget: Batch


class Spare(NamedTuple):
  """Parameters beside those of the network, which learn with them and go.

  The state of the chain keeps them as its field `spare`; their gradient comes
  as the extra argument `spare_grads`.
  """

  # The network with them: it takes (params, spare) for params, and `example`
  # i32[B], the entry of the batch that says which examples share them.
  beside: Callable[[ApplyFn], Callable[..., tuple[jax.Array, PyTree]]]
  cost: float  # of a pass with them, in passes of the network alone


class Method(NamedTuple):
  """An unlearning method: one optax chain and the gradients that feed it.

  The updates that enter `transform` are the gradient of `retain_objective`
  (zeros where it is None). Where `forget_objective` is set, its gradient comes
  as the extra argument `forget_grads`. `extras` names the other arrays that
  the chain asks for, see `unlearning.transforms`; and
  `retain_reference_logits` or `forget_reference_logits` where that objective
  asks for what the original network says of its batch, `reference_logits`.
  """

  transform: optax.GradientTransformationExtraArgs
  retain_objective: Objective | None = None
  forget_objective: Objective | None = None
  extras: tuple[str, ...] = ()
  spare: Spare | None = None  # of the retain objective alone
