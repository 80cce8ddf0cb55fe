"""Few votes a galaxy: what volunteers and networks say together.

    python -m benchmarks.audit --votes --seeds=0,1,2,3,4

Each galaxy of a sky is seen by 5 volunteers of GZD-5, who answer its first
question by the laws of `gzjax.sky.volunteers`; their majority is the given
label (ties are drawn). Networks in folds learn one of three things:

* majority: these labels.
* votes: how many gave each answer (`gzjax.objectives.targets.counts`).
* classes: the right classes, --fraction of them made wrong, as where the labels
  are not those of the volunteers.

Right is once the class of the galaxy, and once what endlessly many of the
volunteers would say: blurred features are missed by all of them, and by the
networks that have learned from them. Printed are, for both, how often majority,
network, consensus (CROWDLAB), favourite (`gzjax.audit.favourites`), the product
of votes and network (`volunteers.dawid_skene`) and, of the networks of votes,
the conjugate form are right; how well disagreement of the volunteers and the
others tell wrong majorities (area under the ROC curve); and the number of these
beside `gzjax.audit.estimate` of the network and `gzjax.audit.expected` of
favourites and product.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from sklearn import metrics

from benchmarks import audit_trials
from benchmarks.audit_trials import CLASSES, Galaxies, Heard
from gzjax.audit import endless, how_many, volunteers
from gzjax.files import write_table
from gzjax.morphology import noise
from gzjax.morphology.campaigns import GZD_5
from gzjax.objectives import targets
from gzjax.sky import volunteers as crowds

VOTES = 5
LEARNED = ("majority", "votes", "classes")


class Voted(NamedTuple):
  """A sky, and what its volunteers say."""

  galaxies: Galaxies
  counts: np.ndarray  # i64[N,3], votes
  favourite: np.ndarray  # i64[N], of endlessly many volunteers
  majority: np.ndarray  # i32[N]

  @property
  def truths(self) -> dict[str, np.ndarray]:
    """What is right, i[N], by name."""
    return {"class": self.galaxies.label, "endless votes": self.favourite}


def ask(seed: int, count: int, size: int) -> Voted:
  """A sky and the votes of 5 volunteers a galaxy."""
  label = audit_trials.labels(seed, count)
  _, tally = crowds.vote_all(seed, label, GZD_5)
  law = tally.concentration[:, GZD_5.slices[0]].astype(np.float64)
  rng = np.random.default_rng([seed, VOTES])
  # What each crowd would say: normalised gammas are a Dirichlet draw.
  shares = rng.gamma(law)
  shares /= shares.sum(axis=1, keepdims=True)
  counts = rng.multinomial(VOTES, shares)
  most = np.argmax(counts + rng.random(counts.shape) / 2, axis=1)
  galaxies = Galaxies(audit_trials.pictures(seed, label, size), label)
  return Voted(galaxies, counts, shares.argmax(axis=1), most.astype(np.int32))


def measured(seed: int, options: Any) -> pd.DataFrame:
  """The numbers of a sky, kept or new; `right` and `measure` name them."""
  paths = {
    learned: options.folder / f"votes-{learned}-{seed}.csv"
    for learned in options.learned
  }
  new = [learned for learned, path in paths.items() if not path.exists()]
  voted = ask(seed, options.galaxies, options.how.size) if new else None
  for learned in new:
    rows = measure(_heard(voted, learned, seed, options), voted)
    found = pd.DataFrame(rows, columns=["right", "measure", "value"])
    found.insert(0, "learned", learned)
    write_table(paths[learned], found.assign(**audit_trials.stamp()))
  return pd.concat(map(pd.read_csv, paths.values())).assign(seed=seed)


def _heard(voted: Voted, learned: str, seed: int, options: Any) -> Heard:
  """What networks say that have learned one of `LEARNED`."""
  label, target = voted.majority, None
  if learned == "classes":
    model = noise.FlipModel(
      "uniform", CLASSES, seed, {"fraction": options.fraction}
    )
    right = voted.galaxies.label
    label = noise.flip_labels(model, right, noise.Evidence()).astype(np.int32)
  elif learned == "votes":
    tree = targets.classes(CLASSES).tree
    target = targets.counts(tree, range(len(CLASSES)))
  problem = audit_trials.make_problem(
    voted.galaxies, label, options.how, seed, target
  )
  entries = {"label": label, "votes": voted.counts.astype(np.float32)}
  place = options.folder / f"votes-{learned}-{seed}"
  return audit_trials.by_folds(problem, entries, options.how, place)


def measure(heard: Heard, voted: Voted) -> Iterator[tuple[str, str, float]]:
  """Numbers by what is right and by what is measured."""
  found, given = heard.evidence, voted.majority
  p, rows = found.probabilities, np.arange(len(given))
  weighed = volunteers.consensus(voted.counts, p)
  endlessly = endless.favourites(voted.counts, p)
  both = volunteers.dawid_skene(voted.counts, p)
  say = {
    "majority": given,
    "network": p.argmax(axis=1),
    "consensus": weighed.label,
    "favourite": endlessly.argmax(axis=1),
    "dawid_skene": both.argmax(axis=1),
  }
  law = found.votes.concentration if found.votes else None
  if law is not None:
    say["conjugate"] = volunteers.conjugate(voted.counts, law).argmax(axis=1)
  doubts = {
    "disagreement": 1 - voted.counts[rows, given] / VOTES,
    "consensus": 1 - weighed.posterior[rows, given],
    "favourite": 1 - endlessly[rows, given],
    "dawid_skene": 1 - both[rows, given],
  }
  numbers = {
    "network": how_many.estimate(p, given),
    "favourite": how_many.expected(endlessly, given),
    "dawid_skene": how_many.expected(both, given),
  }
  for right, label in voted.truths.items():
    wrong = given != label
    for name, said in say.items():
      yield right, f"{name} right", np.mean(said == label)
    for name, doubt in doubts.items():
      yield right, f"AUROC, {name}", metrics.roc_auc_score(wrong, doubt)
    yield right, "wrong", wrong.sum()
    for name, number in numbers.items():
      low, high = number.wrong_low, number.wrong_high
      yield right, f"number, {name}", number.wrong
      yield right, f"low, {name}", low
      yield right, f"high, {name}", high
      yield right, f"holds, {name}", float(low <= wrong.sum() <= high)
    yield right, "seconds", heard.seconds


def show(table: pd.DataFrame, console: Console) -> None:
  """Prints means over seeds of the numbers of `measured`."""
  for right, part in table.groupby("right", sort=False):
    title = f"right: {right}, {VOTES} votes a galaxy"
    audit_trials.show(console, title, part, "measure", "learned")
