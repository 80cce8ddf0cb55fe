"""Networks; the only modules that import flax."""

from collections.abc import Callable, Iterable
from functools import partial
import inspect
import re
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gzjax.batches import Step, go_through
from gzjax.models import cnn, convnext, layers
from gzjax.models.cnn import CNN, SideBySide
from gzjax.models.convnext import CONVNEXTS
from gzjax.models.efficientnet import EFFICIENTNETS
from gzjax.models.layers import ConvForm
from gzjax.models.resnet import RESNETS
from gzjax.registry import Range, Share, Table
from gzjax.remembered import remembered
from gzjax.types import ApplyFn, Batch, PyTree, TrainState

MODELS = RESNETS | CONVNEXTS | EFFICIENTNETS | {"cnn": CNN}
# Channels of a ResNet's first stage as published: a width of 1 of the others.
_WIDTH = 64
_Dtype = Literal["float32", "bfloat16"]
_Channels = Annotated[int, Range(1, 4096)]
_Dropout = Annotated[float, Range(0, 0.95, or_else=-1)]


def _common(outputs: int, dtype: str, dropout: float) -> dict[str, Any]:
  """Arguments of any network; a dropout below 0 is left out."""
  common = {"num_classes": outputs, "dtype": jnp.dtype(dtype)}
  return common | ({"dropout": dropout} if dropout >= 0 else {})


def _resnet(
  make: Callable[..., nn.Module],
  outputs: int,
  questions: tuple[int, ...],
  *,
  width: _Channels = _WIDTH,
  small_stem: bool = False,
  zero_gamma: bool = False,
  grey: bool = False,
  dtype: _Dtype = "float32",
  head: Literal["pool", "flatten"] = "pool",
  dropout: _Dropout = -1.0,
  tied: Share = 0.0,
  conv_form: ConvForm = "auto",
) -> nn.Module:
  """A ResNet.

  Args:
    make: of `RESNETS`.
    outputs: K, the number of logits.
    questions: not needed.
    width: 64 is as published: channels of a ResNet's first stage; of the others
      all are in proportion.
    small_stem: ResNets: one 3x3 convolution instead of 7x7 and pooling, for
      images of about 32 to 64 pixels.
    zero_gamma: ResNets: whether each block starts as the identity.
    grey: ResNets, ConvNeXts: whether it gets the mean of the three channels, as
      encoders do that were trained on grey images.
    dtype: of the computation; bfloat16 on GPUs and TPUs.
    head: ResNets: what it gets, the mean of the last map, or all of it.
    dropout: share before the head, and before the hidden layer of the cnn; -1:
      as published.
    tied: ResNets: share of the channels after stages 2 and 3 that all galaxies
      have, 0.2 as published; each other one is for a tenth of them, who learn
      by heart there, and the method etd takes it out; 0: none is tied.
    conv_form: how convolutions are computed, see models/layers.py.
  """
  del questions
  return make(
    **_common(outputs, dtype, dropout),
    width=width,
    small_stem=small_stem,
    zero_gamma=zero_gamma,
    grey=grey,
    head=head,
    tied=tied,
    conv_form=conv_form,
  )


def _efficientnet(
  make: Callable[..., nn.Module],
  outputs: int,
  questions: tuple[int, ...],
  *,
  width: _Channels = _WIDTH,
  dtype: _Dtype = "float32",
  dropout: _Dropout = -1.0,
  conv_form: ConvForm = "auto",
) -> nn.Module:
  """An EfficientNetV2; its settings are those of `_resnet`."""
  del questions
  common = _common(outputs, dtype, dropout)
  return make(**common, width=width / _WIDTH, conv_form=conv_form)


