"""Every network of a run is a row of one table, see `METHODS`.

The constant answer, the original network, real retraining and the unlearning
methods.

Notation: L_r and L_f are the mean losses of the retain and the forget batch: of
CE, what the network was trained on (cross-entropy; of votes see `targets`), if
nothing else is said. p are the parameters, p0 those of the original network, F
is the mean per-example Fisher diagonal. An epoch is one pass over the retain
set, or over the forget set where a method needs only that. A step with both
batches costs one retain and one forget batch.
"""

from collections.abc import Callable, Mapping
import inspect
from typing import Any, NamedTuple

import jax
import optax

from gzjax import registry
from gzjax.evaluation import baselines
from gzjax.objectives import losses
from gzjax.problem import Network, Problem
from gzjax.registry import Table
from gzjax.training.store import Store
from gzjax.training.train import train
from gzjax.types import Method, Objective, PyTree
from gzjax.unlearning import edits, transforms


class Task(NamedTuple):
  """What a method may know of the run that it is built for."""

  key: jax.Array  # of its random numbers
  steps: int  # that it will take in all
  forget: int  # examples
  train: int  # examples, those to forget among them
  layers: tuple[str, ...]  # tops of the parameter paths, input to output
  loss: Objective = losses.cross_entropy  # that the network was trained with
  mended: Objective = losses.mended_label  # the same on mended labels or votes
  # What the network says of the classes: logits f32[B,K] -> f32[B,C].
  class_logits: Callable[[jax.Array], jax.Array] = lambda logits: logits

  def of_class(self, objective: Objective) -> Objective:
    """An objective of the class, whatever else the network speaks of."""
    return losses.on_classes(self.class_logits, objective)


class Driver(NamedTuple):
  """How the driver runs a method; each field is also a config key.

  Attributes:
    epochs: passes over the retain set, or the forget set if it needs only that.
    checks: readings of the vital signs in an epoch.
    max_damage: stop rule: balanced accuracy lost; 1: no rule.
    rewind: whether to end at the reading nearest to the target.
    search: trial values of the setting that the method searches; 0: none.
    train_mode: BatchNorm with the statistics of the batch.
    fisher: estimator; "" is unlearn.fisher.estimator.
  """

  epochs: int = 1
  checks: int = 1
  max_damage: float = 1.0
  rewind: bool = False
  search: int = 0
  train_mode: bool = False
  fisher: str = ""


class Row(NamedTuple):
  """A method of the table.

  `build(task, **settings)` makes it; with the settings of `neutral` in place of
  its own it changes no parameter, which a test checks.
  """

  build: Callable[..., Method]
  neutral: Mapping[str, Any]
  driver: Driver = Driver()
  # (original, fresh parameters, layers, **settings) -> parameters to start at.
  start: Callable[..., PyTree] | None = None
  # (setting, its weakest value): what `Driver.search` looks for, between the
  # weakest and the configured value.
  strength: tuple[str, float] | None = None
  # (retain Fisher, parameters, **settings) -> the noise that it adds.
  noise: Callable[..., edits.NoiseScale] | None = None
  # Whether it reads all logits as those of one softmax.
  softmax_only: bool = False
  # (problem, original, name=, store=, **settings) -> Network, of rows that are
  # no steps from the original.
  make: Callable[..., Network] | None = None
  role: str = "method"  # or baseline, original, reference
  name: str = ""  # in the table

  @property
  def given(self) -> bool:
    """Whether every run has it, unasked."""
    return self.role in ("baseline", "original")

  def defaults(self) -> dict[str, Any]:
    """The settings of the method itself."""
    return METHODS.settings(self.name)


METHODS: Table[Row] = Table({}, shares_section=False)


def register(name: str, row: Row) -> None:
  """Adds a method to the table; the config then has `unlearn.<name>`.

  The keyword-only arguments of `row.build` need defaults: they become config
  keys.

  Raises:
    ValueError: for a name that is taken, or a setting without a default or with
      the name of a field of `Driver`.
  """
  if name in METHODS:
    raise ValueError(f"there is a method {name!r} already")
  for setting in inspect.signature(row.build).parameters:
    if setting in Driver._fields:
      raise ValueError(f"{name}: {setting!r} is a setting of the driver")
  METHODS.register(name, row._replace(name=name))


