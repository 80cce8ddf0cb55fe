"""Simulated volunteers who vote on a synthetic sky, as in GZ2 or in GZD-5.

What careful observers would answer follows from a scene's parameters and from
how well they see it: distance blurs and dims the picture, so that features are
missed and neighbours taken for mergers, the classification bias of Willett et
al. (2013). Volunteers vary about that as a Dirichlet-multinomial law has it
(Walmsley et al. 2022).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZD_5
from gzjax.morphology.trees import Tree
from gzjax.sky.scene import Scene, chunks, galaxy_keys, observe, sample_scenes

# The logits of a choice between features and none: how plain a feature of
# strength 1 is, and at which strength it is as often seen as not.
_PLAIN, _SEEN_HALF = 9.0, 0.3
# How much of each odd feature counts as a feature of the galaxy itself.
_ODD_IS_FEATURE = (0.9, 0.2, 0.7, 0.9, 0.5, 0.3, 0.5)
# How much of a clumpy galaxy looks disturbed.
_CLUMPS_DISTURB = 0.6


class Sight(NamedTuple):
  """How well a scene is seen; each field is f32[]."""

  blur: jax.Array  # standard deviation, half-light radii
  contrast: jax.Array  # 0 to 1: what is left of the strength of a feature
  crowding: jax.Array  # 0 to 1: how easily neighbours look like mergers


class Tally(NamedTuple):
  """What is asked and answered about a galaxy; fields f32[A], as the tree's."""

  true_shares: jax.Array  # conditional, seen without blur and dimming
  perceived_shares: jax.Array  # conditional, seen from here
  concentration: jax.Array  # of the Dirichlet laws of the volunteers
  counts: jax.Array  # votes, integers


class Crowd(NamedTuple):
  """How many volunteers see a share of the galaxies, all numbers alike."""

  share: float
  fewest: int
  most: int


class Campaign(NamedTuple):
  """Who votes through a tree, and the questions that are its own."""

  crowds: tuple[Crowd, ...]  # their shares sum to 1
  # Of (scene, sight, axis ratio as seen): conditional shares by question.
  answers: Callable[[Scene, Sight, jax.Array], dict[str, jax.Array]]


def clear_sight() -> Sight:
  """A scene seen from close by with a perfect telescope."""
  return Sight(jnp.float32(0), jnp.float32(1), jnp.float32(0))


def sight(scene: Scene) -> Sight:
  """How well a scene is seen from here."""
  view = observe(scene)
  sharp = jax.nn.sigmoid(-5 * jnp.log(view.blur / 0.24))
  bright = jax.nn.sigmoid(2.5 * jnp.log(view.brightness / 5))
  return Sight(view.blur, sharp * bright, 4 * scene.redshift)


def answer_shares(scene: Scene, seen: Sight, tree: Tree = GZ2) -> jax.Array:
  """Conditional shares of careful observers, f32[A] as `tree.answers`."""
  # Blur makes everything rounder.
  ratio = jnp.sqrt((scene.axis_ratio**2 + seen.blur**2) / (1 + seen.blur**2))
  shares = {
    "smooth-or-featured": _smooth_or_featured(scene, seen, ratio),
    "disk-edge-on": _yes_no(25 * (0.29 - ratio)),
    "has-spiral-arms": _feature(scene.arms, seen, ratio),
    "how-rounded": _nearest(ratio, (0.92, 0.6, 0.28), 0.12),
    "spiral-winding": _nearest(
      scene.arm_pitch, (0.16, 0.32, 0.52), 0.06 + 0.08 * (1 - seen.contrast)
    ),
    "spiral-arm-count": _arm_count(scene, seen),
    **CAMPAIGNS[tree.name].answers(scene, seen, ratio),
  }
  return jnp.concatenate([shares[question.name] for question in tree.questions])


