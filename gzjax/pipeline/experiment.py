"""Config and files -> Problem: what stages share, made when first needed."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
import ml_collections
import numpy as np
import pandas as pd

from gzjax import models, sharding
from gzjax import problem as problems
from gzjax.data import augment, feed, marks, pixels
from gzjax.data.dataset import Dataset, load
from gzjax.errors import UserError, naming
from gzjax.files import read_json
from gzjax.morphology import noise, splits
from gzjax.morphology.splits import SPLITS
from gzjax.morphology.votes import Votes, answered
from gzjax.objectives import kinds, targets
from gzjax.pipeline import (
  embeddings,
  labels_and_flips,
  origin,
  reviews,
  weights,
)
from gzjax.pipeline.checkpoint import Checkpoints, cost_of
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say
from gzjax.training import Recipe
from gzjax.types import ApplyFn, PyTree
from gzjax.unlearning.methods import METHODS, Row


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
    self.config, self.workdir = config, workdir
    self.data_dir, self.manual_dir = data_dir, manual_dir
    self.results = results or workdir.root

  @property
  def is_repair(self) -> bool:
    """Whether the labels are a person's own, and nothing was flipped."""
    return self.config.flips.kind == noise.NONE

  @cached_property
  def mesh(self) -> Mesh:
    """All devices."""
    mesh = sharding.make_mesh()
    for section, name in (
      ("train", "batch_size"),
      ("unlearn", "batch_size"),
      ("unlearn", "forget_batch_size"),
    ):
      size = self.config[section][name]
      if size % mesh.size:
        raise UserError(
          f"{section}.{name}={size} cannot be split over {mesh.size} devices: "
          f"choose a multiple of {mesh.size}."
        )
    return mesh

  @cached_property
  def dataset(self) -> Dataset:
    """The galaxies of split.parquet, in its order."""
    ids = pd.Index(self.whole.table["id_str"])
    found = self.whole.select(ids.get_indexer(pd.Index(self.split["id_str"])))
    mark = labels_and_flips.mark(self.config)
    if not mark:
      return found
    wrong = np.flatnonzero(self.split["flipped"])
    marked = marks.MarkedImages(found.image, wrong, mark, self.data_seed)
    return found._replace(image=marked)

  @property
  def data_folder(self) -> Path:
    """Of the prepared data set, which may have been moved to `data_dir`."""
    recorded = Path(self.prepared["folder"])
    if recorded.is_dir() or not self.data_dir:
      return recorded
    moved = Path(self.data_dir).absolute() / self.prepared["fingerprint"]
    return moved / recorded.name

  @cached_property
  def whole(self) -> Dataset:
    """All galaxies of the data set, labelled or not."""
    return load(self.data_folder, crop=self.crop, size=self.config.data.size)

  @cached_property
  def prepared(self) -> dict[str, Any]:
    """What the stage prepare noted about the data set."""
    return read_json(self.workdir / "stages" / "dataset.json")

  @cached_property
  def split(self) -> pd.DataFrame:
    """split.parquet."""
    return pd.read_parquet(self.workdir / "split.parquet")

  @property
  def crop(self) -> int:
    """Edge of the central crop; 0 where each galaxy was cut out on its own."""
    data = self.config.data
    return 0 if data.crop_column else data.crop

  @property
  def data_seed(self) -> int:
    """The random seed of the sky, the split and the flips."""
    seed = self.config.data.seed
    return self.config.seed if seed < 0 else seed

  def split_of(self, table: pd.DataFrame) -> np.ndarray | None:
    """Indices of SPLITS, i[N]; None if they depend on the labels."""
    if "split" in table:
      return pd.Index(SPLITS).get_indexer(pd.Index(table["split"]))
    data = self.config.data
    if data.split_by == "id":
      with naming("data"):
        return splits.split_by_id(table["id_str"], data.split, self.data_seed)
    return None

  def of_splits(
    self, names: Sequence[str], min_votes: int
  ) -> tuple[Dataset, np.ndarray] | None:
    """All galaxies of some splits that so many volunteers saw, and their split.

    N galaxies, labelled or not, and str[N]; None where labels decide the split.
    """
    whole = self.whole
    parts = self.split_of(whole.table)
    if parts is None:
      return None
    split = np.asarray(SPLITS)[parts]
    inside = np.isin(split, names)
    if min_votes and whole.votes is not None:
      first = whole.votes.tree.questions[0].stem
      inside &= answered(whole.votes, first) >= min_votes
    return whole.select(np.flatnonzero(inside)), split[inside]

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the classes."""
    return tuple(self.prepared["classes"])

  def labels(self, column: str) -> np.ndarray:
    """Class indices i32[N] of a label column of split.parquet."""
    return self._indices(self.split[column])

  def _indices(self, names: pd.Series) -> np.ndarray:
    found = pd.Index(self.classes).get_indexer(pd.Index(names))
    return found.astype(np.int32)

  @cached_property
  def reviewed(self) -> pd.DataFrame:
    """What a person said of the galaxies of split.parquet, in its order.

    verdict and corrected_label, "" where nothing was said.
    """
    found = reviews.state(self.workdir, self.split).set_index("id_str")
    found = found[["verdict", "corrected_label"]]
    found = found.reindex(self.split["id_str"], fill_value="").reset_index()
    label = found["corrected_label"]
    known = label.isin(self.classes)  # which may be others by now
    return found.assign(corrected_label=label.where(known, ""))

  @cached_property
  def sets(self) -> problems.Sets:
    """Rows of each set: here is decided where the forget set comes from."""
    wrong = (self.reviewed["verdict"] == "wrong").to_numpy()
    # Of validation and test a galaxy counts by its right label, or not at all.
    lost = wrong & (self.reviewed["corrected_label"] == "").to_numpy()
    lost &= self.is_repair
    parts = {}
    for name in SPLITS:
      inside = (self.split["split"] == name).to_numpy()
      parts[name] = np.flatnonzero(inside & ~(lost & (name != "train")))
    train = parts["train"]
    if self.is_repair or wrong[train].any():
      forget = train[wrong[train]]
    else:
      with naming("unlearn"):
        forget = noise.discovered(
          np.flatnonzero(self.split["set"] == "forget"),
          self.config.unlearn.discovered,
          self.data_seed,
        )
    return problems.Sets(
      **parts, retain=np.setdiff1d(train, forget), forget=forget
    )

  @cached_property
  def target(self) -> targets.Target:
    """What the network learns."""
    config, task = self.config.target, self._task
    settings = kinds.TARGETS.take(config.kind, config)
    row = kinds.TARGETS[config.kind]
    return kinds.build(row, task.tree, task.class_answers, **settings)

  @cached_property
  def _task(self) -> labels_and_flips.VoteTask:
    return labels_and_flips.task(self.config, self.dataset, self.classes)

  @cached_property
  def columns(self) -> problems.Columns:
    """What is learned, what is right, and what to learn instead."""
    ids = pd.Index(self.split["id_str"])
    donors = np.arange(len(ids))  # rows whose votes are trained on
    if "votes_of" in self.split:
      donors = ids.get_indexer(pd.Index(self.split["votes_of"]))
    given = {"label": self.labels("train_label")}
    true = {"label": self._right_labels()}
    fractions = np.eye(len(self.classes))[true["label"]]
    if self.target.learns == "votes":
      given["votes"] = self._task.votes[donors]
      true["votes"] = self._task.votes
      fractions = self.votes.cumulative
    return problems.Columns(given, true, true, fractions, fractions[donors])

  def _right_labels(self) -> np.ndarray:
    """Class indices i32[N]: the true labels, or the given ones as reviewed."""
    if not self.is_repair:
      return self.labels("true_label")
    corrected = self.reviewed["corrected_label"]
    given = self.split["train_label"]
    return self._indices(corrected.where(corrected != "", given))

  @property
  def learned_first(self) -> problems.Entries:
    """What the original network is trained on."""
    flipped_later = self.config.flips.after_training
    return self.columns.true if flipped_later else self.columns.given

  @property
  def votes(self) -> Votes:
    """The true votes on the questions of the target."""
    assert self.dataset.votes is not None
    return self.dataset.votes.on(self._task.tree)

  def _suggested(self, suspects: pd.DataFrame) -> problems.Entries:
    """Labels to learn instead: the answers to one question only.

    Those that a person gave, else those that the audit suggests.
    """
    corrected = self.reviewed["corrected_label"]
    suggested = suspects["suggested_label"]
    return {"label": self._indices(corrected.where(corrected != "", suggested))}

  @property
  def suspects(self) -> pd.DataFrame:
    """What the audit says of all labels by now, in the order of split.parquet.

    As suspects.csv, which people edit and spreadsheets may damage.
    """
    return pd.read_parquet(self._scores)

  @property
  def _scores(self) -> Path:
    return self.workdir / "audit" / "scores.parquet"

  def ask(
    self, image: pixels.Images, *networks: problems.Network
  ) -> list[targets.Prediction]:
    """What networks of the run say of any galaxies, u8[N,S,S,3]."""
    galaxies, rows = self.feed_of(image), np.arange(len(image))
    views = self.config.evaluate.views
    logits = (
      problems.logits_of(self.apply_fn, network, galaxies, rows, views)
      for network in networks
    )
    return [targets.interpret(self.target, found) for found in logits]

  def feed_of(
    self,
    image: pixels.Images,
    columns: problems.Entries | None = None,
    *,
    budget: float | None = 0.0,
  ) -> feed.Feed:
    """A feed of any galaxies, normalised as those of the run are.

    With a frozen encoder of what it sees of them. The devices keep what takes
    no more bytes than the budget (see `Feed`): nothing of those seen once.
    """
    normalisation = self.normalisation
    if self.config.model.frozen:
      own = image is self.dataset.image
      image = self.embeddings if own else self.encoded(image)
      normalisation = None
    return feed.Feed(
      image,
      columns or {},
      self.mesh,
      device_budget_bytes=budget,
      normalisation=normalisation,
    )

  def _own_feed(self) -> feed.Feed:
    """A feed of the galaxies of the run, which the devices need often."""
    gib = self.config.data.device_budget_gib
    budget = gib * 2**30 if gib >= 0 else None
    found = self.feed_of(self.dataset.image, self.columns.given, budget=budget)
    if not found.on_device and not sharding.are_cpus(self.mesh):
      say(
        f"the pixels of {found.size:,} galaxies are more than the "
        f"{found.budget_bytes / 2**30:.3g} GiB of a device that they may take "
        "(data.device_budget_gib): they come from the host as they are needed"
      )
    return found

  def encoded(self, image: pixels.Images) -> np.ndarray:
    """What the head gets to see of any galaxies, f32[N,F].

    Raises:
      UserError: for a network that ends in no dense layer.
    """
    network = self.encoder
    galaxies = feed.Feed(
      image,
      {},
      self.mesh,
      device_budget_bytes=0,
      normalisation=self.normalisation,
    )
    try:
      return problems.features_of(
        network.apply_fn or self.apply_fn,
        network,
        galaxies,
        np.arange(len(image)),
      )
    except ValueError as error:
      name = self.config.model.name
      raise UserError(f"model.name is {name}: {error}.") from None

  @cached_property
  def embeddings(self) -> np.ndarray:
    """`encoded` of all galaxies of the run, f32[N,F], see `embeddings`."""
    return embeddings.kept(self)

  @cached_property
  def encoder(self) -> problems.Network:
    """The network whose features are `encoded`: the original.

    With `model.frozen` as it is before training: pretrained, or random.
    """
    if not self.config.model.frozen:
      return self.network("original")
    model = self._whole_model(1, ())
    apply_fn = models.make_apply_fn(model)
    variables = models.init_variables(
      model, jax.random.key(self.config.seed), self.config.data.size
    )
    return problems.Network(
      "encoder", *self._with_weights(variables), apply_fn=apply_fn
    )

  @property
  def normalisation(self) -> augment.Normalisation:
    """What the network's input gets, see `data.normalise`."""
    kind = weights.normalisation(self.config)
    if kind == "training":
      return augment.Normalisation(*map(tuple, self.prepared["normalisation"]))
    return augment.NORMALISATIONS[kind]

  @property
  def problem(self) -> problems.Problem:
    """Everything that methods, scores and studies may know by now."""
    problem = self._problem
    if not self._scores.exists():
      return problem
    suspects = self.suspects
    if self.is_repair or self.config.unlearn.suggestions == "audit":
      columns = self.columns._replace(mended=self._suggested(suspects))
      problem = problem._replace(columns=columns)
    if self.is_repair:
      problem = problem._replace(
        unseen=self._unlearned(suspects), review=self._review(suspects)
      )
    return problem

  @cached_property
  def _problem(self) -> problems.Problem:
    config = self.config
    return problems.Problem(
      apply_fn=self.apply_fn,
      target=self.target,
      feed=self._own_feed(),
      columns=self.columns,
      sets=self.sets,
      fresh=self._fresh(),
      unseen=self._unseen(),
      seed=config.seed,
      batch_size=config.unlearn.batch_size,
      forget_batch_size=config.unlearn.forget_batch_size,
      augmentation=self.recipe("train").augmentation,
      review=problems.Review() if self.is_repair else None,
    )

  def _fresh(self) -> tuple[PyTree, PyTree]:
    """The network before training: fresh, or pretrained with a fresh head."""
    variables = self._init(jax.random.key(self.config.seed))
    if self.config.model.frozen:
      return sharding.spread(self.mesh, variables)
    return self._with_weights(variables)

  def _with_weights(
    self, variables: tuple[PyTree, PyTree]
  ) -> tuple[PyTree, PyTree]:
    if self.config.model.weights:
      variables = weights.load(self.config, *variables)
    return sharding.spread(self.mesh, variables)

  def _init(self, key: jax.Array) -> tuple[PyTree, PyTree]:
    """Fresh (params, batch_stats)."""
    config = self.config
    shape = self.embeddings.shape[1:] if config.model.frozen else ()
    return models.init_variables(self._model, key, config.data.size, shape)

  def _unseen(self) -> problems.Unseen:
    """Wrong labels of test galaxies, other draws than those of training.

    None where nobody flipped any, or where the wrong ones are told by a mark.
    """
    if self.is_repair or labels_and_flips.mark(self.config):
      return problems.Unseen(np.arange(0), np.arange(0))
    test, data = self.sets.test, self.dataset
    model = labels_and_flips.flip_model(
      self.config, self.classes, self.data_seed + 1
    )
    found = labels_and_flips.find_labels(self.config, data)
    evidence = labels_and_flips.evidence(self.config, data, found).select(test)
    drawn = noise.wrong_labels(model, self.labels("true_label")[test], evidence)
    return problems.Unseen(test[drawn.rows], drawn.wrong)

  def _unlearned(self, suspects: pd.DataFrame) -> problems.Unseen:
    """Labels of validation and test that are probably wrong, as given."""
    verdict = self.reviewed["verdict"]
    suspected = suspects["is_label_issue"] & (verdict == "")
    held_out = self.split["split"] != "train"
    rows = np.flatnonzero(held_out & (suspected | (verdict == "wrong")))
    return problems.Unseen(rows, self.columns.given["label"][rows])

  def _review(self, suspects: pd.DataFrame) -> problems.Review:
    """What is known of the labels instead of the right ones."""
    forget, said = self.sets.forget, self.reviewed
    held_out = (self.split["split"] != "train").to_numpy()
    corrected = (said["corrected_label"] != "").to_numpy()
    looked_at = corrected | (said["verdict"] == "right").to_numpy()
    target = None
    # The features of one network have learned the labels, its new heads not.
    if self.config.audit.kind == "folds" and len(forget):
      still_given = suspects["predicted"] == suspects["given_label"]
      target = float(still_given.to_numpy()[forget].mean())
    return problems.Review(
      target, forget[corrected[forget]], np.flatnonzero(held_out & looked_at)
    )

  @property
  def largest_batch(self) -> int:
    """Galaxies of the retain set that a step takes, at most."""
    rows = {name: self.row(name) for name in self.config.unlearn.methods}
    retraining = (
      self.recipe(name).batch_size
      for name, row in rows.items()
      if row.make and not row.keeps_all
    )
    return max((self.config.unlearn.batch_size, *retraining))

  def recipe(self, folder: str) -> Recipe:
    """How networks in "train", "audit" or "retrain" are trained."""
    recipe = self.config.train.copy_and_resolve_references()
    if folder == "audit":
      recipe.update(self.config.audit.train)
    elif folder != "train":
      recipe.update(self.config.unlearn[folder])
    values = recipe.to_dict()
    known = {key: values.pop(key) for key in Recipe._fields if key in values}
    if self.config.model.frozen:  # it sees each galaxy once, as it is
      known.update(augment.NO_AUGMENTATION._asdict())
    return Recipe(**known, settings=values)

  @cached_property
  def apply_fn(self) -> ApplyFn:
    """The network as a pure function."""
    return models.make_apply_fn(self._model)

  def row(self, name: str) -> Row:
    """The row of METHODS that makes the network of a name."""
    section = self.config.unlearn.get(name, {})
    return METHODS[section.get("method", name)]

  def learned_by(self, name: str) -> problems.Rows:
    """Training galaxies that a network learns which is trained from scratch."""
    keeps_all = self.row(name).keeps_all
    return self.sets.train if keeps_all else self.sets.retain

  def place(self, name: str) -> Path:
    """Where the results about a network lie."""
    return {
      "original": self.workdir.root / "train",
      "reference": self.results / name,
    }.get(self.row(name).role, self.results / "unlearn" / name)

  def is_made(self, name: str) -> bool:
    """Whether the network of a name is finished."""
    made = self.row(name).make is not None
    last = "dynamics.parquet" if made else "health.json"
    return (self.place(name) / last).exists()

  def network(self, name: str) -> problems.Network:
    """The network that a stage left, or one that needs no training.

    UserError if no stage has left one, or one that was made from something
    else.
    """
    row, place = self.row(name), self.place(name)
    if row.make and row.role == "baseline":
      return row.make(self.problem, None, name=name)
    origin.check(place, origin.of(self, name))
    # No weights are drawn or read.
    shapes = jax.eval_shape(self._init, jax.random.key(0))
    placed = sharding.replicated(self.mesh)
    params, batch_stats = jax.tree.map(
      lambda x: x.update(sharding=placed), shapes
    )
    like = {"params": params, "batch_stats": batch_stats}
    with Checkpoints(place / "checkpoints") as checkpoints:
      found = checkpoints.networks(like, best=self._is_best(name))
    if found is None:
      raise UserError(
        f"{place} holds no checkpoint: run the stage that makes it first, or "
        "leave out --stage."
      )
    report = read_json(place / "health.json")
    spent = report or read_json(place / "cost.json") or {}
    return problems.Network(
      name,
      *found,
      cost=cost_of(spent),
      role=row.role,
      report=report,
    )

  def digest(self, name: str) -> str:
    """Of the numbers of the network that a stage left; "" of a baseline."""
    if self.row(name).role == "baseline":
      return ""
    with Checkpoints(self.place(name) / "checkpoints") as checkpoints:
      return checkpoints.digest(best=self._is_best(name))

  def _is_best(self, name: str) -> bool:
    """Whether the checkpoint of a network is the best one, not the last."""
    if self.row(name).make:
      return self.recipe(self.place(name).name).select == "best"
    return self.config.unlearn[name].rewind

  def names(self) -> list[str]:
    """All networks of the run, in the order of the scoreboard."""
    names = [name for name, row in METHODS.items() if row.given]
    names += self.config.unlearn.methods
    order = ("baseline", "original", "reference", "method")
    return sorted(names, key=lambda name: order.index(self.row(name).role))

  @cached_property
  def _model(self):
    if self.config.model.frozen:
      dropout = max(0.0, self.config.model.dropout)
      return models.Head(self.target.outputs, dropout)
    questions = self.target.tree.questions
    return self._whole_model(
      self.target.outputs, tuple(len(q.answers) for q in questions)
    )

  def _whole_model(self, outputs: int, questions: tuple[int, ...]):
    model = self.config.model
    settings = models.NETWORKS.take(model.name, model)
    return models.build(model.name, outputs, questions, **settings)
