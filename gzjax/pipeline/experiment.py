"""Config to objects: what the stages share, each made when first needed."""

from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import ml_collections
import numpy as np
import optax
import pandas as pd

from gzjax import models, sharding
from gzjax.data import augment, pixels
from gzjax.data.dataset import Dataset, load
from gzjax.data.feed import Feed, ordered_rows
from gzjax.errors import UserError, naming
from gzjax.files import read_json
from gzjax.models import pretrained
from gzjax.morphology import noise, splits
from gzjax.morphology.splits import SPLITS
from gzjax.morphology.votes import Votes
from gzjax.objectives import losses, targets
from gzjax.pipeline import labels_and_flips
from gzjax.pipeline.checkpoint import Checkpoints
from gzjax.pipeline.workdir import Workdir
from gzjax.training.step import init_state, make_predict_step, predict
from gzjax.types import ApplyFn, Objective, PyTree, TrainState

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
    results: Path | None = None,
  ):
    """Takes the results of unlearning to `results` (default: the workdir)."""
    self.config = config
    self.workdir = workdir
    self.results = results or workdir.root
    self.data_dir = data_dir
    self.manual_dir = manual_dir

  @cached_property
  def mesh(self) -> Mesh:
    mesh = sharding.make_mesh()
    sizes = {
      "train.batch_size": self.config.train.batch_size,
      "unlearn.batch_size": self.config.unlearn.batch_size,
      "unlearn.forget_batch_size": self.config.unlearn.forget_batch_size,
    }
    for name, size in sizes.items():
      if size % mesh.size:
        raise UserError(
          f"{name}={size} cannot be split over {mesh.size} devices: choose a "
          f"multiple of {mesh.size}."
        )
    return mesh

  @cached_property
  def dataset(self) -> Dataset:
    """The galaxies of split.parquet, in its order."""
    data = self.config.data
    found = load(Path(self.prepared["folder"]), crop=self.crop, size=data.size)
    ids = pd.Index(found.table["id_str"])
    return found.select(ids.get_indexer(pd.Index(self.split["id_str"])))

  @cached_property
  def prepared(self) -> dict[str, Any]:
    """What the stage prepare noted about the data set."""
    return read_json(self.workdir / "stages" / "dataset.json")

  @cached_property
  def split(self) -> pd.DataFrame:
    return pd.read_parquet(self.workdir / "split.parquet")

  @property
  def crop(self) -> int:
    """Edge of the central crop; 0 where each galaxy was cut out on its own."""
    data = self.config.data
    return 0 if data.crop_column else data.crop

  @property
  def data_seed(self) -> int:
    """The seed of the sky, the split and the flips."""
    seed = self.config.data.seed
    return self.config.seed if seed < 0 else seed

  def split_of(self, table: pd.DataFrame) -> np.ndarray | None:
    """Indices of SPLITS, i[N]; None if they depend on the labels."""
    if "split" in table:
      return pd.Index(SPLITS).get_indexer(pd.Index(table["split"]))
    data = self.config.data
    if data.split_by == "id":
      return splits.split_by_id(table["id_str"], data.split, self.data_seed)
    return None

  @property
  def classes(self) -> tuple[str, ...]:
    return tuple(self.prepared["classes"])

  def labels(self, column: str) -> np.ndarray:
    """Class indices i64[N] of a label column of split.parquet."""
    return pd.Index(self.classes).get_indexer(pd.Index(self.split[column]))

  def members(self, name: str) -> np.ndarray:
    """Rows of a set of galaxies: i64[n].

    Args:
      name: "train", "validation", "test"; "clean" and "flipped", the training
        galaxies with right and wrong labels; "forget", the flipped ones that
        are known (`unlearn.discovered`), and "retain", all others of train.
    """
    if name in SPLITS:
      return np.flatnonzero(self.split["split"] == name)
    flipped = np.flatnonzero(self.split["set"] == "forget")
    if name == "flipped":
      return flipped
    if name == "clean":
      return np.flatnonzero(self.split["set"] == "retain")
    with naming("unlearn"):
      known = noise.discovered(
        flipped, self.config.unlearn.discovered, self.data_seed
      )
    return {
      "forget": known,
      "retain": np.setdiff1d(self.members("train"), known),
    }[name]

  @cached_property
  def target(self) -> targets.Target:
    """What the network learns."""
    config = self.config.target
    if config.kind == "classes":
      return targets.classes(len(self.classes))
    tree, answers = self._task.tree, self._task.class_answers
    if config.kind == "fractions":
      return targets.fractions(tree, config.head, answers)
    if config.kind == "counts":
      return targets.counts(tree, answers)
    if config.kind == "labels":
      return targets.labels(tree, answers)
    return targets.answers(
      tree, answers, expects_fractions=config.kind == "answers"
    )

  def columns(self, which: str) -> dict[str, np.ndarray]:
    """What is learned of each galaxy, by the names of the entries of a batch.

    `label` i32[N] and, where the network learns votes, `votes` f32[N,A].

    Args:
      which: "true", "train" (partly wrong) or "original": those that the
        original network was trained on.
    """
    if which == "original":
      which = "true" if self.config.flips.after_training else "train"
    columns = {"label": self.labels(f"{which}_label").astype(np.int32)}
    if self.target.tree is None:
      return columns
    votes = self._task.votes
    return {
      **columns,
      "votes": votes[self._donors] if which == "train" else votes,
    }

  @cached_property
  def _task(self) -> labels_and_flips.VoteTask:
    return labels_and_flips.task(self.config, self.dataset, self.classes)

  @cached_property
  def _donors(self) -> np.ndarray:
    """Rows of the galaxies whose votes are trained on, i64[N]."""
    ids = pd.Index(self.split["id_str"])
    return ids.get_indexer(pd.Index(self.split["votes_of"]))

  @cached_property
  def votes(self) -> Votes:
    """The true votes on the questions of the target."""
    assert self.dataset.votes is not None
    return self.dataset.votes.on(self._task.tree)

  @cached_property
  def fractions(self) -> np.ndarray:
    """True cumulative vote fractions, f64[N,A]."""
    return self.votes.cumulative

  @property
  def train_fractions(self) -> np.ndarray:
    """Cumulative vote fractions as trained on, partly wrong, f64[N,A]."""
    return self.fractions[self._donors]

  def example_losses(
    self,
    logits: np.ndarray,
    members: np.ndarray,
    columns: dict[str, np.ndarray],
  ) -> np.ndarray:
    """The target's objective, f64[n], nats; infinite where it is not finite.

    Args:
      logits: f32[n,K].
      members: i[n], their rows.
      columns: see `columns`.
    """
    batch = {name: x[members] for name, x in columns.items()}
    return targets.example_losses(self.target, logits, batch)

  @cached_property
  def forget_fields(self) -> dict[str, np.ndarray]:
    """What the batches of the forget set hold besides, for all galaxies.

    `suggestion` i32[N], the label to learn instead; `true_votes` f32[N,A] where
    the network learns votes; `random_logits` f32[N,K], the answers of a fresh
    network (0 outside of the forget set).
    """
    forget = self.members("forget")
    random_logits = np.zeros((len(self.split), self.target.outputs), np.float32)
    fresh = init_state(*self.initial_variables, optax.identity())
    random_logits[forget] = self.predict(fresh, forget)
    votes = {}
    if self.target.tree is not None:
      votes["true_votes"] = self._task.votes
    return {
      "suggestion": self._suggestions().astype(np.int32),
      "random_logits": random_logits,
      **votes,
    }

  @property
  def mended(self) -> Objective:
    """The loss of the labels or votes that should have been learned.

    The audit suggests labels only; they are the answers to one question.
    """
    if self.target.tree is None or self.config.unlearn.suggestions == "audit":
      return losses.on_classes(self.target.class_logits, losses.suggestion)
    return losses.with_votes("true_votes", self.target.objective)

  def _suggestions(self) -> np.ndarray:
    if self.config.unlearn.suggestions == "true":
      return self.labels("true_label")
    found = pd.read_csv(
      self.workdir / "audit" / "suspects.csv", dtype={"id_str": str}
    ).set_index("id_str")["suggested_label"]
    label = self.labels("train_label")
    suggested = self.split["id_str"].map(found)
    known = suggested.notna().to_numpy()
    label[known] = pd.Index(self.classes).get_indexer(
      pd.Index(suggested[known])
    )
    return label

  def feed_of(
    self, image: pixels.Images, columns: dict[str, np.ndarray]
  ) -> Feed:
    """A feed of any galaxies, normalised as those of the run are."""
    return Feed(
      image,
      columns,
      self.mesh,
      device_budget_bytes=self.config.data.device_budget_gib * 2**30,
      normalisation=augment.Normalisation(
        *map(tuple, self.prepared["normalisation"])
      ),
    )

  @cached_property
  def feed(self) -> Feed:
    return self.feed_of(self.dataset.image, self.columns("train"))

  def recipe(self, folder: str) -> ml_collections.ConfigDict:
    """How the network in "train" or "retrain" is trained."""
    recipe = self.config.train.copy_and_resolve_references()
    if folder == "retrain":
      recipe.update(self.config.unlearn.retrain)
    return recipe

  def augmentation(
    self, recipe: ml_collections.ConfigDict
  ) -> augment.Augmentation:
    """The random views of a recipe."""
    return augment.Augmentation(
      recipe.rotation, recipe.flip, recipe.zoom, recipe.shift
    )

  @cached_property
  def apply_fn(self) -> ApplyFn:
    """The network as a pure function."""
    return models.make_apply_fn(self._model())

  @cached_property
  def predict_step(self) -> Any:
    return make_predict_step(self.apply_fn)

  def objective(
    self, recipe: ml_collections.ConfigDict, label: np.ndarray
  ) -> Objective:
    """The loss of a recipe; class weights are those of the labels i64[n]."""
    if self.target.tree is not None:
      return self.target.objective
    objective = losses.LOSSES[recipe.loss](
      **losses.LOSSES.take(recipe.loss, recipe)
    )
    weigh = losses.CLASS_WEIGHTS[recipe.class_weights]
    weights = weigh(
      np.bincount(label, minlength=len(self.classes)),
      **losses.CLASS_WEIGHTS.take(recipe.class_weights, recipe),
    )
    if weights is None:
      return objective
    return losses.weighted(objective, weights)

  @cached_property
  def initial_variables(self) -> tuple[PyTree, PyTree]:
    """(params, batch_stats) to start from, for training and retraining alike.

    Fresh, or pretrained with a fresh head.

    Steps donate what they are given: hand them a copy.
    """
    variables = models.init_variables(
      self._model(), jax.random.key(self.config.seed), self.config.data.size
    )
    if self.config.model.weights:
      variables = pretrained.load(self.config.model.weights, *variables)
    return sharding.replicate(self.mesh, variables)

  def predict(
    self, state: TrainState, members: np.ndarray, views: int = 1
  ) -> np.ndarray:
    """Logits f32[n,K] of the members, in order: the mean over so many views."""
    return self._logits(state, self.feed, members, views)

  def predict_images(
    self, state: TrainState, image: pixels.Images, views: int = 1
  ) -> np.ndarray:
    """Logits f32[N,K] of any galaxies, u8[N,S,S,3], likewise."""
    everything = np.arange(len(image))
    return self._logits(state, self.feed_of(image, {}), everything, views)

  def _logits(self, state, source, members, views):
    size = -(-_PREDICT_BATCH // self.mesh.size) * self.mesh.size
    rows = ordered_rows(members, size)
    found = [
      predict(self.predict_step, state, source.batches(rows, turn=turn))
      for turn in range(views)
    ]
    return np.mean(found, axis=0)

  def probabilities(self, logits: np.ndarray) -> np.ndarray:
    """Of the classes, f64[n,C]; NaN where a logit is not finite."""
    return targets.probabilities(self.target, logits)

  def place(self, folder: str) -> Path:
    """Where the results named `folder` lie; the original is never elsewhere."""
    return (self.workdir.root if folder == "train" else self.results) / folder

  def restore(self, folder: str, *, best: bool | None = None) -> TrainState:
    """The network that a stage left in `folder`, without optimizer state.

    Args:
      folder: such as "train" or "unlearn/finetune".
      best: the checkpoint of the highest score instead of the last; None: as
        `train.select` says for trainings.
    """
    if best is None:
      training_run = folder in ("train", "retrain")
      best = training_run and self.recipe(folder).select == "best"
    with Checkpoints(self.place(folder) / "checkpoints") as checkpoints:
      number = checkpoints.best() if best else checkpoints.latest()
      if number is None:
        raise UserError(
          f"{self.place(folder)} holds no checkpoint: run the stage that "
          "makes it first, or leave out --stage."
        )
      found = checkpoints.restore(number, self._like())
    step = sharding.replicate(self.mesh, jnp.zeros((), jnp.int32))
    return TrainState(
      step, found.model["params"], found.model["batch_stats"], ()
    )

  def _like(self) -> dict[str, PyTree]:
    """The shapes of the network; no weights are drawn or read."""
    shapes = jax.eval_shape(
      lambda key: models.init_variables(
        self._model(), key, self.config.data.size
      ),
      jax.random.key(0),
    )
    placed = sharding.replicated(self.mesh)
    params, batch_stats = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), shapes
    )
    return {"params": params, "batch_stats": batch_stats}

  def _model(self):
    model, tree = self.config.model, self.target.tree
    return models.build(
      model.name,
      self.target.outputs,
      () if tree is None else tuple(len(q.answers) for q in tree.questions),
      **models.NETWORKS.take(model.name, model),
    )