def default_settings(name: str) -> dict[str, Any]:
  """The config keys of a method and their defaults, the driver's among them."""
  row = METHODS[name]
  if row.make:
    return {}
  return {**METHODS.settings(name), **row.driver._asdict()}


def meanings(name: str) -> dict[str, str]:
  """The words about each of these keys."""
  return {
    "method": "the row of METHODS",
    **METHODS.meanings(name),
    **registry.arguments(Driver),
  }


def _adam(
  learning_rate: float, task: Task
) -> optax.GradientTransformationExtraArgs:
  """Adam, its rate falling to 0 over the run along a cosine."""
  schedule = optax.cosine_decay_schedule(learning_rate, task.steps)
  return optax.with_extra_args_support(optax.adam(schedule))


def _with_surgery(
  transform: optax.GradientTransformation, surgery: bool, *, ascends: bool
) -> optax.GradientTransformationExtraArgs:
  if surgery:
    return transforms.project_conflicts(transform, ascends=ascends)
  return optax.with_extra_args_support(transform)


def _descend_both(
  task: Task, learning_rate: float, forget_weight: float, surgery: bool = False
) -> optax.GradientTransformationExtraArgs:
  """Adam on g_retain + w g_forget."""
  chain = optax.chain(
    transforms.add_forget_gradients(forget_weight), _adam(learning_rate, task)
  )
  return _with_surgery(chain, surgery, ascends=False)


def _last(layers: tuple[str, ...], k: int) -> tuple[str, ...]:
  return layers[len(layers) - min(k, len(layers)) :]


def _keep_moving(k: int, task: Task) -> optax.GradientTransformation:
  """Freezes all but the last k layers."""
  moving = _last(task.layers, k)
  return transforms.freeze(lambda path: path.split("/")[0] not in moving)


def reinitialise(
  original: PyTree, fresh: PyTree, layers: tuple[str, ...], *, k: int, **_: Any
) -> PyTree:
  """`original` with its last k layers as they were before training."""
  return {**original, **{name: fresh[name] for name in _last(layers, k)}}


def finetune(task: Task, *, learning_rate: float = 3e-4) -> Method:
  """Goes on training on the retain set only: the baseline of all methods.

  min L_r by Adam. Cost: epochs over the retain set. Fails where the wrong
  labels are well memorised: their gradients are absent, so they fade slowly. A
  rate that is too high wrecks a network on stored BatchNorm statistics.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
  """
  return Method(_adam(learning_rate, task), task.loss, None, ())


def gradient_ascent(
  task: Task,
  *,
  learning_rate: float = 1e-5,
  max_norm: float = 1.0,
  radius: float = 0.1,
) -> Method:
  """Ascends the cross-entropy of the wrong labels (NegGrad), guarded.

  max L_f by Adam (seed 1; Golatkar et al. 2020). -CE has no lowest
  point, so plain ascent ends in collapse: here the gradient is clipped to
  `max_norm`, ||p - p0|| <= `radius` ||p0||, and the driver reads the vital
  signs `checks` times an epoch, stops where the target is reached and goes back
  one reading where over `max_damage` of balanced accuracy is lost. Cost: epochs
  over the forget set, no retain data. Fails from its first step on galaxies
  like the wrongly labelled ones: it has nothing to hold them with.

  Args:
    task: see `Task`.
    learning_rate: of Adam.
    max_norm: the gradient is clipped to it.
    radius: largest ||p - p0|| / ||p0||.
  """
  return Method(
    optax.chain(
      transforms.contrast_gradients(retain_weight=0.0),
      optax.clip_by_global_norm(max_norm),
      optax.adam(learning_rate),
      transforms.project_to_ball(radius),
    ),
    None,
    task.loss,
    ("reference_params",),
  )


def published_gradient_ascent(
  task: Task, *, learning_rate: float = 1e-4
) -> Method:
  """Gradient ascent as seed 1 ran it: a warning, not a tool.

  max L_f by Adam at 1e-4, three epochs over the forget set, BatchNorm in
  training mode, no clip, no ball, no stop rule. Collapses: see
  `gradient_ascent`.
  """
  return Method(
    optax.chain(
      transforms.contrast_gradients(retain_weight=0.0),
      optax.adam(learning_rate),
    ),
    None,
    task.loss,
    (),
  )


