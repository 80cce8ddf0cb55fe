"""Methods that take steps along gradients.

Notation: L_r and L_f are the mean losses of the retain and the forget batch: of
CE, what the network was trained on (cross-entropy; of votes see `targets`), if
nothing else is said. p are the parameters, p0 those of the original network, F
is the mean per-example Fisher diagonal. An epoch is one pass over the retain
set, or over the forget set where a method needs only that. A step with both
batches costs one retain and one forget batch. A setting that a method does not
describe means what it means in the others.
"""

from functools import partial

import optax

from gzjax.models import spare
from gzjax.objectives import losses
from gzjax.registry import AboveZero, NonNegative, Positive, Share, SomeShare
from gzjax.types import Method, Objective, Spare
from gzjax.unlearning import starts, transforms
from gzjax.unlearning.table import Task


def _adam(learning_rate: float, task: Task) -> transforms.Transformation:
  """Adam, its rate falling to 0 over the run along a cosine."""
  schedule = optax.cosine_decay_schedule(learning_rate, task.steps)
  return optax.with_extra_args_support(optax.adam(schedule))


def _descend_both(
  task: Task,
  learning_rate: float,
  forget_weight: float,
  forget_objective: Objective,
  surgery: bool = False,
) -> Method:
  """Adam on g_retain + w g_forget."""
  chain = optax.chain(
    transforms.add_forget_gradients(forget_weight), _adam(learning_rate, task)
  )
  if surgery:
    chain = transforms.project_conflicts(chain, ascends=False)
  return Method(chain, task.loss, forget_objective)


def finetune(task: Task, *, learning_rate: NonNegative = 1e-3) -> Method:
  """Goes on training on the retain set only: the baseline of all methods.

  min L_r by Adam. Cost: epochs over the retain set. Fails where the wrong
  labels are well memorised: their gradients are absent, so they fade slowly. A
  rate that is too high wrecks a network on stored BatchNorm statistics.
  """
  return Method(_adam(learning_rate, task), task.loss)


