"""Membership attacks: can it be told that a galaxy was trained on?"""

import numpy as np
import scipy

from gzjax.evaluation import metrics


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
  """P(positive score > negative score) + P(equal) / 2 (Mann and Whitney).

  Infinite scores keep their order; NaN for an empty side.
  """
  if not len(positive) or not len(negative):
    return float("nan")
  wins = scipy.stats.mannwhitneyu(
    positive, negative, method="asymptotic"
  ).statistic
  return float(wins / (len(positive) * len(negative)))


def attack_auc(member_loss: np.ndarray, other_loss: np.ndarray) -> float:
  """How well the loss tells memorised wrong labels from unseen wrong ones.

  The population membership attack on the loss (Yeom et al. 2018) with a fair
  outside group: galaxies that were never trained on, given wrong labels by the
  same flip model. Real retraining scores about 0.5, a model that memorised its
  wrong labels about 1. (Against unseen galaxies with their true labels, even
  real retraining would look suspicious: its loss on wrong labels is high.)
  """
  return auc(-member_loss, -other_loss)


def attack_accuracy(member_loss: np.ndarray, other_loss: np.ndarray) -> float:
  """Balanced accuracy of a membership attack on the loss, cross-validated.

  A logistic regression on the loss (clipped to 20 nats), trained on nine
  stratified folds and tested on the tenth, the classes weighted equally (the
  attack of the NeurIPS 2023 unlearning challenge). 0.5: members cannot be told.
  Fewer folds where a side is small; NaN where it has fewer than two examples.
  """
  from sklearn import linear_model, model_selection  # slow to import

  folds = min(10, len(member_loss), len(other_loss))
  if folds < 2:
    return float("nan")
  loss = np.concatenate([member_loss, other_loss])
  is_member = np.repeat([1, 0], [len(member_loss), len(other_loss)])
  found = model_selection.cross_val_predict(
    linear_model.LogisticRegression(class_weight="balanced"),
    np.clip(np.nan_to_num(loss, nan=20.0), 0, 20)[:, None],
    is_member,
    cv=model_selection.StratifiedKFold(folds, shuffle=True, random_state=0),
  )
  return metrics.balanced_accuracy(is_member, found, 2)


def iam(
  unlearned: np.ndarray, retrained: np.ndarray, original: np.ndarray
) -> float:
  """Interpolated approximate measurement of what was not forgotten, 0 to 1.

  By the probabilities f[N] that three networks give the wrong labels: scores
  between those of retraining (a = 0) and of the original (a = 1) are Gumbel
  distributions, and the unlearned one is asked how much of each it has passed,
  those near the original weighing most (Wang et al., USENIX Security 2025).
  Retraining stands for the shadow models. To be compared with its own value.
  """
  own, low, high = (
    -np.log(0.01 - np.log(1e-5 + p)) for p in (unlearned, retrained, original)
  )
  share = np.linspace(0, 1, 100)
  # One after another: all at once would be a hundred arrays of all examples.
  passed = np.array([_passed(own, low + x * (high - low)) for x in share])
  return float(share @ passed / share.sum())


def _passed(own: np.ndarray, mean: np.ndarray) -> float:
  """How much of the Gumbel distribution of such a mean scores are above."""
  scale = np.maximum(np.sqrt(6) / np.pi * mean.std(), 1e-12)
  with np.errstate(over="ignore"):  # far below a distribution: exactly 0
    return scipy.stats.gumbel_r.cdf(
      own, mean - np.euler_gamma * scale, scale
    ).mean()


def scaled_confidence(
  probabilities: np.ndarray, label: np.ndarray
) -> np.ndarray:
  """The logit of the label, log p - log(1 - p), f64[N], within +-30.

  Normal enough for a Gaussian fit (Carlini et al. 2022). A row that is not
  finite gives -30.
  """
  p = probabilities[np.arange(len(label)), label]
  rest = np.sum(probabilities, axis=1) - p
  with np.errstate(divide="ignore", invalid="ignore"):
    found = np.log(p) - np.log(rest)
  return np.clip(np.nan_to_num(found, nan=-30.0), -30, 30)


def u_lira(
  target: np.ndarray, unlearned: np.ndarray, retrained: np.ndarray
) -> np.ndarray:
  """U-LiRA: log-likelihood ratio of "was unlearned" over "was never seen".

  Two Gaussians for each example, fitted to shadow models (Hayes et al. 2024),
  with a variance floor of 1e-2. Positive: the attacker says that the example
  was in the training set. All arguments are scaled confidences: of the network
  under attack, f[N], and of S >= 2 shadow networks that unlearned the examples
  and as many that never saw them, f[S,N].

  Raises:
    ValueError: for fewer than two shadow networks of a kind.
  """
  if min(len(unlearned), len(retrained)) < 2:
    raise ValueError("U-LiRA needs two shadow networks of each kind")

  def log_density(shadows):
    deviation = np.sqrt(np.maximum(shadows.var(axis=0, ddof=1), 1e-2))
    return scipy.stats.norm.logpdf(target, shadows.mean(axis=0), deviation)

  return log_density(unlearned) - log_density(retrained)


def shadow_attacks(
  unlearned: np.ndarray, retrained: np.ndarray, wrong: np.ndarray
) -> np.ndarray:
  """U-LiRA (Hayes et al. 2024) on each of S runs, the others as its shadows.

  Of what S unlearned and S retrained networks say, f[S,n,K], of the galaxies
  with the wrong labels i[n]: the balanced accuracy of telling one kind from the
  other, f64[S].
  """
  confidence = [
    np.stack([scaled_confidence(p, wrong) for p in runs])
    for runs in (unlearned, retrained)
  ]
  accuracies = []
  for i in range(len(unlearned)):
    shadows = [np.delete(x, i, axis=0) for x in confidence]
    member, unseen = (u_lira(x[i], *shadows) > 0 for x in confidence)
    accuracies.append((np.mean(member) + 1 - np.mean(unseen)) / 2)
  return np.asarray(accuracies)