def neggrad_plus(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  retain_weight: float = 0.95,
  surgery: bool = False,
) -> Method:
  """Descends the retain loss while it ascends the forget loss.

  min w L_r - (1 - w) L_f (Kurmanji et al. 2023) by Adam, w =
  `retain_weight`. `surgery` takes the part of the ascent out that would raise
  L_r (`transforms.project_conflicts`). Cost: epochs over the retain set, both
  batches. Fails for small w: L_f has no bound, and in the end it wins.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    retain_weight: w, from 0 to 1.
    surgery: whether to project conflicts out of the ascent.
  """
  transform = optax.chain(
    transforms.contrast_gradients(retain_weight), _adam(learning_rate, task)
  )
  return Method(
    _with_surgery(transform, surgery, ascends=True),
    task.loss,
    task.loss,
    (),
  )


def bounded_neggrad(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  retain_weight: float = 0.6,
  cap: float = 2.0,
  surgery: bool = True,
) -> Method:
  """NegGrad+ whose forget loss is capped, so that it cannot run away.

  min w L_r - (1 - w) mean min(CE_f, cap), `cap` in nats (ln 3 = 1.1 is a guess
  among three classes). Each wrong label is pushed until it is improbable, then
  left alone. Cost: epochs over the retain set, both batches. Fails where the
  cap is so high that pushing one label away hurts its neighbours.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    retain_weight: w, from 0 to 1.
    cap: of the forget loss of an example, nats.
    surgery: whether to project conflicts out of the ascent.
  """
  method = neggrad_plus(
    task,
    learning_rate=learning_rate,
    retain_weight=retain_weight,
    surgery=surgery,
  )
  return method._replace(forget_objective=losses.capped(task.loss, cap))


def negative_learning(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  forget_weight: float = 1.0,
  surgery: bool = True,
) -> Method:
  """Teaches "it is not this" for every wrong label, and the retain set.

  min L_r + w mean -log(1 - q_wrong), with q the network's probability (negative
  learning, Kim et al. 2019) by Adam. It needs to know that a label is
  wrong, not which one is right. Cost: epochs over the retain set, both batches.
  Fails mildly: pushed below retraining's forget accuracy, wrong labels that
  another galaxy would deserve become too improbable.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    forget_weight: w.
    surgery: whether to project conflicts out of the forget gradient.
  """
  return Method(
    _descend_both(task, learning_rate, forget_weight, surgery),
    task.loss,
    task.of_class(losses.complement),
    (),
  )


def l1_sparse(
  task: Task, *, learning_rate: float = 1e-3, weight: float = 3e-4
) -> Method:
  """Finetuning towards a sparse network, which has less room to memorise.

  min L_r + g ||p||_1, g falling linearly from `weight` to 0 (Jia et al. 2023),
  by SGD with momentum 0.9. Cost: epochs over the retain set. Fails
  where `weight` is too small to reach the memory or so large that it prunes the
  network.

  Args:
    task: see `Task`.
    learning_rate: of SGD, at the start.
    weight: g, at the start.
  """
  schedule = optax.linear_schedule(weight, 0.0, task.steps)
  rate = optax.cosine_decay_schedule(learning_rate, task.steps)
  return Method(
    optax.chain(
      transforms.add_l1_decay(schedule), optax.sgd(rate, momentum=0.9)
    ),
    task.loss,
    None,
    (),
  )


def random_label(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  forget_weight: float = 1.0,
  surgery: bool = False,
) -> Method:
  """Gives the forget set random other labels (amnesiac unlearning).

  min L_r + w mean CE(other class) (Graves et al. 2021), the other class drawn
  once an example. Cost: epochs over the retain set, both batches. Fails by
  teaching new wrong labels: of three classes, half of the draws are wrong.
  """
  return Method(
    _descend_both(task, learning_rate, forget_weight, surgery),
    task.loss,
    task.of_class(losses.random_label(task.key)),
    (),
  )


