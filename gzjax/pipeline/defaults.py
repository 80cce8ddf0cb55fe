"""Every config key: its default, its meaning, and which values are right.

Settings of rows of a table are declared where the rows are; others in `KEYS`.
"""

from collections.abc import Iterator, Mapping
import shlex
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import ml_collections

from gzjax import models
from gzjax.audit import ranking
from gzjax.data import builders
from gzjax.data.galaxy_catalog.fits_images import Extension
from gzjax.evaluation import health
from gzjax.files import to_json
from gzjax.morphology import labels, noise, splits
from gzjax.objectives import kinds, losses
from gzjax.registry import (
  MANY,
  AboveZero,
  Natural,
  NonNegative,
  Positive,
  Range,
  Rule,
  Share,
  Table,
  choose,
  holds,
)
from gzjax.training import optim
from gzjax.unlearning import table
from gzjax.unlearning.methods import METHODS

_LARGEST = 8192  # edge of an image, pixels
Folds = Annotated[int, Range(2, MANY)]
Names = tuple[str, ...]
Seeds = Annotated[
  tuple[Natural, ...],
  Rule(
    lambda x: len({*x}) == len(x), "name whole numbers from 0 on, each once"
  ),
]
LayerRates = Annotated[
  tuple[Any, ...],
  Rule(
    lambda x: all(_is_rate(pair) for pair in x),
    "give pairs such as (('block_', 0.1),)",
  ),
]


def _is_rate(pair: Any) -> bool:
  if not isinstance(pair, tuple | list) or len(pair) != 2:
    return False
  prefix, factor = pair
  return isinstance(prefix, str) and holds(factor, NonNegative)


class Key(NamedTuple):
  """A key of the config."""

  default: Any
  meaning: str  # with its unit
  values: Any = Any  # an annotation, see `registry.check`
  # Whose names are its values, beside those of `values`, and whose settings
  # stand in the same section.
  table: Table | None = None

  @property
  def annotation(self) -> Any:
    """Of the values that are right now."""
    if self.table is None:
      return self.values
    names = (*get_args(self.values), *self.table)
    return Annotated[str, Rule(lambda x: x in names, choose(names))]

  @property
  def words(self) -> str:
    """The meaning, and what may be chosen."""
    literal = get_origin(self.values) is Literal
    choices = get_args(self.values) if literal else ()
    names = ", ".join(map(str, (*choices, *(self.table or ()))))
    return f"{self.meaning}: {names}" if names else self.meaning


