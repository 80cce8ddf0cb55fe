"""Galaxy morphology in JAX: find wrong labels and unlearn them."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from gzjax import (
    evaluation,
    fisher,
    models,
    morphology,
    objectives,
    sky,
    training,
    unlearning,
  )
  from gzjax.pipeline.runs import load
  from gzjax.problem import Problem

__version__ = "0.1.0"

# The wheel holds configs/ as gzjax.configs; in a checkout they lie beside the
# package, where a person looks.
if not os.path.isdir(os.path.join(*__path__, "configs")):  # noqa: PTH112, PTH118
  __path__.append(os.path.dirname(__path__[0]))  # noqa: PTH120

# Where the names live that are no packages. All are imported when first asked
# for, so that `import gzjax` costs nothing.
_NAMES = {"Problem": "gzjax.problem", "load": "gzjax.pipeline.runs"}

__all__ = [
  "Problem",
  "__version__",
  "evaluation",
  "fisher",
  "load",
  "models",
  "morphology",
  "objectives",
  "sky",
  "training",
  "unlearning",
]


def __getattr__(name: str) -> Any:
  if name in _NAMES:
    return getattr(importlib.import_module(_NAMES[name]), name)
  if name in __all__:
    return importlib.import_module(f"gzjax.{name}")
  raise AttributeError(f"module 'gzjax' has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