def vote(key: jax.Array, scene: Scene, tree: Tree = GZ2) -> Tally:
  """Asks the volunteers of a campaign, who walk through the tree one by one.

  The concentration of an answer is 1 plus its share times how much the
  volunteers agree, so that it lies between 1 and 101 as in Walmsley et al.
  (2022), and no answer is impossible. 36 to 54 people look at each galaxy of
  Galaxy Zoo 2; in GZD-5 34 to 46 look at 40% of the galaxies, and 3 to 8 at the
  others, as its numbers of votes cluster around 5 or 40 (same source).
  """
  crowd_key, agree_key, vote_key = jax.random.split(key, 3)
  agreement = jax.random.uniform(
    agree_key, (len(tree.questions),), minval=25.0, maxval=95.0
  )
  perceived = answer_shares(scene, sight(scene), tree)
  concentration = 1 + agreement[tree.question_of] * perceived
  volunteers = _crowd_size(crowd_key, CAMPAIGNS[tree.name].crowds)
  return Tally(
    true_shares=answer_shares(scene, clear_sight(), tree),
    perceived_shares=perceived,
    concentration=concentration,
    counts=count_votes(vote_key, concentration, volunteers, tree),
  )


def count_votes(
  key: jax.Array,
  concentration: jax.Array,
  volunteers: jax.Array,
  tree: Tree = GZ2,
) -> jax.Array:
  """Dirichlet-multinomial votes that obey the tree, f32[A].

  Each volunteer has an answer to every question, and gives those to the
  questions that the others lead to. So the number of those who are asked is
  the number of votes for the parent answers, exactly. The concentration is
  f32[A], the number of volunteers i32[], at most that of the largest crowd.
  """
  most = max(crowd.most for crowd in CAMPAIGNS[tree.name].crowds)
  share_key, answer_key = jax.random.split(key)
  # Normalised gammas are a Dirichlet draw, and the largest of the logarithms
  # with Gumbel noise is a draw from the categorical law.
  noise = jax.random.gumbel(answer_key, (most, len(tree.answers)))
  opinions = jax.random.loggamma(share_key, concentration)[None] + noise
  answers = [
    jax.nn.one_hot(jnp.argmax(said, axis=1), said.shape[1])
    for said in (opinions[:, part] for part in tree.slices)
  ]
  given = trees.joint(tree, jnp.concatenate(answers, axis=1))
  present = jnp.arange(most) < volunteers
  return jnp.sum(jnp.where(present[:, None], given, 0), axis=0)


def vote_all(
  seed: int, label: np.ndarray, tree: Tree = GZ2
) -> tuple[Scene, Tally]:
  """The truth and the votes of a whole sky, fields f32[N,...] of NumPy.

  The label i[N] are indices of `scene.CLASSES`, the tree is one of `CAMPAIGNS`.
  """
  parts = []
  for count, numbers, labels in chunks(np.arange(len(label)), label):
    scenes = sample_scenes(seed, numbers, labels)
    batch = scenes, _vote_all(seed, numbers, scenes, tree)
    parts.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], batch))
  return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@partial(jax.jit, static_argnames="tree")
def _vote_all(seed, index, scenes, tree):
  one = partial(vote, tree=tree)
  return jax.vmap(one)(galaxy_keys(seed, index)[2], scenes)


def _crowd_size(key, crowds):
  shares, fewest, most = (jnp.array(column) for column in zip(*crowds))
  kind = jax.random.choice(jax.random.fold_in(key, 0), len(crowds), p=shares)
  return jax.random.randint(key, (), fewest[kind], most[kind] + 1)


def _yes_no(logit):
  yes = jax.nn.sigmoid(logit)
  return jnp.stack([yes, 1 - yes])


def _nearest(value, centres, width):
  """Shares of answers that stand in an order, by the distance to each."""
  return jax.nn.softmax(-0.5 * ((value - jnp.array(centres)) / width) ** 2)


def _visible(strength, seen, ratio=1.0):
  """What is seen of a feature; those in a disk hide when it is inclined."""
  return strength * seen.contrast * jnp.sqrt(ratio)


def _feature(strength, seen, ratio):
  return _yes_no(_PLAIN * (_visible(strength, seen, ratio) - _SEEN_HALF))


def _plain_weak_none(strength):
  """Shares of answers in an order, ordered logits (McCullagh 1980): f32[3].

  What is plain or weak is what `_feature` calls a feature.
  """
  steps = jnp.array([2 * _SEEN_HALF, _SEEN_HALF])
  at_least = jax.nn.sigmoid(_PLAIN * (strength - steps))
  return jnp.diff(at_least, prepend=0.0, append=1.0)


