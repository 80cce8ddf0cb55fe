"""Published weights in our networks.

A file of weights is a state dict: tensors by the names of torchvision's
modules, or for ConvNeXts timm's. timm's ResNets, and so Zoobot's, have the
names of torchvision's.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
import itertools
from pathlib import Path
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401, NumPy knows bfloat16 by it
import numpy as np
import safetensors
import safetensors.numpy

from gzjax import stand_ins
from gzjax.errors import UserError
from gzjax.models import torch_file
from gzjax.models.convnext import CONVNEXTS
from gzjax.models.efficientnet import EFFICIENTNETS
from gzjax.models.hub import local_file
from gzjax.models.resnet import RESNETS
from gzjax.types import PyTree

_LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
_RESNET = {
  "stem_conv": "conv1",
  "stem_norm": "bn1",
  "shortcut_conv": "downsample.0",
  "shortcut_norm": "downsample.1",
  "head": "fc",
  **{f"conv{i}": f"conv{i}" for i in (1, 2, 3)},
  **{f"norm{i}": f"bn{i}" for i in (1, 2, 3)},
}
_EFFICIENTNET = {
  "stem_conv": "features.0.0",
  "stem_norm": "features.0.1",
  "expand_conv": "block.0.0",
  "expand_norm": "block.0.1",
  "depthwise_conv": "block.1.0",
  "depthwise_norm": "block.1.1",
  "squeeze": "block.2.fc1",
  "excite": "block.2.fc2",
  "head": "classifier.1",
}
_CONVNEXT = {
  "stem_conv": "stem.0",
  "stem_norm": "stem.1",
  "head_norm": "head.norm",
  "head": "head.fc",
  "depthwise_conv": "conv_dw",
  "norm": "norm",
  "expand": "mlp.fc1",
  "project": "mlp.fc2",
}
_DOWNSAMPLE = {"norm": "downsample.0", "conv": "downsample.1"}


class _Family(NamedTuple):
  """Networks whose files have names of one kind."""

  models: Mapping[str, Callable]
  stem: str  # the first tensor
  classifier: str  # the module with the logits
  name: Callable[..., str]  # (params, layer, *parts) -> module
  options: tuple[str, ...]  # switches that change the tensors


class Weights(NamedTuple):
  """The tensors of a file, in torch's layout, by the names of a family."""

  path: Path
  tensors: dict[str, np.ndarray]
  wrappers: tuple[str, ...] = ()  # keys of the file in which they stood
  prefix: str = ""  # that all names had
  # Of the file: a classifier, maybe of another package, see `_unprefixed`.
  head: tuple[str, ...] = ()

  def name(self, tensor: str) -> str:
    """What the file calls a tensor."""
    return f"{self.prefix}{tensor}"


def load(
  source: str | Path,
  params: PyTree,
  batch_stats: PyTree,
  *,
  keep_head: bool = False,
) -> tuple[PyTree, PyTree]:
  """A network with the weights of a file.

  Args:
    source: see `hub.local_file` and `read`.
    params: f32, of a fresh network of `models.MODELS`.
    batch_stats: f32, of the same.
    keep_head: take the file's classifier, too, and not the fresh head.

  Returns:
    (params, batch_stats) like those given. Every tensor of the file is in
    them, but for `num_batches_tracked` and a classifier that is not kept.

  Raises:
    UserError: if the file cannot be read, its tensors are not exactly those of
      the network, or a number of them is NaN or infinite.
  """
  weights = read(local_file(source))
  return fit(weights, params, batch_stats, keep_head=keep_head)


def fit(
  weights: Weights,
  params: PyTree,
  batch_stats: PyTree,
  *,
  keep_head: bool = False,
) -> tuple[PyTree, PyTree]:
  """A network with weights; see `load`."""
  fresh = {} if keep_head else {"head": params["head"]}
  variables = check(weights, params, batch_stats, keep_head=keep_head)
  loaded = from_torch(weights.tensors, variables)
  return {**loaded["params"], **fresh}, loaded["batch_stats"]


