"""Simulated volunteers: they obey the tree, and distance misleads them."""

import jax
import numpy as np
import pytest
from scipy import stats

from gzjax.morphology import trees, walks
from gzjax.morphology.campaigns import GZ2, GZD_5
from gzjax.sky import volunteers
from gzjax.sky.scene import ODD_FEATURES, observe, sample_labels, sample_scene
from tests.networks import OPTIMISED

COUNT = 1024
LABEL = sample_labels(0, COUNT, (0.45, 0.5, 0.05))
BOTH = pytest.mark.parametrize("tree", [GZ2, GZD_5], ids=lambda tree: tree.name)
# How many people may look at a galaxy.
CROWDS = {"gz2": {*range(36, 55)}, "gzd_5": {*range(3, 9), *range(34, 47)}}


@pytest.fixture(scope="module")
def voted():
  """Truth and votes of the same sky by the name of the tree."""
  return {
    tree.name: volunteers.vote_all(0, LABEL, tree) for tree in (GZ2, GZD_5)
  }


# Compiled as wholes: each operation would be a program of its own.
_answer_shares = jax.jit(volunteers.answer_shares, static_argnums=2)
_sight = jax.jit(volunteers.sight)
_sample_scene = jax.jit(sample_scene)


def _scene(label=1, **changes):
  scene = _sample_scene(jax.random.key(0), np.int32(label))
  return scene._replace(
    **{name: np.float32(value) for name, value in changes.items()}
  )


SPIRAL = {
  "redshift": 0.05,
  "radius": 6,
  "surface_brightness": 20.5,
  "axis_ratio": 0.9,
  "bulge_fraction": 0.15,
  "bar": 0,
  "arms": 0.8,
  "arm_count": 2,
  "arm_pitch": 0.3,
  "flocculence": 0,
  **dict.fromkeys(ODD_FEATURES, 0),
}


def _joint(scene, answer, sight=_sight, tree=GZ2):
  shares = np.asarray(_answer_shares(scene, sight(scene), tree))
  return float(trees.joint_probability(tree, shares, answer))


def _clear(_):
  return volunteers.clear_sight()


@BOTH
def test_counts_obey_the_tree_exactly(voted, tree):
  counts = voted[tree.name][1].counts
  assert counts.shape == (COUNT, len(tree.answers))
  np.testing.assert_array_equal(counts, np.round(counts))
  assert counts.min() == 0
  assert set(counts[:, :3].sum(axis=1)) == CROWDS[tree.name]
  wanted = {
    question.name: sum(counts[:, tree.index(name)] for name in question.after)
    for question in tree.questions[1:]
  }
  for question, part in zip(tree.questions[1:], tree.slices[1:]):
    asked = counts[:, part].sum(axis=1)
    np.testing.assert_array_equal(asked, wanted[question.name])
    assert asked.max() > 5


def test_most_galaxies_of_gzd_5_have_few_votes(voted):
  volunteered = voted["gzd_5"][1].counts[:, :3].sum(axis=1)
  error = np.sqrt(0.4 * 0.6 / COUNT)
  assert np.mean(volunteered > 20) == pytest.approx(0.4, abs=4 * error)


def test_votes_of_galaxy_zoo_2_stay_as_they_were(voted):
  votes = voted["gz2"][1]
  # From before there was another tree; published numbers hang on them.
  assert votes.counts.sum(axis=0).astype(int).tolist() == [
    *(22391, 20713, 3329, 4371, 16342, 4796, 11546, 8015, 8327, 3262),
    *(5457, 4567, 3056, 10581, 32523, 7745, 9991, 4655, 1303, 1171),
    *(1308, 1223, 1011, 3042, 1523, 2289, 828, 1254, 1860, 3121, 3034),
    *(679, 2518, 1136, 593, 892, 2197),
  ]
  np.testing.assert_allclose(
    votes.perceived_shares[3, GZ2.slices[GZ2.question("bulge-size")]],
    (0, 0.000006, 0.049435, 0.950559),
    atol=2e-6,
  )


@BOTH
def test_shares_are_shares_and_concentrations_in_range(voted, tree):
  votes = voted[tree.name][1]
  for shares in (votes.true_shares, votes.perceived_shares):
    assert shares.min() >= 0
    np.testing.assert_allclose(trees.sums(tree, shares), 1, atol=1e-5)
  assert votes.concentration.min() >= 1
  assert votes.concentration.max() < 101


def test_observers_say_the_same_where_the_trees_ask_the_same(voted):
  old, new = (
    dict(zip(tree.answers, voted[tree.name][1].perceived_shares.T))
    for tree in (GZ2, GZD_5)
  )
  renamed = {
    "how-rounded_cigar-shaped": "how-rounded_cigar",
    "edge-on-bulge_boxy": "bulge-shape_boxy",
    "edge-on-bulge_none": "bulge-shape_no-bulge",
    "edge-on-bulge_rounded": "bulge-shape_round",
  }
  own = ("bar", "bulge-size", "merging")
  same = [name for name in new if not name.startswith(own)]
  assert len(same) == 22
  for name in same:
    wanted = old[renamed.get(name, name)]
    np.testing.assert_allclose(new[name], wanted, atol=1e-6)
  np.testing.assert_allclose(
    new["bar_strong"] + new["bar_weak"], old["bar_yes"], atol=1e-6
  )


