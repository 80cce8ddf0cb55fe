"""Numbers about predictions, on the host in float64.

A prediction that is not finite belongs to no class: it is counted as wrong,
never as class 0 (which is what argmax makes of NaN).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special, stats
from sklearn import linear_model, model_selection

INVALID_CLASS = -1


def predicted_class(logits: np.ndarray) -> np.ndarray:
  """f[N,K] -> i64[N]; `INVALID_CLASS` where a row is not finite."""
  finite = np.isfinite(logits).all(axis=1)
  return np.where(finite, logits.argmax(axis=1), INVALID_CLASS)


def softmax(logits: np.ndarray) -> np.ndarray:
  """f[N,K] -> f64[N,K]; NaN where a row is not finite."""
  logits = np.asarray(logits, np.float64)
  finite = np.isfinite(logits).all(axis=1, keepdims=True)
  return np.where(
    finite, special.softmax(np.where(finite, logits, 0), axis=1), np.nan
  )


def cross_entropy(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
  """-log p(label) in nats, f64[N]; inf where p is 0 or not finite."""
  p = probabilities[np.arange(len(label)), label]
  with np.errstate(divide="ignore"):
    return -np.log(np.where(np.isfinite(p), p, 0.0))


def confusion_matrix(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """i64[K,K]: rows are labels, columns predictions; invalid ones left out."""
  keep = predicted != INVALID_CLASS
  matrix = np.zeros((num_classes, num_classes), np.int64)
  np.add.at(matrix, (label[keep], predicted[keep]), 1)
  return matrix


def accuracy(label: np.ndarray, predicted: np.ndarray) -> float:
  """Share of equal entries; NaN for no entries."""
  return float(np.mean(label == predicted)) if len(label) else float("nan")


def recalls(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """Recall of each class, f64[K]; NaN for a class that does not occur."""
  return np.array(
    [
      accuracy(label[label == k], predicted[label == k])
      for k in range(num_classes)
    ]
  )


def balanced_accuracy(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> float:
  """Mean recall over the classes that occur."""
  return float(np.nanmean(recalls(label, predicted, num_classes)))


def macro_f1(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> float:
  """Mean F1 over the classes that occur as label or prediction."""
  scores = []
  for k in range(num_classes):
    hits = np.sum((label == k) & (predicted == k))
    total = np.sum(label == k) + np.sum(predicted == k)
    if total:
      scores.append(2 * hits / total)
  return float(np.mean(scores))


def wilson_interval(
  hits: float, n: int, confidence: float = 0.95
) -> tuple[float, float]:
  """Wilson score interval of a share (Wilson 1927); (0, 1) for n = 0."""
  if n == 0:
    return 0.0, 1.0
  z = stats.norm.ppf(0.5 + confidence / 2)
  p = hits / n
  centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def resampled_interval(
  statistic: Callable[[np.ndarray], np.ndarray | float],
  count: int,
  seed: int = 0,
  *,
  draws: int = 1000,
  confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
  """Percentile interval of a statistic of galaxies (Efron 1979).

  Args:
    statistic: of the galaxies in the rows i64[N], some of them several times:
      f[...].
    count: N > 0, galaxies.
    seed: of the draws; equal seeds draw equal galaxies.
    draws: samples of N galaxies, with replacement.
    confidence: of the interval.

  Returns:
    (f64[...], f64[...]), NaN where the statistic of a sample is.
  """
  rng = np.random.default_rng(seed)
  found = np.array(
    [statistic(rng.integers(count, size=count)) for _ in range(draws)]
  )
  tail = (1 - confidence) / 2
  # No interpolation: it would make NaN of infinite values.
  low, high = np.quantile(
    found, [tail, 1 - tail], axis=0, method="inverted_cdf"
  )
  return low, high


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
  """P(positive score > negative score) + P(equal) / 2 (Mann and Whitney).

  Infinite scores keep their order; NaN for an empty side.
  """
  if not len(positive) or not len(negative):
    return float("nan")
  ranks = stats.rankdata(np.concatenate([positive, negative]))
  n = len(positive)
  return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def attack_auc(
  forget_probabilities: np.ndarray,
  forget_label: np.ndarray,
  unseen_probabilities: np.ndarray,
  unseen_label: np.ndarray,
) -> float:
  """How well the loss tells memorised wrong labels from unseen wrong ones.

  The population membership attack on the loss (Yeom et al. 2018) with a fair
  outside group: galaxies that were never trained on, given wrong labels by the
  same flip model. Real retraining scores about 0.5, a model that memorised its
  wrong labels about 1. (Against unseen galaxies with their true labels, even
  real retraining would look suspicious: its loss on wrong labels is high.)
  """
  return auc(
    -cross_entropy(forget_probabilities, forget_label),
    -cross_entropy(unseen_probabilities, unseen_label),
  )


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """Jensen-Shannon divergence of each row in nats, f64[N], at most ln 2.

  A row that is not finite counts as ln 2, the largest distance.
  """
  m = (p + q) / 2
  divergence = (
    special.rel_entr(p, m).sum(axis=1) + special.rel_entr(q, m).sum(axis=1)
  ) / 2
  return np.clip(np.where(np.isnan(divergence), np.log(2), divergence), 0, None)


def entropy(shares: np.ndarray) -> float:
  """-sum p log p of shares f[K], nats."""
  return float(special.entr(np.asarray(shares, np.float64)).sum())


def distance_to_constant(probabilities: np.ndarray) -> float:
  """How much the prediction depends on the galaxy, nats; 0 for a constant one.

  The least mean KL divergence to any constant prediction, which is that to the
  mean prediction: the mutual information of galaxy and predicted class, at most
  ln K. NaN rows are left out; 0 if nothing is left.
  """
  finite = probabilities[np.isfinite(probabilities).all(axis=1)]
  if not len(finite):
    return 0.0
  kl = special.rel_entr(finite, finite.mean(axis=0)).sum(axis=1)
  return float(max(kl.mean(), 0.0))


def activation_distance(p: np.ndarray, q: np.ndarray) -> float:
  """Mean L1 distance of the probabilities (Golatkar et al. 2020), 0 to 2.

  A row that is not finite counts as 2.
  """
  distance = np.abs(p - q).sum(axis=1)
  return float(np.mean(np.where(np.isnan(distance), 2.0, distance)))


def agreement(p: np.ndarray, q: np.ndarray) -> float:
  """Share of rows with the same predicted class; invalid ones never agree."""
  a, b = predicted_class(p), predicted_class(q)
  return float(np.mean((a == b) & (a != INVALID_CLASS)))


def tug_of_war(
  accuracies: Sequence[float], retrained: Sequence[float]
) -> float:
  """Product of 1 - |a - a of retraining| (Zhao et al. 2024): 1 is best.

  Args:
    accuracies: on the forget, retain and test set, 0 to 1.
    retrained: those of real retraining.
  """
  gaps = np.abs(np.subtract(accuracies, retrained))
  return float(np.prod(1 - gaps))


def attack_accuracy(
  member_loss: np.ndarray,
  other_loss: np.ndarray,
  *,
  folds: int = 10,
  seed: int = 0,
) -> float:
  """Balanced accuracy of a membership attack on the loss, cross-validated.

  A logistic regression on the loss (clipped to 20 nats), trained on nine
  stratified folds and tested on the tenth, the classes weighted equally (the
  attack of the NeurIPS 2023 unlearning challenge). 0.5: members cannot be told.
  NaN where a side has fewer than two examples.

  Args:
    member_loss: nats, f[M].
    other_loss: nats of examples that were not trained on, f[N].
    folds: at most; fewer if a side is small.
    seed: of the shuffle.
  """
  folds = min(folds, len(member_loss), len(other_loss))
  if folds < 2:
    return float("nan")
  loss = np.concatenate([member_loss, other_loss])
  is_member = np.repeat([1, 0], [len(member_loss), len(other_loss)])
  found = model_selection.cross_val_predict(
    linear_model.LogisticRegression(class_weight="balanced"),
    np.clip(np.nan_to_num(loss, nan=20.0), 0, 20)[:, None],
    is_member,
    cv=model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed),
  )
  return balanced_accuracy(is_member, found, 2)


def scaled_confidence(
  probabilities: np.ndarray, label: np.ndarray
) -> np.ndarray:
  """The logit of the label, log p - log(1 - p), f64[N], within +-30.

  Normal enough for a Gaussian fit (Carlini et al. 2022). A row that
  is not finite gives -30.
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
  with a variance floor of 1e-2. Positive: the attacker says that
  the example was in the training set.

  Args:
    target: scaled confidences of the network under attack, f[N].
    unlearned: of S >= 2 shadow networks that unlearned the examples, f[S,N].
    retrained: of S >= 2 that never saw them, f[S,N].

  Raises:
    ValueError: for fewer than two shadow networks of a kind.
  """
  if min(len(unlearned), len(retrained)) < 2:
    raise ValueError("U-LiRA needs two shadow networks of each kind")

  def log_density(shadows):
    deviation = np.sqrt(np.maximum(shadows.var(axis=0, ddof=1), 1e-2))
    return stats.norm.logpdf(target, shadows.mean(axis=0), deviation)

  return log_density(unlearned) - log_density(retrained)


def mean_interval(
  values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
  """(mean, low, high): Student's t interval over runs; NaN ends for one run."""
  runs = np.asarray(values, np.float64)
  centre = float(runs.mean())
  if len(runs) < 2:
    return centre, float("nan"), float("nan")
  half = stats.t.ppf(0.5 + confidence / 2, len(runs) - 1) * stats.sem(runs)
  return centre, float(centre - half), float(centre + half)
