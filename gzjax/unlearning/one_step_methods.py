"""Methods of one step, most of them by the Fisher; see `gradient_methods`."""

from functools import partial

import optax

from gzjax.registry import AboveZero, NonNegative, Positive, SomeShare
from gzjax.types import Method
from gzjax.unlearning import edits, transforms
from gzjax.unlearning.table import Task


def ssd(
  task: Task, *, threshold: NonNegative = 5.0, strength: NonNegative = 1.0
) -> Method:
  """Selective Synaptic Dampening: shrinks what matters to the forget set.

  p <- p min(strength F_train / F_forget, 1) where F_forget > threshold F_train
  (Foster et al. 2024). F is per example, so a threshold above
  train / forget cannot act; theirs (10) is for squares of batch means, which
  `fisher="batch_mean"` has. With `search` the driver raises the threshold until
  the damage is at most `max_damage`, for each of three strengths, and takes
  what forgets most. Cost: one Fisher pass over the training set, and a reading
  a trial. Fails on random wrong labels: there are no weights that belong to
  them alone.

  Args:
    task: see `Task`.
    threshold: least F_forget / F_train of what is shrunk.
    strength: of the shrinking.
  """
  return Method(
    edits.dampen_by_fisher(threshold, strength),
    extras=("forget_fisher", "train_fisher"),
  )


def assd(task: Task, *, scale: NonNegative = 1.0) -> Method:
  """SSD that finds its threshold (Schoepf et al. 2024, made for label errors).

  See `edits.dampen_by_percentile`. Cost and failure as of `ssd`.

  Args:
    task: see `Task`.
    scale: of the shrinking; 0: none.
  """
  return Method(
    edits.dampen_by_percentile(task.forget / task.train, scale),
    extras=("forget_fisher", "train_fisher"),
  )


def influence(
  task: Task,
  *,
  scale: NonNegative = 1.0,
  stabiliser: AboveZero = 1.0,
  radius: NonNegative = 0.05,
) -> Method:
  """One Newton step that takes the forget set out, with a diagonal Hessian.

  p <- p + s (n_f / n_r) g_f / (F_r + delta) with the mean gradient g_f of L_f
  over the whole forget set (influence functions, Koh and Liang 2017;
  Unlearn-Sparse's IU, which has the full Hessian by a recursion where this has
  its diagonal), where delta is `stabiliser` times the mean of F_r and the step
  is shortened to `radius` ||p||. With `search` the driver lowers the radius
  until the damage is at most `max_damage`. Cost: one Fisher pass over the
  retain set, one gradient pass over the forget set, a reading a trial. Fails on
  memorised labels, whose gradient has vanished: the step is far outside of the
  region in which it holds.

  Args:
    task: see `Task`.
    scale: s.
    stabiliser: delta over the mean of F_r.
    radius: longest step over ||p||.
  """
  weight = scale * task.forget / (task.train - task.forget)
  chain = optax.chain(
    transforms.add_saliency(weight),
    transforms.precondition_by_fisher(stabiliser),
    transforms.clip_to_trust_region(radius),
  )
  return Method(chain, extras=("retain_fisher", "saliency"))


def cuts(
  task: Task,
  *,
  scale: NonNegative = 4.0,
  learning_rate: NonNegative = 1e-4,
  passes: Positive = 3,
) -> Method:
  """Learns the wrong labels a little more, and goes the other way.

  p <- p - a (p' - p), p' after some passes of Adam over the forget set alone
  (corrective unlearning in task space, Mozafari et al. 2025, who choose a by
  how far features of neighbours agree). With `search` the driver lowers a until
  the damage is at most `max_damage`. Cost: the passes over the forget set, and
  a reading a trial. Fails on memorised labels, of which p' has little left to
  learn: what it still moves is not theirs alone.

  Args:
    task: see `Task`.
    scale: a.
    learning_rate: of Adam.
    passes: over the forget set.
  """
  del task, learning_rate, passes  # which `extras` looks at
  return Method(transforms.subtract_task(scale), extras=("forget_params",))


def etd(
  task: Task, *, shared: SomeShare = 0.2, scale: NonNegative = 1.0
) -> Method:
  """Drops the channels in which single examples were learned by heart.

  p + s (p' - p), p' without the channels that `model.tied`, which is `shared`
  too, ties to examples (example-tied dropout, Maini et al. 2023, whose s is 1):
  see `edits.drop_tied`. It forgets all that was learned so, right or wrong, and
  need not know which labels are wrong. With `search` the driver lowers s until
  the damage is at most `max_damage`. Cost: a reading a trial; it is the
  training that is slower to learn. Fails on networks without ties, which it
  does not change, and where many examples have the same mistake.

  Args:
    task: see `Task`.
    shared: as `model.tied`.
    scale: s.
  """
  return Method(edits.drop_tied(task.layers, shared, scale))


def fisher_forgetting(
  task: Task,
  *,
  budget: NonNegative = 0.1,
  stabiliser: AboveZero = 0.1,
  cap: NonNegative = 0.2,
) -> Method:
  """Noise scaled by the retain set's Fisher (Golatkar et al. 2020), budgeted.

  p <- p + s n, n normal, s^2 = alpha / (F_r + delta), s <= cap rms(p), where
  alpha spends `budget` nats of predicted loss: see `edits.fisher_noise_scale`.
  With `search` the driver lowers the budget until the measured damage is at
  most `max_damage`. One draw, no training. Cost: one Fisher pass over the
  retain set, and a reading a trial. Fails to aim: it blurs all that was
  memorised, right or wrong.

  Args:
    task: see `Task`.
    budget: predicted rise of the loss, nats.
    stabiliser: delta over the mean of F_r.
    cap: largest noise over the rms of a tensor.
  """
  scale = partial(
    edits.fisher_noise_scale, budget=budget, stabiliser=stabiliser, cap=cap
  )
  return Method(edits.inject_noise(task.key, scale), extras=("retain_fisher",))


def published_fisher_forgetting(
  task: Task, *, noise_scale: NonNegative = 0.01, stabiliser: AboveZero = 1e-8
) -> Method:
  """Fisher Forgetting as the preprint ran it: a warning, not a tool.

  p <- p + n noise_scale / sqrt(F + stabiliser), F the squares of batch-mean
  gradients over the number of examples: see `edits.published_noise_scale`.
  Collapses: the noise is thousands of times the weights.

  Args:
    task: see `Task`.
    noise_scale: of the noise.
    stabiliser: added to F.
  """
  scale = partial(
    edits.published_noise_scale, noise_scale=noise_scale, stabiliser=stabiliser
  )
  return Method(edits.inject_noise(task.key, scale), extras=("retain_fisher",))
