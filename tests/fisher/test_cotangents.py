"""The kinds of Fisher against enumeration over every possible target."""

import functools
import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gzjax import fisher, models
from gzjax.objectives import likelihoods, losses
from tests import networks
from tests.fisher import truth


def _multilabel(logits, batch):
  return optax.sigmoid_binary_cross_entropy(logits, batch["votes"]).sum(-1)


def _vote_counts(logits, batch):
  """Multinomial -log likelihood of two questions, up to a constant."""
  first = jax.nn.log_softmax(logits[:, :2])
  second = jax.nn.log_softmax(logits[:, 2:])
  return -jnp.sum(
    batch["votes"] * jnp.concatenate([first, second], axis=-1), axis=-1
  )


@functools.cache
def _enumerated(objective, targets):
  """Sum over examples of E[(d loss / d theta)^2], target by target.

  Args:
    objective: per-example loss.
    targets: (logits f64[K], example) -> pairs of probability and what the
      target replaces in the example.
  """
  apply_fn, params, stats = networks.tiny()
  batch = _batch()
  total = jax.tree.map(np.zeros_like, truth.in_float64(params))
  with jax.enable_x64(True):
    wide = truth.in_float64((params, stats, batch))
    logits, _ = jax.jit(apply_fn, static_argnames="train")(
      *wide[:2], wide[2]["image"], train=False
    )
  loss = truth.loss_of_one(apply_fn, truth.in_float64(stats), objective)
  cases = [
    (p, {**jax.tree.map(lambda x, n=n: x[n], batch), **target})
    for n in np.flatnonzero(batch["valid"])
    for p, target in targets(
      np.asarray(logits[n]), jax.tree.map(lambda x, n=n: x[n], batch)
    )
  ]
  examples = jax.tree.map(lambda *x: np.stack(x), *(case for _, case in cases))
  # sqrt(p) times the loss has p times its squared gradient.
  examples["root"] = np.sqrt([p for p, _ in cases])
  return jax.tree.map(
    np.add,
    total,
    truth.sum_of_squares(lambda p, e: e["root"] * loss(p, e), params, examples),
  )


def _batch():
  batch = networks.batch(5, padding=1)
  rng = np.random.default_rng(5)
  batch["votes"] = rng.integers(1, 3, (5, 3)).astype(np.float32)
  return batch


def _fisher(mesh, key=None, copies=1, **options):
  """The sum over a batch that holds the examples so many times."""
  apply_fn, params, stats = networks.tiny()
  batch = {k: np.concatenate([v] * copies) for k, v in _batch().items()}
  batch["id"] = np.arange(len(batch["id"]), dtype=np.int32)
  return fisher.fisher_diagonal(
    apply_fn,
    {"params": params, "batch_stats": stats},
    [batch],
    spec=fisher.Spec(**options),
    mesh=mesh,
    key=key,
  ).sum_sq


def _softmax(logits):
  p = np.exp(logits - logits.max())
  return p / p.sum()


def _each_class(logits, example):
  del example
  return [(p, {"label": np.int32(k)}) for k, p in enumerate(_softmax(logits))]


def _each_answer(logits, example):
  del example
  p = 1 / (1 + np.exp(-logits))
  for answer in itertools.product([0.0, 1.0], repeat=3):
    answer = np.asarray(answer)
    yield np.prod(np.where(answer, p, 1 - p)), {"votes": answer}


def _each_count(logits, example):
  """All ways in which the people asked may answer both questions."""

  def question(logits, asked):
    p = _softmax(logits)
    for counts in itertools.product(range(asked + 1), repeat=len(p)):
      if sum(counts) == asked:
        ways = math.factorial(asked) / math.prod(map(math.factorial, counts))
        yield ways * np.prod(p ** np.asarray(counts)), counts

  votes = example["votes"].astype(int)
  for p, first in question(logits[:2], votes[:2].sum()):
    for q, second in question(logits[2:], votes[2:].sum()):
      yield p * q, {"votes": np.asarray([*first, *second], np.float64)}


TRUE = {
  "classes": (losses.cross_entropy, likelihoods.CATEGORICAL, _each_class),
  "multi-label": (_multilabel, likelihoods.BERNOULLI, _each_answer),
  "vote counts": (
    _vote_counts,
    likelihoods.multinomial([[0, 1], [2]]),
    _each_count,
  ),
}


@pytest.mark.parametrize("estimator", ["exact", "vmap"])
@pytest.mark.parametrize("name", TRUE)
def test_true_is_the_expectation_over_all_targets(name, estimator, mesh):
  objective, likelihood, targets = TRUE[name]
  got = _fisher(
    mesh,
    objective=objective,
    likelihood=likelihood,
    kind="true",
    estimator=estimator,
  )
  assert truth.relative_error(got, _enumerated(objective, targets)) < 1e-5


def test_true_of_a_regression_is_the_squared_jacobian(mesh):
  """A Gaussian of unit variance: F = J^T J, whatever the votes are."""
  apply_fn, params, stats = networks.tiny()
  got = _fisher(
    mesh, likelihood=likelihoods.gaussian(jax.nn.sigmoid), kind="true"
  )

  def output(logits, example):
    return jax.nn.sigmoid(jnp.take(logits, example["output"][0], axis=-1))

  examples = {k: np.repeat(v, 3, axis=0) for k, v in _batch().items()}
  examples["output"] = np.tile(np.arange(3), 5)
  wanted = truth.sum_of_squares(
    truth.loss_of_one(apply_fn, truth.in_float64(stats), output),
    params,
    examples,
  )
  assert truth.relative_error(got, wanted) < 1e-5