def _convnext(
  make: Callable[..., nn.Module],
  outputs: int,
  questions: tuple[int, ...],
  *,
  width: _Channels = _WIDTH,
  grey: bool = False,
  stochastic_depth: Share = 0.1,
  dtype: _Dtype = "float32",
  dropout: _Dropout = -1.0,
  conv_form: ConvForm = "auto",
) -> nn.Module:
  """A ConvNeXt; its other settings are those of `_resnet`.

  Args:
    make: of `CONVNEXTS`.
    outputs: K, the number of logits.
    questions: not needed.
    width: see `_resnet`.
    grey: see `_resnet`.
    stochastic_depth: ConvNeXts: share of the examples for which a training step
      leaves out the last block; less for those before, none for the first.
    dtype: see `_resnet`, as the others.
    dropout: -1: none.
    conv_form: see `layers.conv2d`.
  """
  del questions
  return make(
    **_common(outputs, dtype, dropout),
    width=width / _WIDTH,
    grey=grey,
    stochastic_depth=stochastic_depth,
    conv_form=conv_form,
  )


def _cnn(
  outputs: int,
  questions: tuple[int, ...],
  *,
  width: _Channels = _WIDTH,
  hidden: _Channels = 128,
  per_question: bool = False,
  dtype: _Dtype = "float32",
  dropout: _Dropout = -1.0,
  conv_form: ConvForm = "auto",
) -> nn.Module:
  """The small CNN; its other settings are those of `_resnet`.

  Args:
    outputs: K, the number of logits.
    questions: logits of each question, K in all.
    width: see `_resnet`.
    hidden: cnn: outputs of the dense layer, for a width of 64.
    per_question: cnn: whether each question has one of its own.
    dtype: see `_resnet`, as the others.
    dropout: -1: 0.25.
    conv_form: see `layers.conv2d`.
  """
  return CNN(
    **_common(outputs, dtype, dropout),
    width=width / _WIDTH,
    hidden=hidden,
    networks=questions if per_question else (),
    conv_form=conv_form,
  )


# (outputs, questions, **settings) -> linen module
NETWORKS: Table[Callable[..., nn.Module]] = Table(
  {name: partial(_resnet, make) for name, make in RESNETS.items()}
  | {name: partial(_convnext, make) for name, make in CONVNEXTS.items()}
  | {name: partial(_efficientnet, make) for name, make in EFFICIENTNETS.items()}
  | {"cnn": _cnn}
)


def build(
  name: str, outputs: int, questions: tuple[int, ...] = (), **settings: Any
) -> nn.Module:
  """A network of `NETWORKS` with K = `outputs` logits.

  The settings are keyword-only arguments of its row; `questions` are the logits
  of each question of a tree, K in all.

  Raises:
    SettingError: for an unknown name, or a setting that cannot be.
  """
  row = NETWORKS.pick("name", name)
  NETWORKS.check(name, settings)
  return row(outputs, questions, **settings)


def smallest_image(name: str) -> int:
  """Pixels along an edge that a network of `NETWORKS` needs at least."""
  if name in CONVNEXTS:
    return convnext.REDUCTION
  return cnn.SMALLEST if name == "cnn" else 1


class Head(nn.Module):
  """The head alone, of features that a frozen encoder has seen."""

  num_classes: int  # K, the number of logits
  dropout: float = 0.0  # of its inputs, see `layers.dropout`

  @nn.compact
  def __call__(self, features: jax.Array, train: bool) -> jax.Array:
    """f32[B,F] -> logits f32[B,num_classes]."""
    dropout = layers.dropout(self, self.dropout, train)
    return layers.head(features, self.num_classes, dropout)


@remembered
def make_apply_fn(model: Any) -> ApplyFn:
  """A linen module, `__call__(image)` or `(image, train)`, as a function.

  In training its random stream "dropout" comes from the key, if there is one,
  and a module that has the argument is told by `example`, i32[B], which
  galaxies these are.
  """
  takes_train, takes_example = (
    _takes(model, name) for name in ("train", "example")
  )

  def apply_fn(params, batch_stats, image, *, train, key=None, example=None):
    variables = {"params": params, "batch_stats": batch_stats}
    mode = {"train": train} if takes_train else {}
    if not train:
      return model.apply(variables, image, **mode), batch_stats
    if takes_example:
      mode["example"] = example
    rngs = {} if key is None else {"dropout": key}
    logits, updated = model.apply(
      variables, image, **mode, mutable=["batch_stats"], rngs=rngs
    )
    return logits, updated.get("batch_stats", batch_stats)

  return apply_fn