KEYS = {
  "seed": Key(0, "of all that is random", Natural),
  "seeds": Key(
    (), "several: a whole run each in seed_<n>/, and their mean", Seeds
  ),
  "data.builder": Key(
    "galaxy_catalog", "reader of the galaxies", table=builders.READERS
  ),
  "data.crop": Key(
    0,
    "edge of the central crop, original pixels; 0: whole; not with crop_column",
    Annotated[int, Range(0, _LARGEST)],
  ),
  "data.seed": Key(
    -1,
    "of the sky, the split and the flips; -1: seed",
    Annotated[int, Range(0, MANY, or_else=-1)],
  ),
  "data.size": Key(
    64,
    "edge of the network's input, pixels",
    Annotated[int, Range(1, _LARGEST)],
  ),
  "data.normalise": Key(
    "weights",
    "whose mean and deviation the input's channels get; weights: what the "
    "pretrained ones want, and imagenet without any; unit: 0 and 1",
    Literal["weights", "imagenet", "unit", "training"],
  ),
  "data.split": Key(
    (0.7, 0.15, 0.15), "shares of train, validation, test", splits.Shares
  ),
  "data.split_by": Key(
    "label",
    "each class is split by itself; or every galaxy by its name, so that "
    "networks of other labels can be compared on the same galaxies",
    Literal["label", "id"],
  ),
  "data.device_budget_gib": Key(
    -1.0,
    "pixels that take less, GiB, live on each device, others come from the "
    "host as they are needed; -1: half of an accelerator's memory",
    Annotated[float, Range(0, MANY, or_else=-1)],
  ),
  "labels.kind": Key(
    "column",
    "how the votes become classes; column: labels as recorded",
    Literal["column"],
    labels.SCHEMES,
  ),
  "labels.classes": Key((), "keep these only; (): all", Names),
  "flips.kind": Key("uniform", "how labels go wrong", table=noise.NOISE_MODELS),
  # The network then never learns what it is to forget.
  "flips.after_training": Key(
    False,
    "train on right labels and flip them afterwards, as the preprint did",
    bool,
  ),
  "target.kind": Key(
    "classes",
    "what the network learns; all but classes: of a decision tree",
    table=kinds.TARGETS,
  ),
  "target.questions": Key(
    (), "of the tree; (): all, for labels those of the slides' ten", Names
  ),
  "model.name": Key("resnet34", "the network", table=models.NETWORKS),
  "model.weights": Key(
    "",
    "pretrained: a file of torch or safetensors, hub:OWNER/REPO, or Zoobot's: "
    "zoobot:convnext_nano",
    str,
  ),
  "model.frozen": Key(
    False,
    "the head alone learns: all galaxies go through the rest once, as they "
    "are, without the random views of train",
    bool,
  ),
  "train.epochs": Key(20, "passes over the training set", Positive),
  "train.batch_size": Key(64, "galaxies in a step", Positive),
  "train.steps_per_epoch": Key(0, "0: as many as the galaxies fill", Natural),
  "train.balanced_to": Key(
    0,
    "0: as they are; else galaxies in an epoch, the same number of each class",
    Natural,
  ),
  "train.optimizer": Key("adamw", "the optimizer", table=optim.OPTIMIZERS),
  "train.learning_rate": Key(1e-3, "the peak", NonNegative),
  "train.warmup_epochs": Key(
    1.0, "in which the rate rises from 0", NonNegative
  ),
  "train.schedule": Key(
    "cosine", "of the learning rate after the warm-up", table=optim.SCHEDULES
  ),
  "train.frozen_epochs": Key(0, "in which only the head learns", Natural),
  "train.layer_decay": Key(
    1.0,
    "rate of each layer over that of the next one",
    Annotated[float, Range(0, 1, above=True)],
  ),
  "train.layer_rates": Key(
    (),
    "pairs of the beginning of a layer's name and a factor for its rate",
    LayerRates,
  ),
  "train.loss": Key("cross_entropy", "of classes", table=losses.LOSSES),
  "train.class_weights": Key(
    "none", "of the loss, by the sizes of classes", table=losses.CLASS_WEIGHTS
  ),
  "train.select": Key(
    "last",
    "the checkpoint; best: on validation, by balanced accuracy (classes) or "
    "loss (votes)",
    Literal["last", "best"],
  ),
  "train.rotation": Key(
    180.0,
    "degrees either way; 180 is any angle",
    Annotated[float, Range(0, 180)],
  ),
  "train.flip": Key(True, "whether mirror images are seen, too", bool),
  "train.zoom": Key(
    1.1, "between 1/zoom and zoom", Annotated[float, Range(1, 4)]
  ),
  "train.shift": Key(
    0.05, "largest, of the image", Annotated[float, Range(0, 0.5)]
  ),
  "audit.kind": Key(
    "features",
    "what did not learn the labels: networks, each trained without a part of "
    "them; or, cheaply, only the head of the one that there is",
    Literal["folds", "features"],
  ),
  "audit.folds": Key(5, "parts, so that each label is left out once", Folds),
  "audit.train": Key({}, "keys of train that these networks change"),
  "audit.score": Key(
    ranking.DEFAULT,
    "by which labels are ranked; auto: the consensus of volunteers and "
    "networks where there are votes for the classes, else posterior_margin",
    table=ranking.SCORES,
  ),
  "audit.false_discovery": Key(
    0.2, "share of right labels among those that are called wrong", Share
  ),
  "audit.neighbours": Key(10, "with the same look, of each galaxy", Positive),
  "audit.reviewed": Key(
    300, "most suspicious labels on the page for review", Natural
  ),
  "unlearn.methods": Key(
    ("retrain",), "rows of the scoreboard, sections of unlearn", Names
  ),
  "unlearn.batch_size": Key(64, "of the retain set", Positive),
  "unlearn.fisher.kind": Key(
    "empirical", "of the Fisher", Literal["empirical", "true", "sampled"]
  ),
  "unlearn.fisher.estimator": Key(
    "exact",
    "of the Fisher's diagonal",
    Literal["exact", "vmap", "signs", "batch_mean"],
  ),
  "unlearn.fisher.microbatch": Key(0, "examples at once; 0: best", Natural),
  "unlearn.forget_batch_size": Key(
    0, "of methods with both sets; 0: batch_size", Natural
  ),
  "unlearn.discovered": Key(
    1.0, "share of the wrong labels that is known", noise.Known
  ),
  "unlearn.least_learned": Key(
    health.LEAST_LEARNED,
    "methods are not run where the original gives the labels to forget by less "
    "than this more often than networks that never saw them; 0: always",
    Share,
  ),
  "unlearn.suggestions": Key(
    "true",
    "labels for relabel: true ones, or the audit's",
    Literal["true", "audit"],
  ),
  "unlearn.retrain": Key(
    {}, "keys of train that real retraining changes; none: the same recipe"
  ),
  "unlearn.elr.loss": Key(
    "early_learning",
    "of the row elr, a training on all labels that resists wrong ones; other "
    "keys of train may be changed for it, too",
    Literal["early_learning"],
  ),
  "unlearn.retrain_elr.loss": Key(
    "early_learning",
    "of the row retrain_elr, the same without the wrong labels that are known",
    Literal["early_learning"],
  ),
  "evaluate.views": Key(
    1,
    "of each galaxy, whose logits are averaged: quarter turns, and their "
    "mirror images",
    Literal[1, 4, 8],
  ),
  "evaluate.uncertain_below": Key(
    0.0,
    "networks of classes call galaxies uncertain where no class has this "
    "probability; 0: never",
    Share,
  ),
  "evaluate.relearn_epochs": Key(
    10,
    "relearn time of every row: at most so many passes over the forget set; 0: "
    "not measured",
    Natural,
  ),
  "evaluate.relearn_learning_rate": Key(1e-4, "of these passes", NonNegative),
  "stabiliser.stabilisers": Key(
    (1e-8, 1e-6, 1e-4, 1e-2, 1.0),
    "of the stage stabiliser, not part of all",
    tuple[AboveZero, ...],
  ),
  "stabiliser.noise_scales": Key(
    (1e-4, 1e-3, 1e-2, 1e-1),
    "of the stage stabiliser",
    tuple[NonNegative, ...],
  ),
  "discovery.shares": Key(
    (0.1, 0.25, 0.5, 0.75, 1.0),
    "of the wrong labels that are known, in the stage discovery, not part of "
    "all",
    tuple[noise.Known, ...],
  ),
  "discovery.methods": Key(
    ("retrain", "negative_learning", "reinit_head"),
    "of the stage discovery",
    Names,
  ),
  "plane.noise": Key(
    ("uniform", "confusable", "trigger"),
    "how labels go wrong, in the stage plane, not part of all; shares and "
    "methods are those of discovery",
    Annotated[
      Names,
      Rule(
        lambda x: all(name in noise.NOISE_MODELS for name in x),
        choose(tuple(noise.NOISE_MODELS)),
      ),
    ],
  ),
  "similar.id": Key("", "galaxy that others look like; --id sets it, too", str),
  "similar.neighbours": Key(
    10, "that are found, and by which the oddest are told", Positive
  ),
  "predict.features": Key(
    False,
    "write what the head of the original sees of each galaxy, too",
    bool,
  ),
  "predict.catalog": Key(
    "",
    "other galaxies, which need no labels: a table, a folder of images, class "
    "folders, parquet with images inside, HDF5",
    str,
  ),
  "predict.skip_bad": Key(
    False,
    "leave out those whose images cannot be used, as with data.skip_bad",
    bool,
  ),
  "predict.images": Key("", 'folder of a table\'s images; "" is its own', str),
  "predict.id_column": Key(
    "", 'of their names; "": as in the run, or found', str
  ),
  "predict.file_column": Key(
    "", 'of their image files; "": as in the run, or found', str
  ),
  "predict.file_pattern": Key("", 'see data.file_pattern; "": found', str),
  "predict.crop_column": Key(
    "", 'see data.crop_column; "": as in the run', str
  ),
  "predict.crop": Key(
    -1,
    "see data.crop; their cut-outs may have another scale; -1: as in the run",
    Annotated[int, Range(0, _LARGEST, or_else=-1)],
  ),
  "predict.fits_planes": Key(
    "", 'see data.fits_planes; "": as in the run', str
  ),
  "predict.fits_extensions": Key(
    (), "see data.fits_extensions; (): as in the run", tuple[Extension, ...]
  ),
  "predict.method": Key(
    "recommended", "the network: that of the verification, or a row", str
  ),
  "predict.shown": Key(8, "galaxies that are printed", Natural),
  "profile.what": Key(
    ("train",),
    "whose steps are profiled, in the stage profile, not part of all: train, "
    "fisher, or methods by their rows",
    Names,
  ),
  "profile.steps": Key(
    10, "that are timed, and so many again that are traced", Positive
  ),
  "report.gallery": Key(24, "galaxies shown for each method", Natural),
}


