"""Each method takes the steps that its publication writes down.

A softmax regression of a few weights, whose gradients are written out in NumPy,
and optimizers written out, too: two steps each.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gzjax.training.step import init_state
from gzjax.types import UnlearnBatch
from gzjax.unlearning import METHODS
from gzjax.unlearning.step import make_unlearn_step
from gzjax.unlearning.table import Task

CLASSES, FEATURES, COUNT, STEPS = 3, 4, 6, 2
RATE = 0.1


def apply_fn(params, batch_stats, image, *, train, key=None):
  del train, key
  seen = image.reshape(len(image), -1)
  head = params["head"]
  return seen @ head["kernel"] + head["bias"][None], batch_stats


class Weights(NamedTuple):
  """Of the regression, f64; also a gradient of them."""

  kernel: np.ndarray  # [FEATURES,CLASSES]
  bias: np.ndarray  # [CLASSES]


def each(function, *trees):
  return Weights(*(function(*leaves) for leaves in zip(*trees, strict=True)))


def dot(a, b):
  return sum(np.sum(x * y) for x, y in zip(a, b, strict=True))


class Data(NamedTuple):
  """Galaxies to keep or to forget."""

  image: np.ndarray
  label: np.ndarray
  mended_label: np.ndarray
  random_logits: np.ndarray
  valid: np.ndarray


def draw(seed, padding=0):
  rng = np.random.default_rng(seed)
  label = rng.integers(0, CLASSES, COUNT)
  return Data(
    rng.normal(size=(COUNT, 2, 2, 1)),
    label,
    (label + 1) % CLASSES,
    rng.normal(size=(COUNT, CLASSES)),
    (np.arange(COUNT) < COUNT - padding).astype(float),
  )


RETAIN, FORGET = draw(0), draw(1, padding=2)
_RNG = np.random.default_rng(2)
START = Weights(
  _RNG.normal(size=(FEATURES, CLASSES)), _RNG.normal(size=CLASSES)
)
TEACHER = each(lambda w: w + _RNG.normal(size=w.shape), START)
TAUGHT = each(lambda w: w + _RNG.normal(size=w.shape), START)
SALIENCY = each(lambda w: _RNG.normal(size=w.shape), START)
FISHER = {
  name: each(lambda w: _RNG.uniform(0.1, 1, w.shape), START)
  for name in ("retain_fisher", "forget_fisher", "train_fisher")
}


def logits(weights, data):
  return data.image.reshape(COUNT, -1) @ weights.kernel + weights.bias


def back(data, slope):
  """The gradient of the mean over valid galaxies; slope dL/dlogits f[B,C]."""
  slope = slope * data.valid[:, None] / data.valid.sum()
  seen = data.image.reshape(COUNT, -1)
  return Weights(seen.T @ slope, slope.sum(axis=0))


def one_hot(label):
  return np.eye(CLASSES)[label]


def cross_entropy(weights, data, label=None):
  label = data.label if label is None else label
  p = special.softmax(logits(weights, data), axis=1)
  return back(data, p - one_hot(label))


def capped(weights, data, cap):
  """No gradient where the loss is above the cap."""
  p = special.softmax(logits(weights, data), axis=1)
  loss = -np.log(p[np.arange(COUNT), data.label])
  below = (loss < cap)[:, None]
  return back(data, (p - one_hot(data.label)) * below)


def complement(weights, data):
  """d/dz -log(1 - q_y) = q_y / (1 - q_y) (e_y - q)."""
  q = special.softmax(logits(weights, data), axis=1)
  own = q[np.arange(COUNT), data.label][:, None]
  return back(data, own / (1 - own) * (one_hot(data.label) - q))


def preference(weights, data, bound, reference=None):
  """d/dz 2/b softplus(b (log p - log p0)) = 2 sigmoid(...) (e_y - p)."""
  rows = np.arange(COUNT), data.label
  p = special.softmax(logits(weights, data), axis=1)
  ratio = np.log(p[rows])
  if reference is not None:
    ratio -= special.log_softmax(reference, axis=1)[rows]
  pull = 2 * special.expit(bound * ratio)[:, None]
  return back(data, pull * (one_hot(data.label) - p))


def without_label(weights, data, teacher):
  """d/dz KL(teacher without its label || student)."""
  left = special.softmax(teacher, axis=1) * (1 - one_hot(data.label))
  left /= left.sum(axis=1, keepdims=True)
  return back(data, special.softmax(logits(weights, data), axis=1) - left)


def distillation(weights, data, teacher, temperature):
  """d/dz T^2 KL(teacher || student) = T (student - teacher)."""
  student, wanted = (
    special.softmax(x / temperature, axis=1)
    for x in (logits(weights, data), teacher)
  )
  return back(data, temperature * (student - wanted))


def surgery(retain, forget, *, ascends):
  """PCGrad: what of the forget gradient works against the retain gradient."""
  overlap = dot(retain, forget)
  if (overlap > 0) != ascends or overlap == 0:
    return forget
  share = overlap / dot(retain, retain)
  return each(lambda f, r: f - share * r, forget, retain)


def cosine(step):
  return RATE * (1 + np.cos(np.pi * step / STEPS)) / 2


class Adam:
  """Kingma and Ba (2015), algorithm 1."""

  def __init__(self, rate=cosine):
    self._rate, self._step = rate, 0
    self._m = self._v = each(np.zeros_like, START)

  def __call__(self, gradient):
    self._m = each(lambda m, g: 0.9 * m + 0.1 * g, self._m, gradient)
    self._v = each(lambda v, g: 0.999 * v + 0.001 * g**2, self._v, gradient)
    rate = self._rate(self._step)
    self._step += 1
    first, second = 1 - 0.9**self._step, 1 - 0.999**self._step
    return each(
      lambda m, v: -rate * (m / first) / (np.sqrt(v / second) + 1e-8),
      self._m,
      self._v,
    )


def descended(gradient_of, optimizer):
  """Two steps along gradients (weights, step) -> Weights."""
  weights = START
  for step in range(STEPS):
    update = optimizer(gradient_of(weights, step))
    weights = each(np.add, weights, update)
  return weights


def finetune():
  return descended(lambda w, _: cross_entropy(w, RETAIN), Adam())


def gradient_ascent(max_norm=0.05, radius=0.02):
  """With clip and ball."""
  adam, weights = Adam(lambda step: RATE), START
  size = np.sqrt(dot(TEACHER, TEACHER))
  for _ in range(STEPS):
    up = each(np.negative, cross_entropy(weights, FORGET))
    norm = np.sqrt(dot(up, up))
    clipped = each(lambda g, n=norm: g * min(1, max_norm / n), up)
    weights = each(np.add, weights, adam(clipped))
    away = each(np.subtract, weights, TEACHER)
    shrink = min(1, radius * size / np.sqrt(dot(away, away)))
    weights = each(lambda t, a, s=shrink: t + s * a, TEACHER, away)
  return weights


def published_gradient_ascent():
  return descended(
    lambda w, _: each(np.negative, cross_entropy(w, FORGET)),
    Adam(lambda step: RATE),
  )


def contrasted(forget_gradient, weight, with_surgery):
  def gradient(w, _):
    retain, forget = cross_entropy(w, RETAIN), forget_gradient(w)
    if with_surgery:
      forget = surgery(retain, forget, ascends=True)
    return each(lambda r, f: weight * r - (1 - weight) * f, retain, forget)

  return descended(gradient, Adam())


def both(forget_gradient, weight=1.0, with_surgery=False):
  def gradient(w, _):
    retain, forget = cross_entropy(w, RETAIN), forget_gradient(w)
    if with_surgery:
      forget = surgery(retain, forget, ascends=False)
    return each(lambda r, f: r + weight * f, retain, forget)

  return descended(gradient, Adam())


def l1_sparse(weight=0.3):
  """SGD with momentum 0.9; the penalty falls to 0; of matrices only."""
  weights, speed = START, each(np.zeros_like, START)
  for step in range(STEPS):
    gradient = cross_entropy(weights, RETAIN)
    penalty = weight * (1 - step / STEPS) * np.sign(weights.kernel)
    gradient = gradient._replace(kernel=gradient.kernel + penalty)
    speed = each(lambda s, g: 0.9 * s + g, speed, gradient)
    rate = cosine(step)
    weights = each(lambda w, s, r=rate: w - r * s, weights, speed)
  return weights


def msg(slower=0.2, decay=0.05):
  """SGD with momentum 0.9, L2 penalty; no convolution: all weights slowly."""
  weights, speed = START, each(np.zeros_like, START)
  for _ in range(STEPS):
    gradient = cross_entropy(weights, RETAIN)
    step = each(lambda g, w: slower * g + decay * w, gradient, weights)
    speed = each(lambda s, g: 0.9 * s + g, speed, step)
    weights = each(lambda w, s: w - RATE * s, weights, speed)
  return weights


def scrub(a=0.9, b=0.4, temperature=2.0):
  """Min first, then max."""

  def gradient(w, step):
    if step == 1:
      teacher = logits(TEACHER, FORGET)
      return each(np.negative, distillation(w, FORGET, teacher, temperature))
    teacher = logits(TEACHER, RETAIN)
    obeyed = distillation(w, RETAIN, teacher, temperature)
    return each(lambda c, d: a * c + b * d, cross_entropy(w, RETAIN), obeyed)

  return descended(gradient, Adam())


def bad_teacher(weight=0.5, temperature=2.0):
  def gradient(w, _):
    teacher = logits(TEACHER, RETAIN)
    return each(
      lambda r, f: r + weight * f,
      distillation(w, RETAIN, teacher, temperature),
      distillation(w, FORGET, FORGET.random_logits, temperature),
    )

  return descended(gradient, Adam())


def ssd(threshold=2.0, strength=0.5):
  """Foster et al. (2024), equation 2."""

  def shrunk(w, forget, train):
    factor = np.minimum(strength * train / forget, 1)
    return np.where(forget > threshold * train, w * factor, w)

  return each(shrunk, START, FISHER["forget_fisher"], FISHER["train_fisher"])


def assd():
  """Schoepf et al. (2024): the percentile is 100 - ln(1 + 100 s)."""
  ratio = np.concatenate(
    [
      (f / t).ravel()
      for f, t in zip(
        FISHER["forget_fisher"], FISHER["train_fisher"], strict=True
      )
    ]
  )
  share = TASK.forget / TASK.train
  threshold = np.percentile(ratio, 100 - np.log(1 + 100 * share))
  return ssd(threshold, 1.0)


def influence(scale=1.5, stabiliser=0.7, radius=0.03):
  fisher = FISHER["retain_fisher"]
  entries = np.concatenate([x.ravel() for x in fisher])
  weight = scale * TASK.forget / (TASK.train - TASK.forget)
  step = each(
    lambda g, f: weight * g / (f + stabiliser * entries.mean()),
    SALIENCY,
    fisher,
  )
  norm, size = np.sqrt(dot(step, step)), np.sqrt(dot(START, START))
  assert (norm > radius * size) == (radius < 1)  # whether it is shortened
  shrink = min(1, radius * size / norm)
  return each(lambda w, s: w + shrink * s, START, step)


def cuts(scale=1.5):
  return each(lambda w, wrong: w - scale * (wrong - w), START, TAUGHT)


TASK = Task(jax.random.key(0), STEPS, 13, 130, ("head",))
ADAM = {"learning_rate": RATE}
# (method, its settings, the weights that it must end at).
FORMULAS = {
  "finetune": ({**ADAM}, finetune),
  "reinit_head": ({**ADAM, "k": 1}, finetune),
  # The head is all that there is.
  "cf_k": ({**ADAM, "k": 1}, finetune),
  "eu_k": ({**ADAM, "k": 1}, finetune),
  "gradient_ascent": (
    {**ADAM, "max_norm": 0.05, "radius": 0.02},
    gradient_ascent,
  ),
  "published_gradient_ascent": ({**ADAM}, published_gradient_ascent),
  "neggrad_plus": (
    {**ADAM, "retain_weight": 0.7},
    lambda: contrasted(lambda w: cross_entropy(w, FORGET), 0.7, False),
  ),
  "neggrad_plus with surgery": (
    {**ADAM, "retain_weight": 0.7, "surgery": True},
    lambda: contrasted(lambda w: cross_entropy(w, FORGET), 0.7, True),
  ),
  "bounded_neggrad": (
    {**ADAM, "retain_weight": 0.6, "cap": 1.5},
    lambda: contrasted(lambda w: capped(w, FORGET, 1.5), 0.6, True),
  ),
  "negative_learning": (
    {**ADAM, "forget_weight": 0.8},
    lambda: both(lambda w: complement(w, FORGET), 0.8, True),
  ),
  "npo": (
    {**ADAM, "forget_weight": 0.8, "bound": 0.5},
    lambda: both(
      lambda w: preference(w, FORGET, 0.5, logits(TEACHER, FORGET)), 0.8
    ),
  ),
  "simnpo": (
    {**ADAM, "forget_weight": 0.8, "bound": 2.0},
    lambda: both(lambda w: preference(w, FORGET, 2.0), 0.8),
  ),
  "delete": (
    {**ADAM, "forget_weight": 0.8},
    lambda: both(
      lambda w: without_label(w, FORGET, logits(TEACHER, FORGET)), 0.8
    ),
  ),
  "l1_sparse": ({**ADAM, "weight": 0.3}, l1_sparse),
  "msg": ({**ADAM, "slower": 0.2, "weight_decay": 0.05}, msg),
  "scrub": (
    {
      **ADAM,
      **{"ce_weight": 0.9, "kl_weight": 0.4, "temperature": 2.0},
      "ascent_share": 1.0,
    },
    scrub,
  ),
  "bad_teacher": (
    {**ADAM, "forget_weight": 0.5, "temperature": 2.0},
    bad_teacher,
  ),
  "relabel": (
    {**ADAM, "forget_weight": 0.6},
    lambda: both(lambda w: cross_entropy(w, FORGET, FORGET.mended_label), 0.6),
  ),
  "ssd": ({"threshold": 2.0, "strength": 0.5}, ssd),
  "assd": ({}, assd),
  "cuts": ({"scale": 1.5}, cuts),
  "influence": (
    {"scale": 1.5, "stabiliser": 0.7, "radius": 0.03},
    influence,
  ),
  "influence without a limit": (
    {"scale": 1.5, "stabiliser": 0.7, "radius": 9.0},
    lambda: influence(radius=9.0),
  ),
}


def _tree(weights):
  return {"head": jax.tree.map(jnp.float32, weights._asdict())}


def _batch(data):
  return {
    "image": jnp.float32(data.image),
    "label": jnp.int32(data.label),
    "mended_label": jnp.int32(data.mended_label),
    "random_logits": jnp.float32(data.random_logits),
    "valid": jnp.float32(data.valid),
    "id": jnp.arange(COUNT, dtype=jnp.int32),
  }


def _stepped(name, settings, batch=None):
  """The weights after two steps of a method, or the one that it takes."""
  method = METHODS[name].build(TASK, **settings)
  state = init_state(_tree(START), {}, method.transform)
  step = make_unlearn_step(apply_fn, method)
  extras = {
    "reference_params": _tree(TEACHER),
    "reference_batch_stats": {},
    "saliency": _tree(SALIENCY),
    "retain_saliency": _tree(TEACHER),
    "forget_params": _tree(TAUGHT),
    **{key: _tree(x) for key, x in FISHER.items()},
  }
  batch = batch or UnlearnBatch(_batch(RETAIN), _batch(FORGET))
  has_batches = method.retain_objective or method.forget_objective
  for _ in range(STEPS if has_batches else 1):
    state, _ = step(state, (batch, extras))
  return Weights(**state.params["head"])


@pytest.mark.parametrize("case", FORMULAS)
def test_a_method_is_its_formula(case):
  settings, wanted = FORMULAS[case]
  got = _stepped(case.split()[0], settings)
  for a, b in zip(got, wanted(), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def _labels(codes):
  """Of the galaxies to forget: `codes` says how far from their own."""
  return (FORGET.label + np.array([*codes, 0, 0])) % CLASSES


def test_random_labels_are_drawn_once_of_the_other_classes():
  got = _stepped("random_label", {**ADAM, "forget_weight": 0.5})
  ends = [
    _redrawn(codes, codes)
    for codes in itertools.product((1, 2), repeat=COUNT - 2)
  ]
  assert min(_distance(got, wanted) for wanted in ends) < 1e-4


def test_redrawn_labels_are_those_of_their_step():
  """Any class, another one from step to step."""
  settings = {**ADAM, "forget_weight": 0.5, "redraw": True}
  got = _stepped("random_label", settings)
  draws = itertools.product(range(CLASSES), repeat=2 * (COUNT - 2))
  near = [
    (codes[: COUNT - 2], codes[COUNT - 2 :])
    for codes in draws
    if _distance(got, _redrawn(codes[: COUNT - 2], codes[COUNT - 2 :])) < 1e-4
  ]
  (found,) = near
  assert found[0] != found[1]


def _redrawn(*codes):
  def gradient(w, step):
    forget = cross_entropy(w, FORGET, _labels(codes[step]))
    return each(lambda r, f: r + 0.5 * f, cross_entropy(w, RETAIN), forget)

  return descended(gradient, Adam())


def _distance(a, b):
  return max(np.max(np.abs(x - y)) for x, y in zip(a, b, strict=True))


def test_salun_moves_the_salient_half():
  """Of the gradient of random labels: only there, and there as without."""
  how = {**ADAM, "forget_weight": 0.5}
  masked, free = (
    _stepped("salun", {**how, "share": 0.5}),
    (_stepped("random_label", how)),
  )
  entries = np.abs(np.concatenate([x.ravel() for x in SALIENCY]))
  moving = entries >= np.median(entries)
  moved, wanted = (
    np.concatenate([(a - b).ravel() for a, b in zip(x, START, strict=True)])
    for x in (masked, free)
  )
  np.testing.assert_array_equal(np.abs(moved) > 1e-6, moving)
  # The first step of Adam is that of each weight alone.
  np.testing.assert_array_equal(np.sign(moved[moving]), np.sign(wanted[moving]))
