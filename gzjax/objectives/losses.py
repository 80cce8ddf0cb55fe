"""Per-example objectives: (logits f32[B,K], batch) -> f32[B], in nats."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gzjax.morphology import trees
from gzjax.morphology.trees import Tree
from gzjax.registry import NonNegative, Share, Table
from gzjax.types import Batch, Objective


def cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
  """-log p(label) of each example, f32[B]."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])


def capped(objective: Objective, cap: float) -> Objective:
  """min(objective, cap): ascending it stops by itself at `cap` nats."""
  return lambda logits, batch: jnp.minimum(objective(logits, batch), cap)


def complement(logits: jax.Array, batch: Batch) -> jax.Array:
  """-log(1 - p(label)): "it is not this" (Kim et al. 2019), f32[B].

  Bounded below by 0, unlike the ascent of cross-entropy.
  """
  is_label = jax.nn.one_hot(batch["label"], logits.shape[1], dtype=bool)
  others = jax.nn.logsumexp(jnp.where(is_label, -jnp.inf, logits), axis=1)
  return jax.nn.logsumexp(logits, axis=1) - others


def with_entry(objective: Objective, entry: str, name: str) -> Objective:
  """An objective that takes what the batch calls `name` for its `entry`."""
  return lambda logits, batch: objective(logits, {**batch, entry: batch[name]})


mended_label = with_entry(cross_entropy, "label", "mended_label")


def random_label(key: jax.Array, redraw: bool = False) -> Objective:
  """Cross-entropy of another class than the label, drawn once an example.

  The draw depends on the key and on the example's `id` alone, so it stays the
  same from epoch to epoch; or, with `redraw`, on the batch's `step` i32[B],
  too, and is any class, the label's own among them.
  """

  def objective(logits, batch):
    classes = logits.shape[1]

    def shift(example, step):
      draw = jax.random.fold_in(key, example)
      if redraw:
        return jax.random.randint(
          jax.random.fold_in(draw, step), (), 0, classes
        )
      return jax.random.randint(draw, (), 1, classes)

    step = batch["step"] if redraw else batch["id"]
    label = (batch["label"] + jax.vmap(shift)(batch["id"], step)) % classes
    return cross_entropy(logits, {**batch, "label": label})

  return objective


def distillation(teacher: str, temperature: float = 1.0) -> Objective:
  """T^2 KL(teacher || student) at temperature T (Hinton et al. 2015).

  `teacher` is the entry of the batch with its logits, f32[B,K]. T divides both.
  """

  def objective(logits, batch):
    student = jax.nn.log_softmax(logits / temperature)
    target = jax.nn.log_softmax(batch[teacher] / temperature)
    divergence = jnp.sum(jnp.exp(target) * (target - student), axis=1)
    return temperature**2 * divergence

  return objective


def preference(
  bound: float, reference: str | None = "reference_logits"
) -> Objective:
  """Negative preference: the label is to become improbable, f32[B], nats.

  2 / b softplus(b (log p - log p_ref)), with b = `bound` (NPO, Zhang et al.
  2024); None for the reference: log p alone (SimNPO, Fan et al. 2024). Its
  gradient is that of ascent where p is large and fades where p has fallen:
  b towards 0 is plain ascent.
  """

  def objective(logits, batch):
    ratio = -cross_entropy(logits, batch)
    if reference is not None:
      ratio = ratio + cross_entropy(batch[reference], batch)
    return 2 / bound * jax.nn.softplus(bound * ratio)

  return objective


def without_label(teacher: str) -> Objective:
  """KL(teacher without the label || student), f32[B] (DELETE).

  What the logits `teacher` of the batch say of the other classes, as if the
  label did not exist (Zhou et al. 2025).
  """

  def objective(logits, batch):
    known = batch[teacher]
    is_label = jax.nn.one_hot(batch["label"], known.shape[1], dtype=bool)
    left = jax.nn.log_softmax(jnp.where(is_label, -jnp.inf, known))
    student = jax.nn.log_softmax(logits)
    terms = jnp.exp(left) * (jnp.where(is_label, 0, left) - student)
    return jnp.sum(terms, axis=1)

  return objective


def squared_error(expected: Callable[[jax.Array], jax.Array]) -> Objective:
  """|votes - expected(logits)|^2 / 2, with `expected` f32[B,K] -> f32[B,A]."""
  return lambda logits, batch: (
    jnp.sum((batch["votes"] - expected(logits)) ** 2, axis=1) / 2
  )


def binary_cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
  """That of `batch["votes"]`, f32[B,K] of 0 and 1, summed over K: f32[B]."""
  return jnp.sum(
    optax.sigmoid_binary_cross_entropy(logits, batch["votes"]), axis=-1
  )


def answer_entropy(log_shares: Callable[[jax.Array], jax.Array]) -> Objective:
  """-sum over the answers of votes times `log_shares`, f32[B,K] -> f32[B,A]."""
  return lambda logits, batch: (
    -jnp.sum(batch["votes"] * log_shares(logits), axis=-1)
  )


