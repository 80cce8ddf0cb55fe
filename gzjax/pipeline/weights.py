"""`model.weights`: looked at before any work, taken, and what was taken."""

from collections.abc import Iterator
import contextlib

import jax
import ml_collections

from gzjax import digests, models
from gzjax.errors import UserError
from gzjax.models import hub, pretrained
from gzjax.progress import say
from gzjax.types import PyTree

_PIXELS = {
  "unit": "0 to 1 as they are",
  "imagenet": "ImageNet's mean and deviation",
  "training": "mean and deviation of the training galaxies",
}


def check(config: ml_collections.ConfigDict) -> None:
  """Finds at once what would fail when the network is made.

  A file of this machine must fit; of one of the Hub, which may have to be
  fetched, its name must be right.

  Raises:
    UserError: naming the key, the file and the mend.
  """
  source, name = config.model.weights, config.model.name
  if not source:
    return
  with _naming_the_key():
    path = hub.check(source)
  encoder = hub.encoder_of(source)
  if encoder and encoder != name:
    raise UserError(
      f"model.weights is {source}, and model.name is {name}: choose "
      f"--config.model.name={encoder}, or other weights."
    )
  if path:
    settings = models.NETWORKS.take(name, config.model)
    model, size = models.build(name, 1, **settings), config.data.size
    params, stats = jax.eval_shape(
      lambda key: models.init_variables(model, key, size), jax.random.key(0)
    )
    with _naming_the_key():
      pretrained.check(pretrained.read(path), params, stats)


def load(
  config: ml_collections.ConfigDict, params: PyTree, batch_stats: PyTree
) -> tuple[PyTree, PyTree]:
  """A fresh network with the weights and a fresh head; says what was taken.

  Raises:
    UserError: see `pretrained.load`.
  """
  with _naming_the_key():
    found = pretrained.read(hub.local_file(config.model.weights))
    loaded = pretrained.fit(found, params, batch_stats)
  say(f"{_taken(found)}; pixels: {_PIXELS[normalisation(config)]}")
  return loaded


def digest(config: ml_collections.ConfigDict) -> str:
  """Of the file; "" without one."""
  if not config.model.weights:
    return ""
  with _naming_the_key():
    return digests.of_file(hub.local_file(config.model.weights))


def normalisation(config: ml_collections.ConfigDict) -> str:
  """A name of `augment.NORMALISATIONS`, or training; see `data.normalise`."""
  kind = config.data.normalise
  if kind != "weights":
    return kind
  return "unit" if hub.is_zoobots(config.model.weights) else "imagenet"


def _taken(found: pretrained.Weights) -> str:
  """What of a file is in the network."""
  off = [
    *(f"the wrapper {key!r}" for key in found.wrappers),
    *([f"the prefix {found.prefix!r}"] if found.prefix else []),
  ]
  without = f" without {' and '.join(off)}" if off else ""
  head = ", ".join(found.head)
  headless = f"its head ({head}) is left out" if head else "it has no head"
  return f"weights of {found.path}{without}; {headless}, a fresh one learns"


@contextlib.contextmanager
def _naming_the_key() -> Iterator[None]:
  try:
    yield
  except UserError as error:
    raise UserError(f"model.weights: {error}") from error