def salun(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  forget_weight: float = 1.0,
  share: float = 0.5,
) -> Method:
  """`random_label` on the weights that the forget loss is most sensitive to.

  Only the `share` of the parameters with the largest |dL_f/dp| at p0 may move
  (Fan et al. 2024). Cost: that of `random_label` and one pass over the
  forget set. Fails like `random_label`: on memorised labels the mask changes
  little.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    forget_weight: w.
    share: of the parameters that may move.
  """
  return Method(
    optax.chain(
      transforms.add_forget_gradients(forget_weight),
      transforms.mask_by_saliency(share),
      _adam(learning_rate, task),
    ),
    task.loss,
    task.of_class(losses.random_label(task.key)),
    ("saliency",),
  )


def scrub(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  ce_weight: float = 0.99,
  kl_weight: float = 0.1,
  temperature: float = 1.0,
  ascent_share: float = 0.3,
) -> Method:
  """Obeys the original network on the retain set and defies it elsewhere.

  min a CE_r + b KL_r(p0 || p), in turns with max KL_f(p0 || p) in the first
  `ascent_share` of the steps (Kurmanji et al. 2023, who alternate by
  epochs), KL at `temperature`. With `rewind` (SCRUB+R) the
  reading nearest to the target forget accuracy stands. Cost: epochs over the
  retain set, both batches and the teacher's forward passes. Fails on wrong
  labels when the teacher's errors are kept alive by b.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    ce_weight: a.
    kl_weight: b.
    temperature: divides the logits of KL.
    ascent_share: of the steps in which it ascends, too.
  """
  student = losses.distillation("reference_logits", temperature)
  return Method(
    optax.chain(
      transforms.alternate_gradients(round(ascent_share * task.steps)),
      _adam(learning_rate, task),
    ),
    losses.combined((ce_weight, losses.cross_entropy), (kl_weight, student)),
    student,
    ("reference_params",),
  )


def bad_teacher(
  task: Task,
  *,
  learning_rate: float = 3e-4,
  forget_weight: float = 1.0,
  temperature: float = 1.0,
) -> Method:
  """Learns from the original on the retain set, from a fool on the forget set.

  min KL_r(p0 || p) + w KL_f(random network || p) (Chundawat et al. 2023). The
  fool is a fresh network, asked once a galaxy. Cost: epochs over the retain
  set, both batches and the teacher's forward passes. Fails to correct:
  it aims at ignorance, not at the truth.
  """
  return Method(
    _descend_both(task, learning_rate, forget_weight),
    losses.distillation("reference_logits", temperature),
    losses.distillation("random_logits", temperature),
    ("reference_params",),
  )


def reinit_head(
  task: Task, *, k: int = 1, learning_rate: float = 3e-4
) -> Method:
  """Forgets the last k layers (1: the head), then finetunes all of them.

  min L_r by Adam from p0 with fresh last layers: EU-k (Goel et al. 2022)
  without the freezing. Cost: epochs over the retain set. Fails where the memory
  sits in deep features; a larger k reaches it, up to real retraining.

  Args:
    task: see `Task`.
    k: number of last layers.
    learning_rate: of Adam, at the start.
  """
  del k
  return finetune(task, learning_rate=learning_rate)


def cf_k(task: Task, *, k: int = 2, learning_rate: float = 3e-4) -> Method:
  """Finetunes the last k layers and freezes the others.

  Catastrophic forgetting of k layers (Goel et al. 2022): min L_r by
  Adam. Cost: epochs over the retain set. Fails like `finetune`, and more so.
  """
  return Method(
    optax.chain(_adam(learning_rate, task), _keep_moving(k, task)),
    task.loss,
    None,
    (),
  )


def eu_k(task: Task, *, k: int = 2, learning_rate: float = 3e-4) -> Method:
  """Trains the last k layers from scratch and freezes the others.

  Exact unlearning of k layers (Goel et al. 2022): min L_r by Adam
  from fresh last layers. Cost: epochs over the retain set. Fails where frozen
  features separate the wrongly labelled galaxies.
  """
  return cf_k(task, k=k, learning_rate=learning_rate)