def check(
  weights: Weights,
  params: PyTree,
  batch_stats: PyTree,
  *,
  keep_head: bool = False,
) -> PyTree:
  """The variables that get the weights, of a network that they fit.

  Arrays or `jax.ShapeDtypeStruct`s; UserError as of `load`.
  """
  fresh = () if keep_head else ("head",)
  variables = {
    "params": {k: v for k, v in params.items() if k not in fresh},
    "batch_stats": batch_stats,
  }
  tensors = {
    name: tensor
    for name, tensor in weights.tensors.items()
    if keep_head or not _is_classifier(name)
  }
  _check(weights, tensors, variables)
  _check_finite(weights, tensors)
  return variables


def read(path: Path) -> Weights:
  """The tensors of a file: safetensors, or what torch saved.

  Which one is told by the content, not by the name. Nothing in the file is run,
  see `torch_file.read`.

  Returns:
    Arrays in torch's layout, read-only, but for counts of batches; names
    without what wrappers such as torch's DataParallel put in front of all names
    of a network.

  Raises:
    UserError: for a file that is missing, damaged or of another kind.
  """
  if not path.is_file():
    raise UserError(f"{path}: no such file; mend the path of the weights.")
  if words := stand_ins.told(path):
    raise UserError(f"{path}: {words}")
  if torch_file.is_one(path):
    return _unprefixed(path, *torch_file.read(path))
  try:
    return _unprefixed(path, safetensors.numpy.load_file(path), ())
  except (safetensors.SafetensorError, TypeError) as error:
    raise UserError(
      f"{path}: damaged, or no weights: neither safetensors ({error}) nor what "
      "torch.save writes; download it again, or choose another file."
    ) from error


def _unprefixed(
  path: Path, tensors: Mapping[str, np.ndarray], wrappers: tuple[str, ...]
) -> Weights:
  """Without the prefix of the first layer; without a head beside an encoder."""
  stems = tuple(family.stem for family in _FAMILIES)
  whole = re.compile(rf"(.*\.|)(?:{'|'.join(map(re.escape, stems))})")
  prefixes = [m[1] for name in tensors if (m := whole.fullmatch(name))]
  prefix = min(prefixes, key=len, default="")
  # Inner layers are called as stems of other families: layer1.0.conv1.weight.
  if 2 * sum(name.startswith(prefix) for name in tensors) <= len(tensors):
    prefix = ""
  beside = {
    name
    for name in tensors
    if name.startswith("head.") and not name.startswith(prefix)
  }
  found = {
    name.removeprefix(prefix): tensor
    for name, tensor in tensors.items()
    if name not in beside and not name.endswith("num_batches_tracked")
  }
  head = (*sorted(beside), *(prefix + x for x in found if _is_classifier(x)))
  return Weights(path, found, wrappers, prefix, head)


def from_torch(tensors: Mapping[str, np.ndarray], variables: PyTree) -> PyTree:
  """Fresh arrays like the variables, from torch's names and layout.

  The variables are {"params": ...}, with "batch_stats" if wanted, arrays or
  `jax.ShapeDtypeStruct`s. Tensors of no variable are not looked at.
  """
  return jax.tree.map(
    lambda name, like: jnp.array(
      _to_flax(name, tensors[name]).reshape(like.shape), like.dtype
    ),
    torch_names(variables),
    variables,
  )


def _to_flax(name, tensor):
  """OIHW -> HWIO, and (outputs, inputs) -> (inputs, outputs).

  The dense layers of small ConvNeXts are convolutions of one pixel there.
  """
  if ".mlp." in name and tensor.ndim == 4:
    tensor = tensor[:, :, 0, 0]
  axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim)
  return tensor.transpose(axes) if axes else tensor


def torch_names(variables: PyTree) -> PyTree:
  """The name that files have for each variable: see `from_torch`."""
  params = variables["params"]
  family = _family_of(params)

  def name(path, _):
    _, *module, leaf = (entry.key for entry in path)
    return f"{family.name(params, *module)}.{_LEAVES.get(leaf, leaf)}"

  return jax.tree_util.tree_map_with_path(name, variables)


def _resnet_name(params, layer, part=None):
  del params
  if not part:
    return _RESNET[layer]
  stage, block = _numbers(layer)
  return f"layer{stage}.{block - 1}.{_RESNET[part]}"


def _efficientnet_name(params, layer, part=None):
  if layer.startswith("head_"):
    last = 1 + max(_numbers(name)[0] for name in params if "_block" in name)
    return f"features.{last}.{int(layer == 'head_norm')}"
  if not part:
    return _EFFICIENTNET[layer]
  stage, block = _numbers(layer)
  place = _EFFICIENTNET.get(part)
  if not place:  # the projection, the last of two or of four
    parent = 3 if "depthwise_conv" in params[layer] else 1
    place = f"block.{parent}.{int(part == 'project_norm')}"
  return f"features.{stage}.{block - 1}.{place}"