def dirichlet_multinomial(
  tree: Tree, concentration: Callable[[jax.Array], jax.Array]
) -> Objective:
  """-log p(votes) summed over the questions, taken as independent, in nats.

  Walmsley et al. (2022), equations 6 and 7, with the counts `batch["votes"]`,
  f32[B,A], and a positive `concentration` f32[B,K] -> f32[B,A]. A question that
  nobody was asked contributes exactly nothing.
  """

  def objective(logits, batch):
    found = dirichlet_multinomial_by_question(
      tree, batch["votes"], concentration(logits)
    )
    return jnp.sum(found, axis=-1)

  return objective


def dirichlet_multinomial_by_question(
  tree: Tree, votes: jax.Array, alpha: jax.Array
) -> jax.Array:
  """-log p(votes | alpha) of each question, f32[...,A] -> f32[...,Q], nats.

  With n votes for a question and A the sum of its concentrations: log
  Gamma(n + A) - log Gamma(A) - log Gamma(n + 1), and for each answer log
  Gamma(a) + log Gamma(k + 1) - log Gamma(k + a).
  """
  lgamma = jax.scipy.special.gammaln
  asked, total = trees.sums(tree, votes), trees.sums(tree, alpha)
  answers = lgamma(alpha) + lgamma(votes + 1) - lgamma(votes + alpha)
  found = (
    lgamma(asked + total)
    - lgamma(total)
    - lgamma(asked + 1)
    + trees.sums(tree, answers)
  )
  return jnp.where(asked > 0, found, 0.0)


def on_classes(
  class_logits: Callable[[jax.Array], jax.Array], objective: Objective
) -> Objective:
  """An objective of `class_logits`, f32[B,K] -> f32[B,C] of any network."""
  return lambda logits, batch: objective(class_logits(logits), batch)


def combined(*terms: tuple[float, Objective]) -> Objective:
  """The weighted sum of objectives."""

  def objective(logits, batch):
    losses = [weight * term(logits, batch) for weight, term in terms]
    return jnp.sum(jnp.stack(losses), axis=0)

  return objective


def weighted(objective: Objective, class_weights: np.ndarray) -> Objective:
  """`objective` times that of `class_weights`, f[K], of each one's label."""
  weights = jnp.asarray(class_weights, jnp.float32)
  return lambda logits, batch: (
    weights[batch["label"]] * objective(logits, batch)
  )


def focal(
  objective: Objective = cross_entropy, *, focal_gamma: NonNegative = 2.0
) -> Objective:
  """-(1 - p)^gamma log p of the label (Lin et al. 2017, eq. 4).

  Args:
    objective: -log p.
    focal_gamma: exponent of the focal loss; 0 is cross-entropy.
  """

  def focused(logits, batch):
    loss = objective(logits, batch)
    # 1 - exp(-loss) without cancellation at p near 1; the floor keeps the
    # gradient of a fractional power finite where p rounds to 1.
    miss = jnp.maximum(-jnp.expm1(-loss), jnp.finfo(loss.dtype).tiny)
    return miss**focal_gamma * loss

  return focused


def early_learning(
  objective: Objective = cross_entropy,
  *,
  elr_weight: NonNegative = 3.0,
  elr_memory: Share = 0.7,
) -> Objective:
  """Holds on to what was said of an example before: ELR (Liu et al. 2020).

  -log p(label) + weight log(1 - <p, t>), where t = memory t_before +
  (1 - memory) p goes along without a gradient. Right labels are learned first,
  so t is right where the label is wrong, and the second term weighs against
  learning that by heart. A batch has t_before as `remembered`, f32[B,K], see
  `Dynamics.remember`. As in the authors' code no p is below 1e-4. For networks
  whose logits are those of one softmax.

  Args:
    objective: -log p(label).
    elr_weight: early_learning: of what was said before.
    elr_memory: early_learning: share of it that an epoch leaves.
  """

  def resisting(logits, batch):
    p = jnp.clip(jax.nn.softmax(logits), 1e-4, 1 - 1e-4)
    now = jax.lax.stop_gradient(p / jnp.sum(p, axis=1, keepdims=True))
    kept = elr_memory * batch["remembered"] + (1 - elr_memory) * now
    against = jnp.log1p(-jnp.sum(kept * p, axis=1))
    return objective(logits, batch) + elr_weight * against

  return resisting


def balanced_weights(counts: np.ndarray) -> np.ndarray:
  """N / (K n_k): scikit-learn's `class_weight="balanced"`, f64[K]."""
  return counts.sum() / (len(counts) * counts)


def effective_weights(counts: np.ndarray, beta: float = 0.9999) -> np.ndarray:
  """(1 - beta) / (1 - beta^n_k) with mean 1 (Cui et al. 2019, eq. 2)."""
  weights = (1 - beta) / (1 - beta ** np.asarray(counts, np.float64))
  return weights / weights.mean()


# (the target's objective, **settings) -> what is descended
LOSSES: Table[Callable[..., Objective]] = Table(
  {
    "cross_entropy": lambda objective: objective,
    "focal": focal,
    "early_learning": early_learning,
  }
)
# (galaxies of each class, i[K]) -> their weights, f[K], or None
CLASS_WEIGHTS: Table[Callable[..., np.ndarray | None]] = Table(
  {
    "none": lambda counts: None,
    "balanced": balanced_weights,
    "effective": effective_weights,
  }
)


def masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
  """Mean over the valid examples; 0 where there are none. f32[]."""
  return jnp.sum(values * valid) / jnp.maximum(jnp.sum(valid), 1)
