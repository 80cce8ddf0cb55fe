"""Simulated volunteers who vote on a synthetic sky through GZ2's tree.

What careful observers would answer follows from a scene's parameters and from
how well they see it: distance blurs and dims the picture, so that features are
missed and neighbours taken for mergers, the classification bias of Willett et
al. (2013). Volunteers vary about that as a Dirichlet-multinomial law has it
(Walmsley et al. 2022).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gzjax.data import decision_tree, sky
from gzjax.data.decision_tree import GZ2

_FEWEST, _MOST = 36, 54
# The logits of a choice between features and none: how plain a feature of
# strength 1 is, and at which strength it is as often seen as not.
_PLAIN, _SEEN_HALF = 9.0, 0.3
# How much of each odd feature counts as a feature of the galaxy itself.
_ODD_IS_FEATURE = (0.9, 0.2, 0.7, 0.9, 0.5, 0.3, 0.5)


class Sight(NamedTuple):
  """How well a scene is seen; each field is f32[]."""

  blur: jax.Array  # standard deviation, half-light radii
  contrast: jax.Array  # 0 to 1: what is left of the strength of a feature
  crowding: jax.Array  # 0 to 1: how easily neighbours look like mergers


class Votes(NamedTuple):
  """What is asked and answered about a galaxy; each field is f32[37]."""

  true_shares: jax.Array  # conditional, seen without blur and dimming
  perceived_shares: jax.Array  # conditional, seen from here
  concentration: jax.Array  # of the Dirichlet laws of the volunteers
  counts: jax.Array  # votes, integers


def clear_sight() -> Sight:
  """A scene seen from close by with a perfect telescope."""
  return Sight(jnp.float32(0), jnp.float32(1), jnp.float32(0))


def sight(scene: sky.Scene) -> Sight:
  """How well the scene is seen from here."""
  view = sky.observe(scene)
  sharp = jax.nn.sigmoid(-5 * jnp.log(view.blur / 0.24))
  bright = jax.nn.sigmoid(2.5 * jnp.log(view.brightness / 5))
  return Sight(view.blur, sharp * bright, 4 * scene.redshift)


def answer_shares(scene: sky.Scene, seen: Sight) -> jax.Array:
  """Conditional shares of careful observers, f32[37] as `GZ2.answers`."""
  # Blur makes everything rounder.
  ratio = jnp.sqrt((scene.axis_ratio**2 + seen.blur**2) / (1 + seen.blur**2))
  shares = {
    "smooth-or-featured": _smooth_or_featured(scene, seen, ratio),
    "disk-edge-on": _yes_no(25 * (0.29 - ratio)),
    "bar": _feature(scene.bar, seen, ratio),
    "has-spiral-arms": _feature(scene.arms, seen, ratio),
    "bulge-size": _bulge_size(scene, seen),
    "something-odd": _something_odd(scene, seen),
    "how-rounded": _nearest(ratio, (0.92, 0.6, 0.28), 0.12),
    "odd-feature": _odd_feature(scene, seen),
    "bulge-shape": _bulge_shape(scene, seen),
    "spiral-winding": _nearest(
      scene.arm_pitch, (0.16, 0.32, 0.52), 0.06 + 0.08 * (1 - seen.contrast)
    ),
    "spiral-arm-count": _arm_count(scene, seen),
  }
  return jnp.concatenate([shares[question.name] for question in GZ2.questions])


def vote(key: jax.Array, scene: sky.Scene) -> Votes:
  """Asks 36 to 54 volunteers, who walk through the tree one by one.

  The concentration of an answer is 1 plus its share times how much the
  volunteers agree, so that it lies between 1 and 101 as in Walmsley et al.
  (2022), and no answer is impossible.
  """
  crowd_key, agree_key, vote_key = jax.random.split(key, 3)
  volunteers = jax.random.randint(crowd_key, (), _FEWEST, _MOST + 1)
  agreement = jax.random.uniform(
    agree_key, (len(GZ2.questions),), minval=25.0, maxval=95.0
  )
  perceived = answer_shares(scene, sight(scene))
  concentration = 1 + agreement[GZ2.question_of] * perceived
  return Votes(
    true_shares=answer_shares(scene, clear_sight()),
    perceived_shares=perceived,
    concentration=concentration,
    counts=count_votes(vote_key, concentration, volunteers),
  )


def count_votes(
  key: jax.Array, concentration: jax.Array, volunteers: jax.Array
) -> jax.Array:
  """Dirichlet-multinomial votes that obey the tree, f32[37].

  Each volunteer has an answer to every question, and gives those to the
  questions that the others lead to. So the number of those who are asked is
  the number of votes for the parent answers, exactly.

  Args:
    key: of the draw.
    concentration: f32[37], as `GZ2.answers`.
    volunteers: i32[], at most 54.
  """
  share_key, answer_key = jax.random.split(key)
  # Normalised gammas are a Dirichlet draw, and the largest of the logarithms
  # with Gumbel noise is a draw from the categorical law.
  opinions = jax.random.loggamma(share_key, concentration)[None] + (
    jax.random.gumbel(answer_key, (_MOST, len(GZ2.answers)))
  )
  answers = [
    jax.nn.one_hot(
      jnp.argmax(opinions[:, part], axis=1), part.stop - part.start
    )
    for part in GZ2.slices
  ]
  given = decision_tree.joint(GZ2, jnp.concatenate(answers, axis=1))
  present = jnp.arange(_MOST) < volunteers
  return jnp.sum(jnp.where(present[:, None], given, 0), axis=0)


def vote_all(seed: int, label: np.ndarray) -> tuple[sky.Scene, Votes]:
  """The truth and the votes of a whole sky, fields f32[N,...] of NumPy.

  Args:
    seed: names the sky.
    label: i[N], indices of `sky.CLASSES`.
  """
  parts = []
  for count, numbers, labels in sky.chunks(np.arange(len(label)), label):
    batch = vote_batch(seed, numbers, labels)
    parts.append(jax.tree.map(lambda x, n=count: np.asarray(x)[:n], batch))
  return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def vote_batch(
  seed: int, index: jax.typing.ArrayLike, label: jax.typing.ArrayLike
) -> tuple[sky.Scene, Votes]:
  """The truth and the votes behind `sky.render_batch`, fields f32[B,...]."""
  scenes = sky.sample_scenes(seed, index, label)
  return scenes, _vote_all(seed, index, scenes)


@jax.jit
def _vote_all(seed, index, scenes):
  def one(i, scene):
    return vote(sky.galaxy_keys(seed, i)[2], scene)

  return jax.vmap(one)(index, scenes)


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


def _smooth_or_featured(scene, seen, ratio):
  in_disk = _visible(jnp.maximum(scene.arms, scene.bar), seen, ratio)
  odd = jnp.max(
    _visible(scene.odd_features() * jnp.array(_ODD_IS_FEATURE), seen)
  )
  # A disk from the edge is plain even where it is blurred.
  disk = 1 - scene.bulge_fraction
  thin = disk * jax.nn.sigmoid(16 * (0.33 - ratio)) * (0.3 + 0.7 * disk)
  featured = jnp.maximum(jnp.maximum(in_disk, odd), thin) + 0.1 * disk
  # The fainter the galaxy, the more of the picture is the artifact.
  artifact = jnp.maximum(jnp.maximum(scene.star, scene.trail), scene.fault)
  return jax.nn.softmax(
    jnp.stack(
      [
        jnp.float32(0),
        _PLAIN * (featured - _SEEN_HALF),
        -4 + 11 * artifact + 0.8 * (1 - seen.contrast),
      ]
    )
  )


def _bulge_size(scene, seen):
  # No bulge to a dominant one are 0 to 3; blurred middles look like bulges.
  steps = jnp.interp(
    scene.bulge_fraction,
    jnp.array([0.0, 0.08, 0.25, 0.55]),
    jnp.arange(4.0),
  )
  fuzzy = 1 - seen.contrast
  return _nearest(
    steps + 0.4 * fuzzy * (1.5 - steps), (0.0, 1.0, 2.0, 3.0), 0.4 + 0.3 * fuzzy
  )


def _seen_odd(scene, seen):
  """Strengths of the odd features as seen, f32[7]."""
  merger = GZ2.questions[GZ2.question("odd-feature")].answers.index("merger")
  # Two galaxies are two however blurred, and others stand close from afar.
  return (
    _visible(scene.odd_features(), seen)
    .at[merger]
    .set(scene.companion + 0.25 * seen.crowding)
  )


def _something_odd(scene, seen):
  return _yes_no(_PLAIN * (jnp.max(_seen_odd(scene, seen)) - 1.2 * _SEEN_HALF))


def _odd_feature(scene, seen):
  return jax.nn.softmax(6 * _seen_odd(scene, seen))


def _bulge_shape(scene, seen):
  bulge = 12 * (scene.bulge_fraction - 0.06)
  boxy = 6 * (scene.boxiness * seen.contrast - 0.5)
  return jax.nn.softmax(jnp.stack([bulge, bulge + boxy, jnp.float32(0)]))


def _arm_count(scene, seen):
  known = _nearest(
    jnp.minimum(scene.arm_count, 5.0),
    (1.0, 2.0, 3.0, 4.0, 5.0),
    0.45 + 0.5 * (1 - seen.contrast),
  )
  doubt = jax.nn.sigmoid(
    7 * (scene.flocculence + 0.6 * (1 - seen.contrast) - 0.6)
  )
  return jnp.append((1 - doubt) * known, doubt)