def keys() -> dict[str, Key]:
  """All keys but those of methods, which have a section each."""
  found = {}
  for name, key in KEYS.items():
    found[name] = key
    section, rows = name.rpartition(".")[0], key.table or Table({})
    for row in rows:
      said = rows.meanings(row)
      for setting, keyword in rows.keywords(row).items():
        own = Key(keyword.default, said[setting], keyword.annotation)
        found.setdefault(f"{section}.{setting}", own)
  found["unlearn.methods"] = KEYS["unlearn.methods"]._replace(
    default=tuple(
      name for name, row in METHODS.items() if not (row.given or row.needs_ties)
    )
  )
  return found


def get_config() -> ml_collections.ConfigDict:
  """The config that every experiment starts from."""
  return complete(ml_collections.ConfigDict())


def as_json() -> dict[str, Any]:
  """The same as a record has it: where keys that it lacks stood at."""
  return to_json(get_config().to_dict())


def complete(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The same config with the keys that it lacks, such as of rows of yours."""
  systems = config.systems.values() if "systems" in config else (config,)
  for part in systems:
    with part.unlocked():
      for name, key in keys().items():
        _add(part, name, key.default)
      for name in _methods():
        _add(part, f"unlearn.{name}", method_section(name))
  return config


def _add(config: ml_collections.ConfigDict, name: str, value: Any) -> None:
  *sections, last = name.split(".")
  for section in sections:
    if section not in config:
      config[section] = ml_collections.ConfigDict()
    config = config[section]
  if last not in config:
    config[last] = value


def meanings() -> dict[str, str]:
  """What each key of the config means, by its full name."""
  return {name: key.words for name, key in keys().items()} | {
    f"unlearn.{name}.{key}": words
    for name in _methods()
    for key, words in table.meanings(name).items()
  }


def _methods() -> list[str]:
  """Rows that are steps from the original, and so have settings."""
  return [name for name, row in METHODS.items() if not row.make]


def method_section(name: str) -> ml_collections.ConfigDict:
  """The keys of a method with their defaults, to put under config.unlearn."""
  settings = table.default_settings(name)
  return ml_collections.ConfigDict({"method": name, **settings})


def as_flags(config: ml_collections.ConfigDict) -> Iterator[str]:
  """A paragraph for each section: flags to copy, defaults and meanings."""
  usual, said = dict(flat(get_config().to_dict())), meanings()
  section = None
  for name, value in flat(config.to_dict()):
    if (found := name.rpartition(".")[0]) != section:
      section = found
      yield f"\n# {section or 'the run'}"
    # The key of a system of a comparison is as a run of its own has it.
    own = name.split(".", 2)[2] if name.startswith("systems.") else name
    notes = []
    if own in usual and usual[own] != value:
      notes.append(f"default {_text(usual[own])}")
    if own in said:
      notes.append(said[own])
    flag = f"--config.{name}={_text(value)}"
    yield f"{flag}  # {'; '.join(notes)}" if notes else flag


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple]:
  """All keys by their full names and their values, in their order."""
  for name, value in config.items():
    if not isinstance(value, Mapping):
      yield f"{prefix}{name}", value
  for name, value in config.items():
    if isinstance(value, Mapping):
      yield from flat(value, f"{prefix}{name}.")


def _text(value: Any) -> str:
  if isinstance(value, str):
    return shlex.quote(value)
  return f'"{value}"' if isinstance(value, tuple) else repr(value)
