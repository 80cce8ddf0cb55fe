"""Crowds of volunteers whose favourites are known."""

import numpy as np
from scipy import special


def crowds(seed, n=600, votes=5):
  """Votes of simulated crowds, a network's probabilities, the favourites."""
  rng = np.random.default_rng(seed)
  kind = rng.integers(3, size=n)
  law = 0.6 + np.array([[12, 1, 1], [2, 8, 1], [1, 1, 20]])[kind]
  shares = rng.gamma(law)
  shares /= shares.sum(axis=1, keepdims=True)
  counts = rng.multinomial(votes, shares)
  logits = 2.0 * np.eye(3)[kind] + rng.normal(size=(n, 3))
  return counts, special.softmax(2 * logits, axis=1), shares.argmax(axis=1)