def ssd(task: Task, *, threshold: float = 5.0, strength: float = 1.0) -> Method:
  """Selective Synaptic Dampening: shrinks what matters to the forget set.

  p <- p min(strength F_train / F_forget, 1) where F_forget > threshold F_train
  (Foster et al. 2024). F is per example, so a threshold above
  train / forget cannot act; theirs (10) is for squares of batch means. Cost:
  one Fisher pass over the training set, and a reading a trial of `search`.
  Fails on random wrong labels: there are no weights that belong to them alone.

  Args:
    task: see `Task`.
    threshold: least F_forget / F_train of what is shrunk.
    strength: of the shrinking.
  """
  return Method(
    edits.dampen_by_fisher(threshold, strength),
    None,
    None,
    ("forget_fisher", "train_fisher"),
  )


def assd(task: Task, *, scale: float = 1.0) -> Method:
  """SSD that finds its threshold (Schoepf et al. 2024, made for label errors).

  See `edits.dampen_by_percentile`. Cost and failure as of `ssd`.

  Args:
    task: see `Task`.
    scale: of the shrinking; 0: none.
  """
  return Method(
    edits.dampen_by_percentile(task.forget / task.train, scale),
    None,
    None,
    ("forget_fisher", "train_fisher"),
  )


def influence(
  task: Task,
  *,
  scale: float = 1.0,
  stabiliser: float = 1.0,
  radius: float = 0.02,
) -> Method:
  """One Newton step that takes the forget set out, with a diagonal Hessian.

  p <- p + s (n_f / n_r) g_f / (F_r + delta) with the mean gradient g_f of L_f
  (influence functions, Koh and Liang 2017; Unlearn-Sparse's IU), where
  delta is `stabiliser` times the mean of F_r and the step is shortened to
  `radius` ||p||. Cost: one Fisher pass over the retain set and one gradient
  pass over the forget set. Fails on memorised labels, whose gradient has
  vanished: the step is far outside of the region in which it holds.

  Args:
    task: see `Task`.
    scale: s.
    stabiliser: delta over the mean of F_r.
    radius: longest step over ||p||.
  """
  weight = scale * task.forget / (task.train - task.forget)
  newton = optax.chain(
    transforms.precondition_by_fisher(stabiliser),
    # Not a gradient to descend any more: -g_f becomes the step along g_f.
    optax.scale(-weight),
    transforms.clip_to_trust_region(radius),
  )
  return Method(
    optax.chain(
      transforms.contrast_gradients(retain_weight=0.0),
      transforms.accumulate(newton, task.steps),
    ),
    None,
    task.loss,
    ("retain_fisher",),
  )


def fisher_forgetting(
  task: Task,
  *,
  budget: float = 0.1,
  stabiliser: float = 0.1,
  cap: float = 0.2,
) -> Method:
  """Noise scaled by the retain set's Fisher (Golatkar et al. 2020), budgeted.

  p <- p + s n, n normal, s^2 = alpha / (F_r + delta), s <= cap rms(p), where
  alpha spends `budget` nats of predicted loss: see
  `edits.fisher_noise_scale`. With `search` the driver lowers the budget
  until the measured damage is at most `max_damage`. One draw, no training.
  Cost: one Fisher pass over the retain set, and a reading a trial. Fails to
  aim: it blurs all that was memorised, right or wrong.

  Args:
    task: see `Task`.
    budget: predicted rise of the loss, nats.
    stabiliser: delta over the mean of F_r.
    cap: largest noise over the rms of a tensor.
  """
  return Method(
    edits.inject_fisher_noise(
      task.key, budget=budget, stabiliser=stabiliser, cap=cap
    ),
    None,
    None,
    ("retain_fisher",),
  )


def published_fisher_forgetting(
  task: Task, *, noise_scale: float = 0.01, stabiliser: float = 1e-8
) -> Method:
  """Fisher Forgetting as seed 1 ran it: a warning, not a tool.

  p <- p + n noise_scale / sqrt(F + stabiliser), F the squares of batch-mean
  gradients over the number of examples: see `edits.published_noise_scale`.
  Collapses: the noise is thousands of times the weights.

  Args:
    task: see `Task`.
    noise_scale: of the noise.
    stabiliser: added to F.
  """
  return Method(
    edits.inject_noise(
      task.key,
      lambda f, p: edits.published_noise_scale(
        f, p, noise_scale=noise_scale, stabiliser=stabiliser
      ),
    ),
    None,
    None,
    ("retain_fisher",),
  )