def _convnext_name(params, layer, part=None):
  del params
  if not layer.startswith("stage"):
    return _CONVNEXT[layer]
  stage, *block = _numbers(layer)
  place = f"stages.{stage - 1}"
  names = _DOWNSAMPLE
  if block:
    place, names = f"{place}.blocks.{block[0] - 1}", _CONVNEXT
  return f"{place}.{names[part]}" if part else place  # gamma


def _numbers(layer):
  return [int(digits) for digits in re.findall(r"\d+", layer)]


_FAMILIES = (
  _Family(RESNETS, "conv1.weight", "fc.", _resnet_name, ("small_stem", "grey")),
  _Family(
    EFFICIENTNETS, "features.0.0.weight", "classifier.", _efficientnet_name, ()
  ),
  _Family(CONVNEXTS, "stem.0.weight", "head.fc.", _convnext_name, ("grey",)),
)


def _family_of(params: PyTree) -> _Family:
  block = params["stage1_block1"]
  marks = ("conv1" in block, "expand_conv" in block, "gamma" in block)
  return next(family for family, mark in zip(_FAMILIES, marks) if mark)


def _is_classifier(name: str) -> bool:
  return name.startswith(tuple(family.classifier for family in _FAMILIES))


def _shapes(variables):
  """By torch's names, in our layout."""
  names = jax.tree.leaves(torch_names(variables))
  shapes = [value.shape for value in jax.tree.leaves(variables)]
  return dict(zip(names, shapes, strict=True))


def _check(weights, tensors, variables):
  wanted = _shapes(variables)
  found = {n: _to_flax(n, tensor).shape for n, tensor in tensors.items()}
  if found == wanted:
    return
  call = weights.name
  wrong = [
    *(f"it lacks {call(name)}" for name in wanted if name not in found),
    *(f"it has {call(name)} besides" for name in found if name not in wanted),
    *(
      f"{call(name)} has (in our layout) shape {found[name]}, not {shape}"
      for name, shape in wanted.items()
      if found.get(name, shape) != shape
    ),
  ]
  some = ", ".join(map(call, [*found][:3])) or "no tensor"
  stem = _family_of(variables["params"]).stem
  mend = (
    f"It has {some}, and {len(wanted)} from {stem} on would fit: choose "
    "weights of this model in the names of torchvision or timm."
  )
  if likeness := _looks_like(found):
    mend = f"It looks like {likeness}: choose that model, or other weights."
  raise UserError(
    f"{weights.path}: not the weights of this network: {wrong[0]} "
    f"({len(wrong)} such). {mend}"
  )


def _check_finite(weights: Weights, tensors: Mapping[str, np.ndarray]) -> None:
  bad = [
    name
    for name, tensor in tensors.items()
    if not np.isfinite(tensor.astype(np.float32)).all()
  ]
  if bad:
    raise UserError(
      f"{weights.path}: {weights.name(bad[0])} has NaN or infinite numbers "
      f"({len(bad)} such): download it again, or choose other weights."
    )


def _looks_like(found: Mapping[str, tuple[int, ...]]) -> str | None:
  """The settings of the model that has just these tensors, but for its head."""
  backbone = _without_classifier(found)
  image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  for name, make, options in _candidates(found):
    init = partial(make(num_classes=1, **options).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    if _without_classifier(_shapes(variables)) == backbone:
      settings = (f"model.{key}=True" for key, on in options.items() if on)
      return " with ".join([name, *settings])
  return None


def _candidates(
  found: Mapping[str, tuple[int, ...]],
) -> Iterator[tuple[str, Callable, dict[str, bool]]]:
  """Networks whose first tensor has a name of the file, plain ones first."""
  families = [f for f in _FAMILIES if f.stem in found]
  for family in families:
    switches = itertools.product((False, True), repeat=len(family.options))
    for on in sorted(switches, key=sum):
      options = dict(zip(family.options, on, strict=True))
      for name, make in family.models.items():
        yield name, make, options


def _without_classifier(shapes):
  return {k: v for k, v in shapes.items() if not _is_classifier(k)}