def _takes(model: Any, name: str) -> bool:
  return name in inspect.signature(type(model).__call__).parameters


def as_apply_fn(model: Any) -> ApplyFn:
  """An `ApplyFn` as it is, or that of a flax.linen module."""
  return make_apply_fn(model) if isinstance(model, nn.Module) else model


def depth_order(params: PyTree) -> tuple[str, ...]:
  """The names of a network's layers, from the input to the output.

  By the names that all our models use: `stem...`, then the blocks by their
  numbers, then `head_...` and last `head`, the one with the logits. A layer is
  an entry at the top of `params`, of one network or of several side by side.
  """

  def place(name):
    numbers = [int(digits) for digits in re.findall(r"\d+", name)]
    ends = name == "head", name.startswith("head"), not name.startswith("stem")
    return *ends, numbers, name

  return tuple(sorted(params, key=place))


def init_variables(
  model, key: jax.Array, size: int, shape: tuple[int, ...] = ()
) -> tuple[PyTree, PyTree]:
  """Fresh (params, batch_stats) for images of size x size pixels.

  Or for other inputs, of this shape each.
  """
  variables = _make_init(model, shape or (size, size, 3))(key)
  return variables["params"], variables.get("batch_stats", {})


@remembered
def _make_init(
  model: Any, shape: tuple[int, ...]
) -> Callable[[jax.Array], PyTree]:
  image = np.zeros((1, *shape), np.float32)
  mode = {"train": False} if _takes(model, "train") else {}
  return jax.jit(lambda key: model.init(key, image, **mode))


@remembered  # the next call with this network compiles nothing
def make_predict_step(
  apply_fn: ApplyFn,
) -> Callable[[PyTree, PyTree, Batch], jax.Array]:
  """(params, batch_stats, batch) -> logits f32[B,K], stored statistics."""

  @jax.jit
  def predict_step(params, batch_stats, batch):
    return apply_fn(params, batch_stats, batch["image"], train=False)[0]

  return predict_step


@remembered
def make_feature_step(
  apply_fn: ApplyFn,
) -> Callable[[PyTree, PyTree, Batch], jax.Array]:
  """(params, batch_stats, batch) -> what the head gets to see, f32[B,F].

  The input of the last dense layer that a linen network calls, or the inputs of
  all that it has there side by side; ValueError for one without such a layer.
  """

  @jax.jit
  def feature_step(params, batch_stats, batch):
    seen: list[jax.Array] = []
    beside: Any = None  # the parent of the dense layer before

    def watch(call, args, settings, context):
      nonlocal beside
      if isinstance(context.module, nn.Dense):
        parent = context.module.parent
        if not (isinstance(parent, SideBySide) and parent is beside):
          seen.clear()
        beside = parent
        seen.append(args[0].reshape(len(args[0]), -1))
      return call(*args, **settings)

    with nn.intercept_methods(watch):
      apply_fn(params, batch_stats, batch["image"], train=False)
    if not seen:
      raise ValueError("the network has no dense layer: nothing is a feature")
    return jnp.concatenate(seen, axis=1).astype(jnp.float32)

  return feature_step


def predict(
  predict_step: Callable[[PyTree, PyTree, Batch], jax.Array],
  state: TrainState,
  batches: Iterable[Batch],
) -> np.ndarray:
  """Logits of all valid examples in the order of `batches`, f32[N,K]."""
  _, parts = go_through(
    _telling(predict_step), (), batches, state.params, state.batch_stats
  )
  return np.concatenate([logits[valid > 0] for logits, valid in parts])


@remembered
def _telling(predict_step: Callable) -> Step:
  """The step of `go_through`, whose outputs are (logits, valid)."""

  @jax.jit
  def step(carry, params, batch_stats, batch):
    return carry, (predict_step(params, batch_stats, batch), batch["valid"])

  return step
