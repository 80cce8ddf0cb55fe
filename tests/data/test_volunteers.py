"""Simulated volunteers: they obey the tree, and distance misleads them."""

import jax
import numpy as np
import pytest
from scipy import stats

from gzjax.data import decision_tree, sky, volunteers
from gzjax.data.decision_tree import GZ2

COUNT = 1024


@pytest.fixture(scope="module")
def voted():
  label = sky.sample_labels(0, COUNT, (0.45, 0.5, 0.05))
  return label, *volunteers.vote_all(0, label)


def _scene(label=1, **changes):
  scene = sky.sample_scene(jax.random.key(0), np.int32(label))
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
  **dict.fromkeys(sky.ODD_FEATURES, 0),
}


def _joint(scene, answer, sight=volunteers.sight):
  shares = volunteers.answer_shares(scene, sight(scene))
  return float(decision_tree.joint_probability(GZ2, shares, answer))


def _clear(_):
  return volunteers.clear_sight()


def test_counts_obey_the_tree_exactly(voted):
  counts = voted[2].counts
  np.testing.assert_array_equal(counts, np.round(counts))
  assert counts.min() == 0
  volunteered = counts[:, :3].sum(axis=1)
  assert volunteered.min() == 36
  assert volunteered.max() == 54
  wanted = {
    question.name: sum(counts[:, GZ2.index(name)] for name in question.after)
    for question in GZ2.questions[1:]
  }
  for question, part in zip(GZ2.questions[1:], GZ2.slices[1:]):
    asked = counts[:, part].sum(axis=1)
    np.testing.assert_array_equal(asked, wanted[question.name])
    assert asked.max() > 5


def test_shares_are_shares_and_concentrations_in_range(voted):
  votes = voted[2]
  for shares in (votes.true_shares, votes.perceived_shares):
    assert shares.min() >= 0
    np.testing.assert_allclose(decision_tree.sums(GZ2, shares), 1, atol=1e-5)
  assert votes.concentration.min() >= 1
  assert votes.concentration.max() < 101


def test_votes_follow_the_dirichlet_multinomial_law():
  concentration = np.random.default_rng(0).uniform(1, 20, 37)
  concentration = concentration.astype(np.float32)
  keys = jax.random.split(jax.random.key(0), 20_000)
  counts = jax.jit(
    jax.vmap(lambda key: volunteers.count_votes(key, concentration, 40))
  )(keys)
  counts = np.asarray(counts)
  for name in ("smooth-or-featured", "how-rounded", "something-odd"):
    part = GZ2.slices[GZ2.question(name)]
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


def test_mergers_become_more_common_with_redshift():
  for companion in (0.0, 0.3):
    near, far = (
      _joint(
        _scene(**{**SPIRAL, "redshift": z, "companion": companion}),
        "odd-feature_merger",
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
  shares = volunteers.answer_shares(
    _scene(**{**SPIRAL, **changes}), volunteers.clear_sight()
  )
  found = np.asarray(decision_tree.conditional(GZ2, shares))
  part = GZ2.slices[GZ2.question_of[GZ2.index(answer)]]
  assert GZ2.answers[part.start + found[part].argmax()] == answer
  assert found[part].max() > 0.5


def test_volunteers_find_most_classes_and_fewer_of_the_dim(voted):
  label, scenes, votes = voted
  right = votes.counts[:, :3].argmax(axis=1) == label
  assert 0.85 < right.mean() < 0.99
  assert np.mean(votes.true_shares[:, :3].argmax(axis=1) == label) > 0.95
  brightness = jax.vmap(sky.observe)(scenes).brightness
  featured = label == 1
  dim = brightness < np.median(brightness[featured])
  assert right[featured & ~dim].mean() > right[featured & dim].mean() + 0.05
