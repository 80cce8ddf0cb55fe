"""Config to objects: what the stages share, each made when first needed."""

from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import ml_collections
import numpy as np
import pandas as pd

from gzjax import losses, models, sharding, training
from gzjax.checkpoint import Checkpoints
from gzjax.data import augment, dataset, feed
from gzjax.data.splits import SPLITS
from gzjax.errors import UserError
from gzjax.types import ApplyFn, Objective, PyTree, TrainState
from gzjax.workdir import Workdir, read_json

# Rows of each prediction batch.
_PREDICT_BATCH = 256


class Experiment:
  """The objects of one run."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: Workdir,
    data_dir: str | None = None,
    manual_dir: str | None = None,
  ):
    self.config = config
    self.workdir = workdir
    self.data_dir = data_dir
    self.manual_dir = manual_dir

  @cached_property
  def mesh(self) -> Mesh:
    mesh = sharding.make_mesh()
    for section in ("train", "unlearn"):
      size = self.config[section].batch_size
      if size < 1 or size % mesh.size:
        raise UserError(
          f"{section}.batch_size={size} cannot be split over {mesh.size} "
          f"devices: choose a multiple of {mesh.size}."
        )
    return mesh

  @cached_property
  def dataset(self) -> dataset.Dataset:
    prepared = read_json(self.workdir / "stages" / "dataset.json")
    data = self.config.data
    return dataset.load(
      Path(prepared["folder"]), crop=data.crop, size=data.size
    )

  @cached_property
  def split(self) -> pd.DataFrame:
    return pd.read_parquet(self.workdir / "split.parquet")

  @property
  def classes(self) -> tuple[str, ...]:
    return self.dataset.classes

  def labels(self, column: str) -> np.ndarray:
    """Class indices i64[N] of a label column of split.parquet."""
    return pd.Index(self.classes).get_indexer(pd.Index(self.split[column]))

  def members(self, name: str) -> np.ndarray:
    """Rows of a split, or of the retain or forget set: i64[n]."""
    column = "split" if name in SPLITS else "set"
    return np.flatnonzero(self.split[column] == name)

  @cached_property
  def feed(self) -> feed.Feed:
    return feed.Feed(
      self.dataset.image,
      self.labels("train_label"),
      self.mesh,
      device_budget_bytes=self.config.data.device_budget_gib * 2**30,
    )

  @cached_property
  def augmentation(self) -> augment.Augmentation:
    train = self.config.train
    return augment.Augmentation(
      train.rotation, train.flip, train.zoom, train.shift
    )

  @cached_property
  def apply_fn(self) -> ApplyFn:
    """The network as a pure function."""
    return models.make_apply_fn(self._model())

  @cached_property
  def predict_step(self) -> Any:
    return training.make_predict_step(self.apply_fn)

  def objective(self, members: np.ndarray) -> Objective:
    """The training loss; class weights are those of `members`."""
    train = self.config.train
    objective = {
      "cross_entropy": losses.cross_entropy,
      "focal": losses.focal(train.focal_gamma),
    }[train.loss]
    counts = np.bincount(
      self.labels("train_label")[members], minlength=len(self.classes)
    )
    weights = {
      "none": lambda counts: None,
      "balanced": losses.balanced_weights,
      "effective": losses.effective_weights,
    }[train.class_weights](counts)
    if weights is None:
      return objective
    return losses.weighted(objective, weights)

  @cached_property
  def initial_variables(self) -> tuple[PyTree, PyTree]:
    """Fresh (params, batch_stats), for training and retraining alike.

    Steps donate what they are given: hand them a copy.
    """
    variables = models.init_variables(
      self._model(), jax.random.key(self.config.seed), self.config.data.size
    )
    return sharding.replicate(self.mesh, variables)

  def predict(self, state: TrainState, members: np.ndarray) -> np.ndarray:
    """Logits f32[n,K] of the members, in order."""
    size = -(-_PREDICT_BATCH // self.mesh.size) * self.mesh.size
    rows = feed.ordered_rows(members, size)
    return training.predict(self.predict_step, state, self.feed.batches(rows))

  def restore(self, folder: str) -> TrainState:
    """The network that a stage left in `folder`, without optimizer state."""
    params, batch_stats = self.initial_variables
    with Checkpoints(self.workdir / folder / "checkpoints") as checkpoints:
      training_run = folder in ("train", "retrain")
      best = training_run and self.config.train.select == "best"
      number = checkpoints.best() if best else checkpoints.latest()
      if number is None:
        raise UserError(
          f"{self.workdir / folder} holds no checkpoint: run the stage that "
          "makes it first, or leave out --stage."
        )
      like = {"params": params, "batch_stats": batch_stats}
      found = checkpoints.restore(number, like)
    step = sharding.replicate(self.mesh, jnp.zeros((), jnp.int32))
    return TrainState(
      step, found.model["params"], found.model["batch_stats"], ()
    )

  def _model(self):
    model = self.config.model
    if model.name not in models.MODELS:
      raise UserError(
        f"model.name is {model.name!r}: choose one of "
        f"{', '.join(models.MODELS)}."
      )
    return models.MODELS[model.name](
      num_classes=len(self.classes),
      width=model.width,
      small_stem=model.small_stem,
      zero_gamma=model.zero_gamma,
      dtype=jnp.dtype(model.dtype),
      conv_form=model.conv_form,
    )
