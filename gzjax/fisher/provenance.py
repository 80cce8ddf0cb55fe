"""What a Fisher was computed from, so that it is not used for anything else."""

from typing import Any

from gzjax import digests
from gzjax.types import PyTree


def provenance(
  variables: PyTree,
  examples: PyTree,
  *,
  dataset: str,
  objective: str,
  kind: str,
  estimator: str,
  key_data: Any = (),
) -> dict[str, str]:
  """What to store beside a Fisher; equal records mean equal Fishers.

  The variables are parameters and stored statistics, the examples their rows in
  the data set, of which `dataset` is the fingerprint, and their labels;
  `key_data` is that of the PRNG key, where the estimate is random.
  """
  return {
    "kind": kind,
    "estimator": estimator,
    "objective": objective,
    "dataset": dataset,
    "examples": digests.of_arrays(examples),
    "parameters": digests.of_arrays(variables),
    "key": digests.of_arrays(key_data),
  }