def gradient_ascent(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-5,
  max_norm: AboveZero = 1.0,
  radius: NonNegative = 0.1,
) -> Method:
  """Ascends the cross-entropy of the wrong labels (NegGrad), guarded.

  max L_f by Adam (the preprint; Golatkar et al. 2020). -CE has no lowest
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
  chain = optax.chain(
    transforms.contrast_gradients(retain_weight=0.0),
    optax.clip_by_global_norm(max_norm),
    optax.adam(learning_rate),
    transforms.project_to_ball(radius),
  )
  return Method(chain, None, task.loss, ("reference_params",))


def published_gradient_ascent(
  task: Task, *, learning_rate: NonNegative = 1e-4
) -> Method:
  """Gradient ascent as the preprint ran it: a warning, not a tool.

  max L_f by Adam at 1e-4, three epochs over the forget set, BatchNorm in
  training mode, no clip, no ball, no stop rule. Collapses: see
  `gradient_ascent`.
  """
  chain = optax.chain(
    transforms.contrast_gradients(retain_weight=0.0), optax.adam(learning_rate)
  )
  return Method(chain, None, task.loss)


def neggrad_plus(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  retain_weight: Share = 0.95,
  surgery: bool = False,
) -> Method:
  """Descends the retain loss while it ascends the forget loss.

  min w L_r - (1 - w) L_f (Kurmanji et al. 2023) by Adam, w = `retain_weight`.
  `surgery` takes the part of the ascent out that would raise L_r
  (`transforms.project_conflicts`). Cost: epochs over the retain set, both
  batches. Fails for small w: L_f has no bound, and in the end it wins.
  """
  chain = optax.chain(
    transforms.contrast_gradients(retain_weight), _adam(learning_rate, task)
  )
  if surgery:
    chain = transforms.project_conflicts(chain, ascends=True)
  return Method(chain, task.loss, task.loss)


def bounded_neggrad(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  retain_weight: Share = 0.6,
  cap: NonNegative = 2.0,
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
    surgery: whether to project conflicts out of the forget gradient.
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
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  surgery: bool = True,
) -> Method:
  """Teaches "it is not this" for every wrong label, and the retain set.

  min L_r + w mean -log(1 - q_wrong), with q the network's probability (negative
  learning, Kim et al. 2019) by Adam. It needs to know that a label is
  wrong, not which one is right. Cost: epochs over the retain set, both batches.
  Fails mildly: pushed below retraining's forget accuracy, wrong labels that
  another galaxy would deserve become too improbable.
  """
  forget = task.of_class(losses.complement)
  return _descend_both(task, learning_rate, forget_weight, forget, surgery)


def npo(
  task: Task,
  *,
  learning_rate: NonNegative = 3e-4,
  forget_weight: NonNegative = 1.0,
  bound: AboveZero = 1.0,
  surgery: bool = False,
) -> Method:
  """Negative preference optimisation: an ascent that fades as it succeeds.

  min L_r + w mean 2/b softplus(b (log p - log p0)) over the forget set (NPO,
  Zhang et al. 2024, made for language models) by Adam, p the probability of the
  wrong label and p0 that of the original network. Cost: epochs over the retain
  set, both batches and the original's forward passes. Fails for small b, with
  which it is plain ascent.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    forget_weight: w.
    bound: b.
    surgery: whether to project conflicts out of the forget gradient.
  """
  forget = losses.preference(bound)
  method = _descend_both(task, learning_rate, forget_weight, forget, surgery)
  return method._replace(extras=("forget_reference_logits",))


def simnpo(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  bound: AboveZero = 1.0,
  surgery: bool = False,
) -> Method:
  """`npo` without the original network.

  min L_r + w mean 2/b softplus(b log p) (SimNPO, Fan et al. 2024) by Adam: what
  has become improbable is left alone, whatever it was before. Cost: epochs over
  the retain set, both batches. Fails like `npo`.
  """
  forget = task.of_class(losses.preference(bound, None))
  return _descend_both(task, learning_rate, forget_weight, forget, surgery)


def delete(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  surgery: bool = False,
) -> Method:
  """Learns what the original says of the forget set but for the wrong label.

  min L_r + w mean KL(p0 without the wrong class || p) (DELETE, Zhou et al.
  2025; theirs has no retain set) by Adam. Cost: epochs over the retain set,
  both batches and the original's forward passes. Fails where what the original
  says of the other classes is noise: of a memorised label it is nearly certain.
  """
  forget = losses.without_label("reference_logits")
  method = _descend_both(task, learning_rate, forget_weight, forget, surgery)
  return method._replace(extras=("forget_reference_logits",))


def l1_sparse(
  task: Task, *, learning_rate: NonNegative = 1e-3, weight: NonNegative = 3e-4
) -> Method:
  """Finetuning towards a sparse network, which has less room to memorise.

  min L_r + g ||p||_1, g falling linearly from `weight` to 0 (Jia et al. 2023),
  by SGD with momentum 0.9. Cost: epochs over the retain set. Fails where
  `weight` is too small to reach the memory, or so large that it prunes the
  network.

  Args:
    task: see `Task`.
    learning_rate: of SGD, at the start.
    weight: g, at the start.
  """
  schedule = optax.linear_schedule(weight, 0.0, task.steps)
  rate = optax.cosine_decay_schedule(learning_rate, task.steps)
  chain = optax.chain(
    transforms.add_l1_decay(schedule), optax.sgd(rate, momentum=0.9)
  )
  return Method(chain, task.loss)


def random_label(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  surgery: bool = False,
  redraw: bool = False,
) -> Method:
  """Gives the forget set random other labels (amnesiac unlearning).

  min L_r + w mean CE(other class) (Graves et al. 2021), the other class drawn
  once an example, or, with `redraw`, any class at each step, as in public code.
  Cost: epochs over the retain set, both batches. Fails by teaching new wrong
  labels: of three classes, half of the draws are wrong.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    forget_weight: w.
    surgery: whether to project conflicts out of the forget gradient.
    redraw: whether a label is drawn anew at each step, its own among them.
  """
  forget = task.of_class(losses.random_label(task.key, redraw))
  return _descend_both(task, learning_rate, forget_weight, forget, surgery)


def salun(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  share: Share = 0.5,
  redraw: bool = False,
) -> Method:
  """`random_label` on the weights that the forget loss is most sensitive to.

  Only the `share` of the parameters with the largest |dL_f/dp| at p0 may move
  (Fan et al. 2024). Cost: that of `random_label` and one pass over the forget
  set. Fails like it: on memorised labels the mask changes little.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    forget_weight: w.
    share: of the parameters that may move.
    redraw: see `random_label`.
  """
  chain = optax.chain(
    transforms.add_forget_gradients(forget_weight),
    transforms.mask_by_saliency(share),
    _adam(learning_rate, task),
  )
  forget = task.of_class(losses.random_label(task.key, redraw))
  return Method(chain, task.loss, forget, ("saliency",))


def scrub(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  ce_weight: NonNegative = 0.99,
  kl_weight: NonNegative = 0.1,
  temperature: AboveZero = 2.0,
  ascent_share: Share = 0.3,
) -> Method:
  """Obeys the original network on the retain set and defies it elsewhere.

  min a CE_r + b KL_r(p0 || p), in turns with max KL_f(p0 || p) in the first
  `ascent_share` of the steps (Kurmanji et al. 2023, who alternate by epochs and
  begin with max, see `transforms.alternate_gradients`), KL at `temperature`.
  With `rewind` (SCRUB+R) the best reading stands, see `Driver`; theirs looks at
  the forget set alone. Cost: epochs over the retain set, both batches and the
  teacher's forward passes. Fails where b keeps the teacher's errors alive.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    ce_weight: a.
    kl_weight: b.
    temperature: divides the logits of KL.
    ascent_share: of the steps in which it ascends, too.
  """
  chain = optax.chain(
    transforms.alternate_gradients(round(ascent_share * task.steps)),
    _adam(learning_rate, task),
  )
  student = losses.distillation("reference_logits", temperature)
  retain = losses.combined(
    (ce_weight, losses.cross_entropy), (kl_weight, student)
  )
  asked = "retain_reference_logits", "forget_reference_logits"
  return Method(chain, retain, student, asked)


def bad_teacher(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  temperature: AboveZero = 1.0,
) -> Method:
  """Learns from the original on the retain set, from a fool on the forget set.

  min KL_r(p0 || p) + w KL_f(random network || p) (Chundawat et al. 2023). The
  fool is a fresh network, asked once a galaxy. Cost: epochs over the retain
  set, both batches and the teacher's forward passes. Fails to correct: it aims
  at ignorance, not at the truth.
  """
  teacher, fool = (
    losses.distillation(name, temperature)
    for name in ("reference_logits", "random_logits")
  )
  method = _descend_both(task, learning_rate, forget_weight, fool)
  return method._replace(
    retain_objective=teacher, extras=("retain_reference_logits",)
  )


def reinit_head(
  task: Task, *, k: Positive = 1, learning_rate: NonNegative = 1e-3
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


def msg(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  share: Share = 0.3,
  slower: NonNegative = 0.1,
  weight_decay: NonNegative = 5e-4,
) -> Method:
  """Forgets the weights on which both sets pull alike, then finetunes.

  Masked small gradients (from the NeurIPS 2023 challenge; the best of 18
  methods in Cadet et al. 2024): with g = dL_r/dp - dL_f/dp at p0, means over
  the forget set and as many galaxies to keep, the `share` of the entries of
  each convolution with the smallest |g| are as before training; min L_r by SGD
  with momentum 0.9, the other weights at `slower` the rate. Theirs draws the
  entries anew and takes 5 epochs at a fixed rate. Cost: epochs over the retain
  set, and a gradient of each galaxy of the forget set and as many others. Fails
  where nothing is left to tell the sets apart: the entries are then any.

  Args:
    task: see `Task`.
    learning_rate: of SGD.
    share: of the entries of a convolution; 0: none.
    slower: multiplies the gradients of all others.
    weight_decay: L2 penalty, as SGD has it.
  """
  chain = optax.chain(
    transforms.slow_but_for(partial(starts.least_telling, share=share), slower),
    # All at the rate, so that a rate of 0 changes nothing.
    optax.add_decayed_weights(weight_decay),
    optax.sgd(learning_rate, momentum=0.9),
  )
  return Method(chain, task.loss, extras=("saliency", "retain_saliency"))


def rem(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
  bound: AboveZero = 1.0,
  channels: SomeShare = 0.25,
  share: SomeShare = 0.2,
) -> Method:
  """Learns all labels beside spare channels, which then go.

  Redirection for erasing memory (REM, Schoepf et al. 2026): each convolution
  gets spare channels, of which each galaxy of the training set has its own
  `share`, and all known wrong labels have the same one. min L(p, spare) over
  the whole training set + w NPO_f(p) by Adam, NPO as in `npo`, on the network
  alone: what must be learned by heart, known or not, is drawn to the spare
  channels, and these go. Theirs are read by all that follows, where these add
  to what their own convolution says, and theirs takes NPO first until few wrong
  labels are given. Cost: epochs over the training set with spare channels, both
  batches and the original's forward passes. Fails where the epochs are too few
  for the spare channels to learn what the network lets go.

  Args:
    task: see `Task`.
    learning_rate: of Adam, at the start.
    forget_weight: w.
    bound: b of NPO.
    channels: that are spare, over those of a convolution.
    share: of the spare channels that a galaxy has.
  """
  alone = npo(
    task,
    learning_rate=learning_rate,
    forget_weight=forget_weight,
    bound=bound,
  )
  return alone._replace(
    transform=transforms.beside_spare(
      alone.transform,
      _adam(learning_rate, task),
      lambda params: spare.init(params, task.key, channels),
    ),
    spare=Spare(partial(spare.beside, on=share), 1 + channels),
  )


def cf_k(
  task: Task, *, k: Positive = 2, learning_rate: NonNegative = 1e-3
) -> Method:
  """Finetunes the last k layers and freezes the others.

  Catastrophic forgetting of k layers (Goel et al. 2022): min L_r by Adam. Cost:
  epochs over the retain set. Fails like `finetune`, and more so.
  """
  moving = starts.last(task.layers, k)
  freeze = transforms.freeze(lambda path: path.split("/")[0] not in moving)
  return Method(optax.chain(_adam(learning_rate, task), freeze), task.loss)


def eu_k(
  task: Task, *, k: Positive = 2, learning_rate: NonNegative = 1e-3
) -> Method:
  """Trains the last k layers from scratch and freezes the others.

  Exact unlearning of k layers (Goel et al. 2022): min L_r by Adam from fresh
  last layers. Cost: epochs over the retain set. Fails where frozen features
  separate the wrongly labelled galaxies.
  """
  return cf_k(task, k=k, learning_rate=learning_rate)


def relabel(
  task: Task,
  *,
  learning_rate: NonNegative = 1e-3,
  forget_weight: NonNegative = 1.0,
) -> Method:
  """Goes on training with mended labels: the upper bound.

  min L_r + w mean CE(suggested label), where the suggestion is the true label
  or the audit's (`unlearn.suggestions`). Not unlearning: it needs to know which
  label is right. Cost: epochs over the retain set, both batches. Fails with the
  suggestions.
  """
  return _descend_both(task, learning_rate, forget_weight, task.mended)