def test_every_answer_of_gzd_5_is_the_most_common_one_somewhere(voted):
  shares = trees.conditional(GZD_5, voted["gzd_5"][1].counts)
  choice = walks.majority_path(GZD_5, shares)
  for q, question in enumerate(GZD_5.questions):
    found = np.bincount(choice[:, q] + 1, minlength=len(question.answers) + 1)
    assert found[1:].min() > 5, question.name


@pytest.mark.parametrize(
  ("tree", "last"), [(GZ2, "something-odd"), (GZD_5, "merging")]
)
def test_votes_follow_the_dirichlet_multinomial_law(tree, last):
  concentration = np.random.default_rng(0).uniform(1, 20, len(tree.answers))
  concentration = concentration.astype(np.float32)
  keys = jax.random.split(jax.random.key(0), 20_000)
  counts = jax.jit(
    jax.vmap(lambda key: volunteers.count_votes(key, concentration, 40, tree)),
    compiler_options=OPTIMISED,
  )(keys)
  counts = np.asarray(counts)
  for name in ("smooth-or-featured", "how-rounded", last):
    part = tree.slices[tree.question(name)]
    asked = counts[:, part].sum(axis=1)
    n = int(np.bincount(asked.astype(int)).argmax())
    sample = counts[asked == n][:, part]
    law = stats.dirichlet_multinomial(concentration[part], n)
    assert len(sample) > 500
    error = np.sqrt(np.diag(law.cov()) / len(sample))
    np.testing.assert_array_less(np.abs(sample.mean(0) - law.mean()), 4 * error)
    np.testing.assert_allclose(np.cov(sample.T), law.cov(), rtol=0.25)


def test_a_spiral_is_taken_for_smooth_from_afar():
  seen = [
    _joint(_scene(**{**SPIRAL, "redshift": z}), "has-spiral-arms_yes")
    for z in (0.03, 0.06, 0.1, 0.15, 0.2)
  ]
  assert np.all(np.diff(seen) < 0)
  assert seen[0] > 0.85
  assert seen[-1] < 0.2
  far = _scene(**{**SPIRAL, "redshift": 0.2})
  near = _scene(**SPIRAL)
  assert _joint(near, "smooth-or-featured_smooth") < 0.1
  assert _joint(far, "smooth-or-featured_smooth") > 0.4
  # The truth does not know of the distance.
  for answer in ("has-spiral-arms_yes", "odd-feature_merger"):
    assert _joint(near, answer, _clear) == _joint(far, answer, _clear)


@pytest.mark.parametrize(
  ("tree", "answer"),
  [(GZ2, "odd-feature_merger"), (GZD_5, "merging_merger")],
)
def test_mergers_become_more_common_with_redshift(tree, answer):
  for companion in (0.0, 0.3):
    near, far = (
      _joint(
        _scene(**{**SPIRAL, "redshift": z, "companion": companion}),
        answer,
        tree=tree,
      )
      for z in (0.03, 0.2)
    )
    assert far > near + 0.02


@pytest.mark.parametrize(
  ("changes", "answer"),
  [
    ({"axis_ratio": 0.12, "arms": 0}, "disk-edge-on_yes"),
    ({"bar": 0.9}, "bar_yes"),
    ({"bulge_fraction": 0.01}, "bulge-size_no"),
    ({"bulge_fraction": 0.08}, "bulge-size_just-noticeable"),
    ({"bulge_fraction": 0.25}, "bulge-size_obvious"),
    ({"bulge_fraction": 0.6}, "bulge-size_dominant"),
    ({"arm_pitch": 0.15}, "spiral-winding_tight"),
    ({"arm_pitch": 0.32}, "spiral-winding_medium"),
    ({"arm_pitch": 0.55}, "spiral-winding_loose"),
    ({"arm_count": 1}, "spiral-arm-count_1"),
    ({"arm_count": 2}, "spiral-arm-count_2"),
    ({"arm_count": 3}, "spiral-arm-count_3"),
    ({"arm_count": 4}, "spiral-arm-count_4"),
    ({"arm_count": 6}, "spiral-arm-count_more-than-4"),
    ({"flocculence": 1}, "spiral-arm-count_cant-tell"),
    ({"ring": 0.9}, "odd-feature_ring"),
    ({"lens": 0.9}, "odd-feature_lens-or-arc"),
    ({"disturbance": 0.9}, "odd-feature_disturbed"),
    ({"clumps": 0.9}, "odd-feature_irregular"),
    ({"polar_ring": 0.9}, "odd-feature_other"),
    ({"companion": 0.9}, "odd-feature_merger"),
    ({"dust_lane": 0.9}, "odd-feature_dust-lane"),
    ({"axis_ratio": 0.12, "boxiness": 1}, "bulge-shape_boxy"),
    ({"axis_ratio": 0.12, "bulge_fraction": 0.4}, "bulge-shape_round"),
    ({"axis_ratio": 0.12, "bulge_fraction": 0}, "bulge-shape_no-bulge"),
    ({"arms": 0, "bulge_fraction": 1}, "how-rounded_round"),
    (
      {"arms": 0, "bulge_fraction": 1, "axis_ratio": 0.6},
      "how-rounded_in-between",
    ),
    ({"arms": 0, "bulge_fraction": 1, "axis_ratio": 0.3}, "how-rounded_cigar"),
    ({"star": 1}, "smooth-or-featured_artifact"),
    ({"trail": 1}, "smooth-or-featured_artifact"),
    ({"fault": 1}, "smooth-or-featured_artifact"),
  ],
)
def test_what_is_there_is_the_most_common_answer(changes, answer):
  assert _most_common(GZ2, changes, answer) == answer