@pytest.mark.parametrize("classes", [2, 3, 10, 37])
def test_softmax_factor(classes):
  rng = np.random.default_rng(classes)
  for scale in (0.1, 3.0, 30.0):
    logits = (scale * rng.normal(size=classes)).astype(np.float32)
    p = _softmax(logits.astype(np.float64))
    rows = np.asarray(
      likelihoods.softmax_factor(jnp.asarray(logits)), np.float64
    )
    assert rows.shape == (classes - 1, classes)
    wanted = np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(rows.T @ rows, wanted, atol=3e-7, rtol=0)


@pytest.mark.parametrize("sure", [[200.0, 0, 0], [0, 200.0, 0], [0, 0, 200.0]])
def test_softmax_factor_where_nothing_is_left_to_share(sure):
  rows = likelihoods.softmax_factor(jnp.asarray(sure))
  np.testing.assert_allclose(rows, 0, atol=1e-6)


SAMPLED = {
  "classes": (losses.cross_entropy, likelihoods.CATEGORICAL),
  "multi-label": (_multilabel, likelihoods.BERNOULLI),
  "vote counts": (_vote_counts, likelihoods.multinomial([[0, 1], [2]])),
  "regression": (
    lambda logits, batch: (
      0.5 * jnp.sum((jax.nn.sigmoid(logits) - batch["votes"]) ** 2, axis=-1)
    ),
    likelihoods.gaussian(jax.nn.sigmoid),
  ),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_is_true_on_average(name, one_device):
  """Over 400 draws for each example, in 80 sums of five."""
  objective, likelihood = SAMPLED[name]
  options = {"objective": objective, "likelihood": likelihood}

  def of_head(**more):
    found = _fisher(one_device, copies=5, **options, **more)
    return np.asarray(found["head"]["kernel"])

  true = of_head(kind="true")
  keys = jax.random.split(jax.random.key(0), 80)
  draws = np.stack([of_head(kind="sampled", key=key) for key in keys])
  error = draws.std(axis=0) / np.sqrt(len(draws))
  # The lone answer of a question tells nothing, whatever is drawn.
  np.testing.assert_array_equal(true[error == 0], 0)
  off = (np.abs(draws.mean(axis=0) - true)[error > 0]) / error[error > 0]
  assert off.max() < 4


def test_a_question_may_be_asked_with_a_probability():
  """Drawn answers have the mean and the second moment of the exact factor."""
  votes = jnp.array([1.0, 1.5, 0.1, 0.2])  # asked 2.5 and 0.3 times
  law = likelihoods.multinomial([[0, 1], [2, 3]])
  logits = jnp.array([0.3, -0.4, 1.0, 0.0])
  keys = jax.random.split(jax.random.key(0), 20_000)
  drawn = jax.jit(
    jax.vmap(lambda k: law.sample(k, logits, {"votes": votes})["votes"])
  )(keys)
  p = np.concatenate(
    [_softmax(np.asarray(x)) for x in (logits[:2], logits[2:])]
  )
  drawn = np.asarray(drawn, np.float64)
  asked = np.repeat(
    np.stack([drawn[:, :2].sum(axis=1), drawn[:, 2:].sum(axis=1)], 1), 2, 1
  )
  np.testing.assert_allclose(
    asked.mean(axis=0), [2.5, 2.5, 0.3, 0.3], atol=0.02
  )
  slopes = drawn - p * asked  # minus the gradient of the loss
  factor = np.asarray(law.factor(logits, {"votes": votes}))
  np.testing.assert_allclose(
    slopes.T @ slopes / len(slopes), factor.T @ factor, atol=0.02
  )


def test_a_draw_depends_on_the_example_not_on_the_devices(mesh, one_device):
  options = {"kind": "sampled", "key": jax.random.key(3)}
  one = _fisher(one_device, **options)
  many = _fisher(mesh, **options)
  assert truth.relative_error(many, one) < 1e-5
  other = _fisher(mesh, kind="sampled", key=jax.random.key(4))
  assert truth.relative_error(other, one) > 1e-2


def test_true_of_many_classes(mesh):
  """More passes than are unrolled."""
  model = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(6)])
  apply_fn = models.make_apply_fn(model)
  batch = networks.batch(5)
  params = jax.jit(model.init)(jax.random.key(0), batch["image"])["params"]
  logits, _ = apply_fn(params, {}, batch["image"], train=False)
  got = fisher.fisher_diagonal(
    model,
    {"params": params},
    [batch],
    spec=fisher.Spec(kind="true"),
    mesh=mesh,
  ).sum_sq
  # Of a linear network F = sum_n x_n^2 (p_n - p_n^2).
  p = np.stack([_softmax(x) for x in np.asarray(logits, np.float64)])
  x = batch["image"].reshape(5, -1).astype(np.float64)
  wanted = {
    "layers_1": {
      "bias": np.sum(p - p**2, axis=0), "kernel": (x**2).T @ (p - p**2)
    }
  }  # fmt: skip
  assert truth.relative_error(got, wanted) < 1e-5


def test_what_cannot_be_had_is_said(mesh):
  with pytest.raises(ValueError, match="'exact'"):
    _fisher(mesh, kind="exact")
  without = likelihoods.CATEGORICAL._replace(factor=None)
  with pytest.raises(ValueError, match="sampled"):
    _fisher(mesh, kind="true", likelihood=without)
