"""Galaxy morphology in JAX: find wrong labels and unlearn them."""

import os
from typing import TYPE_CHECKING

from gzjax import lazy

if TYPE_CHECKING:
  from gzjax import (
    audit,
    evaluation,
    fisher,
    models,
    morphology,
    objectives,
    sky,
    training,
    unlearning,
  )
  from gzjax.pipeline.runs import find_wrong_labels, load
  from gzjax.problem import Problem

__version__ = "0.1.0"

# The wheel holds configs/ as gzjax.configs; in a checkout they lie beside the
# package, where a person looks.
if not os.path.isdir(os.path.join(*__path__, "configs")):  # noqa: PTH112, PTH118
  __path__.append(os.path.dirname(__path__[0]))  # noqa: PTH120

__all__ = [
  "Problem",
  "__version__",
  "audit",
  "evaluation",
  "find_wrong_labels",
  "fisher",
  "load",
  "models",
  "morphology",
  "objectives",
  "sky",
  "training",
  "unlearning",
]

# All are imported when first asked for, so that `import gzjax` costs nothing.
_HOMES = {
  "Problem": "gzjax.problem",
  "find_wrong_labels": "gzjax.pipeline.runs",
  "load": "gzjax.pipeline.runs",
}
__getattr__ = lazy.getter(
  __name__, _HOMES, {*__all__} - {*_HOMES, "__version__"}
)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