@pytest.mark.parametrize(
  ("changes", "answer"),
  [
    ({"bar": 0.9}, "bar_strong"),
    ({"bar": 0.5}, "bar_weak"),
    ({}, "bar_no"),
    ({"bulge_fraction": 0.01}, "bulge-size_none"),
    ({"bulge_fraction": 0.07}, "bulge-size_small"),
    ({"bulge_fraction": 0.22}, "bulge-size_moderate"),
    ({"bulge_fraction": 0.45}, "bulge-size_large"),
    ({"bulge_fraction": 0.7}, "bulge-size_dominant"),
    ({}, "merging_none"),
    ({"clumps": 0.8}, "merging_minor-disturbance"),
    ({"disturbance": 0.45}, "merging_minor-disturbance"),
    ({"disturbance": 0.9}, "merging_major-disturbance"),
    ({"companion": 0.9}, "merging_merger"),
    ({"companion": 0.9, "disturbance": 0.9}, "merging_merger"),
    (
      {"axis_ratio": 0.12, "bulge_fraction": 0.4, "boxiness": 1},
      "edge-on-bulge_boxy",
    ),
    ({"axis_ratio": 0.12, "bulge_fraction": 0.4}, "edge-on-bulge_rounded"),
    ({"axis_ratio": 0.12, "bulge_fraction": 0}, "edge-on-bulge_none"),
  ],
)
def test_what_gzd_5_asks_in_another_way(changes, answer):
  assert _most_common(GZD_5, changes, answer) == answer


def _most_common(tree, changes, answer):
  """What over half of those say who see the changed spiral from close by."""
  shares = np.asarray(
    _answer_shares(
      _scene(**{**SPIRAL, **changes}), volunteers.clear_sight(), tree
    )
  )
  part = tree.slices[tree.question_of[tree.index(answer)]]
  assert shares[part].max() > 0.5
  return tree.answers[part.start + shares[part].argmax()]


@pytest.mark.parametrize(
  ("field", "most", "more", "less"),
  [
    ("bar", 1.0, "bar_strong", "bar_no"),
    ("bulge_fraction", 0.7, "bulge-size_dominant", "bulge-size_none"),
    ("disturbance", 1.0, "merging_major-disturbance", "merging_none"),
    ("clumps", 0.8, "merging_minor-disturbance", "merging_none"),
    ("companion", 1.0, "merging_merger", "merging_none"),
    ("boxiness", 1.0, "edge-on-bulge_boxy", "edge-on-bulge_none"),
  ],
)
def test_more_of_a_feature_is_seen_more_often(field, most, more, less):
  """From close by and from afar, all else the same."""
  for redshift in (0.03, 0.12):
    scenes = [
      _scene(**{**SPIRAL, "redshift": redshift, field: strength})
      for strength in np.linspace(0, most, 6)
    ]
    shares = np.array([_answer_shares(x, _sight(x), GZD_5) for x in scenes])
    assert np.all(np.diff(shares[:, GZD_5.index(more)]) > 0)
    assert np.all(np.diff(shares[:, GZD_5.index(less)]) < 0)


@BOTH
def test_volunteers_find_most_classes_and_fewer_of_the_dim(voted, tree):
  scenes, votes = voted[tree.name]
  right = votes.counts[:, :3].argmax(axis=1) == LABEL
  assert 0.85 < right.mean() < 0.99
  assert np.mean(votes.true_shares[:, :3].argmax(axis=1) == LABEL) > 0.95
  brightness = np.asarray(jax.jit(jax.vmap(observe))(scenes).brightness)
  featured = LABEL == 1
  dim = brightness < np.median(brightness[featured])
  assert right[featured & ~dim].mean() > right[featured & dim].mean() + 0.05