def _smooth_or_featured(scene, seen, ratio):
  in_disk = _visible(jnp.maximum(scene.arms, scene.bar), seen, ratio)
  odd = scene.odd_features() * jnp.array(_ODD_IS_FEATURE)
  odd = jnp.max(_visible(odd, seen))
  # A disk from the edge is plain even where it is blurred.
  disk = 1 - scene.bulge_fraction
  thin = disk * jax.nn.sigmoid(16 * (0.33 - ratio)) * (0.3 + 0.7 * disk)
  featured = jnp.maximum(jnp.maximum(in_disk, odd), thin) + 0.1 * disk
  # The fainter the galaxy, the more of the picture is the artifact.
  artifact = jnp.maximum(jnp.maximum(scene.star, scene.trail), scene.fault)
  logits = [
    jnp.float32(0),
    _PLAIN * (featured - _SEEN_HALF),
    -4 + 11 * artifact + 0.8 * (1 - seen.contrast),
  ]
  return jax.nn.softmax(jnp.stack(logits))


def _bulge_size(scene, seen, fractions):
  """Shares of answers whose bulges have these fractions of the light."""
  places = jnp.arange(float(len(fractions)))
  steps = jnp.interp(scene.bulge_fraction, jnp.array(fractions), places)
  # Blurred middles look like bulges.
  fuzzy = 1 - seen.contrast
  steps += 0.4 * fuzzy * ((len(fractions) - 1) / 2 - steps)
  return _nearest(steps, places, 0.4 + 0.3 * fuzzy)


def _seen_companion(scene, seen):
  # Two galaxies are two however blurred, and others stand close from afar.
  return scene.companion + 0.25 * seen.crowding


def _seen_odd(scene, seen):
  """Strengths of the odd features as seen, f32[7]."""
  merger = GZ2.questions[GZ2.question("odd-feature")].answers.index("merger")
  strengths = _visible(scene.odd_features(), seen)
  return strengths.at[merger].set(_seen_companion(scene, seen))


def _is_odd(strength):
  return _yes_no(_PLAIN * (strength - 1.2 * _SEEN_HALF))


def _bulge_shape(scene, seen):
  bulge = 12 * (scene.bulge_fraction - 0.06)
  boxy = 6 * (scene.boxiness * seen.contrast - 0.5)
  return jax.nn.softmax(jnp.stack([bulge, bulge + boxy, jnp.float32(0)]))


def _arm_count(scene, seen):
  fuzzy = 1 - seen.contrast
  count = jnp.minimum(scene.arm_count, 5.0)
  known = _nearest(count, (1.0, 2.0, 3.0, 4.0, 5.0), 0.45 + 0.5 * fuzzy)
  doubt = jax.nn.sigmoid(7 * (scene.flocculence + 0.6 * fuzzy - 0.6))
  return jnp.append((1 - doubt) * known, doubt)


def _merging(scene, seen):
  """Of galaxies that are no mergers, disturbances: f32[4], as GZD-5's."""
  merger, alone = _is_odd(_seen_companion(scene, seen))
  strength = jnp.maximum(scene.disturbance, _CLUMPS_DISTURB * scene.clumps)
  major, minor, none = _plain_weak_none(_visible(strength, seen))
  return jnp.stack([alone * none, alone * minor, alone * major, merger])


def _gz2_answers(scene, seen, ratio):
  odd = _seen_odd(scene, seen)
  return {
    "bar": _feature(scene.bar, seen, ratio),
    "bulge-size": _bulge_size(scene, seen, (0.0, 0.08, 0.25, 0.55)),
    "something-odd": _is_odd(jnp.max(odd)),
    "odd-feature": jax.nn.softmax(6 * odd),
    "bulge-shape": _bulge_shape(scene, seen),
  }


def _gzd_5_answers(scene, seen, ratio):
  # Both trees ask the same of an edge-on bulge, in another order.
  rounded, boxy, none = _bulge_shape(scene, seen)
  return {
    "bar": _plain_weak_none(_visible(scene.bar, seen, ratio)),
    "bulge-size": _bulge_size(scene, seen, (0.0, 0.07, 0.22, 0.45, 0.7))[::-1],
    "edge-on-bulge": jnp.stack([boxy, none, rounded]),
    "merging": _merging(scene, seen),
  }


# By the name of the tree. Later in GZD-5 only the galaxies that active learning
# chose got the full number of votes.
CAMPAIGNS = {
  GZ2.name: Campaign((Crowd(1.0, 36, 54),), _gz2_answers),
  GZD_5.name: Campaign((Crowd(0.6, 3, 8), Crowd(0.4, 34, 46)), _gzd_5_answers),
}
