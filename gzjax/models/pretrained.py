"""torchvision's weights in our networks.

A file of weights is a state dict: tensors by the names of torchvision's
modules. timm's ResNets have the same names; its EfficientNets have not.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
import re

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401, NumPy knows bfloat16 by it
import numpy as np
import safetensors
import safetensors.numpy

from gzjax.errors import UserError
from gzjax.models import torch_file
from gzjax.models.efficientnet import EFFICIENTNETS
from gzjax.models.resnet import RESNETS
from gzjax.types import PyTree

_CLASSIFIERS = ("fc.", "classifier.")
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


def load(
  source: str | Path,
  params: PyTree,
  batch_stats: PyTree,
  *,
  keep_head: bool = False,
) -> tuple[PyTree, PyTree]:
  """A network with the weights of a file.

  Args:
    source: see `local_file` and `read_tensors`.
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
  path = local_file(source)
  tensors = {
    name: tensor
    for name, tensor in read_tensors(path).items()
    if not name.endswith("num_batches_tracked")
    and (keep_head or not name.startswith(_CLASSIFIERS))
  }
  fresh = {} if keep_head else {"head": params["head"]}
  variables = {
    "params": {k: v for k, v in params.items() if k not in fresh},
    "batch_stats": batch_stats,
  }
  _check(path, tensors, variables)
  _check_finite(path, tensors)
  loaded = from_torchvision(tensors, variables)
  return {**loaded["params"], **fresh}, loaded["batch_stats"]


def local_file(source: str | Path) -> Path:
  """A path itself, or where `hub:owner/repo/file` of the Hugging Face Hub is.

  It is fetched unless it was before; without a file it is `model.safetensors`.

  Raises:
    UserError: for a name of another form, without the package
      `huggingface_hub`, or if the file cannot be fetched.
  """
  if not str(source).startswith("hub:"):
    return Path(source).expanduser()
  name = re.fullmatch(r"hub:([^/]+/[^/]+)(?:/(.+))?", str(source))
  if not name:
    raise UserError(f"{source}: write hub:owner/repo or hub:owner/repo/file.")
  try:
    import huggingface_hub  # pyrefly: ignore[missing-import], an extra
  except ImportError as error:
    raise UserError(
      f"{source}: needs the package huggingface_hub; "
      "pip install 'gzjax[hub]', or give a file."
    ) from error
  try:
    return Path(
      huggingface_hub.hf_hub_download(name[1], name[2] or "model.safetensors")
    )
  except (OSError, ValueError) as error:
    raise UserError(
      f"{source}: cannot be fetched ({error}); mend the name or the network, "
      "or give a file."
    ) from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
  """The tensors of a `.safetensors`, `.pth` or `.pt` file by their names.

  Nothing in the file is run, see `torch_file.read_tensors`.

  Returns:
    Arrays in torch's layout, read-only; names without the "module." that
    torch's DataParallel puts in front.

  Raises:
    UserError: for a file that is missing, damaged or of another kind.
  """
  if not path.is_file():
    raise UserError(f"{path}: no such file; mend the path of the weights.")
  if path.suffix in (".pth", ".pt"):
    tensors = torch_file.read_tensors(path)
  elif path.suffix == ".safetensors":
    try:
      tensors = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError) as error:
      raise UserError(
        f"{path}: damaged, or no safetensors file ({error}); download it again."
      ) from error
  else:
    raise UserError(
      f"{path}: not a weights file; choose a .safetensors, .pth or .pt file."
    )
  return {name.removeprefix("module."): t for name, t in tensors.items()}


def from_torchvision(
  tensors: Mapping[str, np.ndarray], variables: PyTree
) -> PyTree:
  """Fresh arrays like the variables, from torchvision's names and layout.

  The variables are {"params": ...}, with "batch_stats" if wanted, arrays or
  `jax.ShapeDtypeStruct`s. Tensors of no variable are not looked at.
  """
  return jax.tree.map(
    lambda name, like: jnp.array(_to_flax(tensors[name]), like.dtype),
    torchvision_names(variables),
    variables,
  )


def _to_flax(tensor):
  """OIHW -> HWIO, and (outputs, inputs) -> (inputs, outputs)."""
  axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim)
  return tensor.transpose(axes) if axes else tensor


def torchvision_names(variables: PyTree) -> PyTree:
  """The name that torchvision has for each variable: see `from_torchvision`."""
  params = variables["params"]
  efficient = "expand_conv" in params["stage1_block1"]
  module_name = _efficientnet_name if efficient else _resnet_name

  def name(path, _):
    _, *module, leaf = (entry.key for entry in path)
    return f"{module_name(params, *module)}.{_LEAVES[leaf]}"

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


def _numbers(layer):
  return [int(digits) for digits in re.findall(r"\d+", layer)]


def _shapes(variables):
  """By torchvision's names, in our layout."""
  names = jax.tree.leaves(torchvision_names(variables))
  shapes = [value.shape for value in jax.tree.leaves(variables)]
  return dict(zip(names, shapes, strict=True))


def _check(path, tensors, variables):
  wanted = _shapes(variables)
  found = {name: _to_flax(tensor).shape for name, tensor in tensors.items()}
  if found == wanted:
    return
  wrong = [
    *(f"it lacks {name}" for name in wanted if name not in found),
    *(f"it has {name} besides" for name in found if name not in wanted),
    *(
      f"{name} has (in our layout) shape {found[name]}, not {shape}"
      for name, shape in wanted.items()
      if found.get(name, shape) != shape
    ),
  ]
  some = ", ".join([*found][:3]) or "no tensor"
  mend = f"It has {some}: choose weights of this model in torchvision's names."
  if likeness := _looks_like(found):
    mend = f"It looks like {likeness}: choose that model, or other weights."
  raise UserError(
    f"{path}: not the weights of this network: {wrong[0]} "
    f"({len(wrong)} such). {mend}"
  )


def _check_finite(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
  bad = [
    name
    for name, tensor in tensors.items()
    if not np.isfinite(tensor.astype(np.float32)).all()
  ]
  if bad:
    raise UserError(
      f"{path}: {bad[0]} has NaN or infinite numbers ({len(bad)} such): "
      "download it again, or choose other weights."
    )


def _looks_like(found: Mapping[str, tuple[int, ...]]) -> str | None:
  """The name of the model that has just these tensors, but for its head."""
  backbone = _without_classifier(found)
  family = EFFICIENTNETS if "features.0.0.weight" in found else RESNETS
  image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  for name, make in family.items():
    init = partial(make(num_classes=1).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    if _without_classifier(_shapes(variables)) == backbone:
      return name
  return None


def _without_classifier(shapes):
  return {k: v for k, v in shapes.items() if not k.startswith(_CLASSIFIERS)}