def relabel(
  task: Task, *, learning_rate: float = 3e-4, forget_weight: float = 1.0
) -> Method:
  """Goes on training with mended labels: the upper bound.

  min L_r + w mean CE(suggested label), where the suggestion is the true label
  or the audit's (`unlearn.suggestions`). Not unlearning: it needs to know which
  label is right. Cost: epochs over the retain set, both batches. Fails with the
  suggestions.
  """
  return Method(
    _descend_both(task, learning_rate, forget_weight),
    task.loss,
    task.mended,
    (),
  )


def _no_steps(task: Task) -> Method:
  """The empty chain: nothing is learned and nothing forgotten."""
  del task
  return Method(optax.with_extra_args_support(optax.identity()), None, None, ())


def _constant(
  problem: Problem,
  original: Network,
  *,
  name: str,
  store: Store | None = None,
):
  """Says what most volunteers say, whatever the image."""
  del original, store
  return baselines.constant(problem, name)


def _original(
  problem: Problem,
  original: Network,
  *,
  name: str,
  store: Store | None = None,
):
  """What was trained on wrong labels, too."""
  del problem, store
  return original._replace(name=name)


def _retrain(
  problem: Problem, original: Network, *, name: str, store: Store, **how: Any
):
  """Trains from scratch without the forget set: what all are measured by."""
  del original
  return train(
    problem,
    problem.sets.retain,
    name=name,
    role="reference",
    store=store,
    **how,
  )


_STILL = {"learning_rate": 0.0}
_TRAINED = Driver(epochs=3)

for _name, _row in {
  "constant": Row(_no_steps, {}, make=_constant, role="baseline"),
  "original": Row(_no_steps, {}, make=_original, role="original"),
  "retrain": Row(_no_steps, {}, make=_retrain, role="reference"),
  "finetune": Row(finetune, _STILL, _TRAINED),
  "gradient_ascent": Row(
    gradient_ascent, _STILL, Driver(epochs=3, checks=4, max_damage=0.05)
  ),
  "neggrad_plus": Row(neggrad_plus, _STILL, _TRAINED),
  "bounded_neggrad": Row(bounded_neggrad, _STILL, _TRAINED),
  "negative_learning": Row(negative_learning, _STILL, _TRAINED),
  "l1_sparse": Row(l1_sparse, _STILL, _TRAINED),
  "random_label": Row(random_label, _STILL, _TRAINED),
  "salun": Row(salun, _STILL, _TRAINED),
  "scrub": Row(
    scrub, _STILL, _TRAINED._replace(rewind=True), softmax_only=True
  ),
  "bad_teacher": Row(bad_teacher, _STILL, _TRAINED, softmax_only=True),
  "reinit_head": Row(
    reinit_head, _STILL | {"k": 0}, _TRAINED, start=reinitialise
  ),
  "cf_k": Row(cf_k, _STILL, _TRAINED),
  "eu_k": Row(eu_k, {"k": 0}, _TRAINED, start=reinitialise),
  "ssd": Row(
    ssd,
    {"threshold": float("inf")},
    Driver(max_damage=0.05, search=6),
    strength=("threshold", 100.0),
  ),
  "assd": Row(assd, {"scale": 0.0}),
  "influence": Row(influence, {"scale": 0.0}, Driver(max_damage=0.05)),
  "fisher_forgetting": Row(
    fisher_forgetting,
    {"budget": 0.0},
    Driver(max_damage=0.05, search=8),
    strength=("budget", 1e-8),
    noise=edits.fisher_noise_scale,
  ),
  "relabel": Row(relabel, _STILL, _TRAINED),
  "published_gradient_ascent": Row(
    published_gradient_ascent, _STILL, Driver(epochs=3, train_mode=True)
  ),
  "published_fisher_forgetting": Row(
    published_fisher_forgetting,
    {"noise_scale": 0.0},
    Driver(fisher="batch_mean"),
    noise=edits.published_noise_scale,
  ),
}.items():
  register(_name, _row)
