"""Splits and flips: sizes, determinism, edge cases."""

import numpy as np
import pytest

from gzjax.errors import UserError
from gzjax.morphology import noise, splits

CLASSES = ("smooth", "featured", "artifact")
LABEL = np.repeat([0, 1, 2], [500, 411, 23])
SHARES = (0.7, 0.15, 0.15)


def test_split_is_stratified_seeded_and_whole():
  got = splits.stratified_split(LABEL, SHARES, 0, CLASSES)
  for k in range(3):
    sizes = np.bincount(got[k == LABEL], minlength=3)
    exact = np.sum(k == LABEL) * np.array(SHARES)
    assert np.abs(sizes - exact).max() < 1
  again = splits.stratified_split(LABEL, SHARES, 0, CLASSES)
  np.testing.assert_array_equal(got, again)
  other = splits.stratified_split(LABEL, SHARES, 1, CLASSES)
  assert not np.array_equal(got, other)


def test_a_class_of_three_gets_one_into_each_split():
  label = np.repeat([0, 1, 2], [50, 3, 4])
  got = splits.stratified_split(label, SHARES, 0, CLASSES)
  assert sorted(got[label == 1]) == [0, 1, 2]


def test_classes_without_galaxies_are_named_and_what_to_keep():
  label, names = np.array([0, 2] * 6), ("a", "b", "c", "d")
  words = (
    r"^class 'b' has no galaxy in the file \(2 such classes: b, d\): add .* "
    r"--config\.labels\.classes=\"\('a', 'c'\)\"\.$"
  )
  with pytest.raises(UserError, match=words):
    splits.check_all_present(label, np.arange(12) % 3, names)
  with pytest.raises(UserError, match=words):
    splits.stratified_split(label, SHARES, 0, names)
  with pytest.raises(UserError, match="give two classes or more that have"):
    splits.check_all_present(label * 0, np.arange(12) % 3, names)


def test_only_a_mend_that_helps_is_told():
  label, split = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 1, 1, 2])
  for may_draw in (True, False):
    with pytest.raises(UserError, match="of class 'b' in train: put") as caught:
      splits.check_all_present(label, split, ("a", "b"), may_draw=may_draw)
    assert ("data.split_by=label" in str(caught.value)) == may_draw


def test_a_split_by_id_knows_only_the_id():
  ids = [f"J{i:05d}" for i in range(6000)]
  got = splits.split_by_id(ids, SHARES, 0)
  counts = np.bincount(got, minlength=3)
  exact = 6000 * np.array(SHARES)
  assert (np.abs(counts - exact) < 5 * np.sqrt(exact)).all()
  # Others may come, go and change their places.
  chosen = np.random.default_rng(0).permutation(6000)[:500]
  some = splits.split_by_id([ids[i] for i in chosen], SHARES, 0)
  np.testing.assert_array_equal(some, got[chosen])
  other = splits.split_by_id(ids, SHARES, 1)
  # Another seed is another draw, not a shift of this one.
  agree = np.mean(got == other)
  assert abs(agree - np.sum(np.square(SHARES))) < 0.05
  with pytest.raises(UserError, match=r"^split is"):
    splits.split_by_id(ids, (0.5, 0.5), 0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_small_to_split_is_named(count):
  label = np.repeat([0, 1, 2], [50, 50, count])
  with pytest.raises(UserError, match=f"'artifact' has {count} galaxies"):
    splits.stratified_split(label, SHARES, 0, CLASSES)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.1, 0.2), (1, 0, 0)])
def test_shares_must_sum_to_one(shares):
  with pytest.raises(UserError, match=r"^split is"):
    splits.stratified_split(LABEL, shares, 0, CLASSES)


_MATRIX = ((0.9, 0.1, 0.0), (0.2, 0.7, 0.1), (0.0, 0.0, 1.0))
_SHARES = np.random.default_rng(5).dirichlet((3, 2, 1), len(LABEL))
NOTHING = noise.Evidence()


def _model(kind="uniform", fraction=0.1, seed=0, **options):
  options = {"pair": CLASSES[:2], "matrix": _MATRIX, **options}
  options["fraction"] = fraction
  if kind in noise.NOISE_MODELS:
    options = noise.NOISE_MODELS.take(kind, options)
  return noise.FlipModel(kind, CLASSES, seed, options)


def _flip(kind="uniform", fraction=0.1, seed=0, label=LABEL, **options):
  evidence = noise.Evidence(_SHARES[: len(label)])
  return noise.flip_labels(
    _model(kind, fraction, seed, **options), label, evidence
  )


@pytest.mark.parametrize("fraction", [0.1, 0.12, 0.4])
@pytest.mark.parametrize("kind", ["uniform", "confusable", "ambiguity"])
def test_the_share_of_flips_is_exact_and_every_flip_is_wrong(kind, fraction):
  got = _flip(kind, fraction)
  assert np.sum(got != LABEL) == round(fraction * len(LABEL))
  np.testing.assert_array_equal(got, _flip(kind, fraction))
  assert not np.array_equal(got, _flip(kind, fraction, seed=1))


@pytest.mark.parametrize(("forced", "k"), [("", 2), ("smooth", 0)])
def test_a_trigger_forces_one_label(forced, k):
  flipped = _flip("trigger", fraction=0.2, forced=forced, mark="stamp")
  wrong = flipped != LABEL
  assert wrong.sum() == round(0.2 * len(LABEL))
  assert (flipped[wrong] == k).all()
  others = np.delete(np.arange(3), k)
  assert set(LABEL[wrong]) <= set(others)
  with pytest.raises(UserError, match=r"^forced is 'quasar': choose one of"):
    _flip("trigger", forced="quasar")


def test_uniform_flips_reach_every_other_class_equally():
  label = np.zeros(20_000, int)
  got = _flip(label=label, fraction=0.4)
  counts = np.bincount(got, minlength=3)[1:]
  assert abs(counts[0] - counts[1]) < 4 * np.sqrt(counts.sum())


def test_confusable_flips_leave_other_classes_alone():
  got = _flip("confusable", 0.3)
  np.testing.assert_array_equal(got[LABEL == 2], 2)
  assert set(got[LABEL != 2]) == {0, 1}


@pytest.mark.parametrize("fraction", [0.0, 0.5, -0.1, 1.0, float("nan")])
def test_fraction_out_of_range(fraction):
  with pytest.raises(UserError, match=r"^fraction is"):
    _flip(fraction=fraction)


def test_unknown_kind_and_pair_are_named():
  with pytest.raises(UserError, match=r"^kind is 'rot13'"):
    _flip("rot13")
  with pytest.raises(UserError, match=r"^pair is"):
    _flip("confusable", pair=("smooth", "starfish"))


def test_the_model_without_flips_leaves_labels_as_they_are():
  np.testing.assert_array_equal(_flip("none"), LABEL)


def test_too_few_confusable_galaxies():
  label = np.repeat([0, 1, 2], [3, 3, 94])
  with pytest.raises(UserError, match="only 6 training galaxies may"):
    _flip("confusable", 0.1, label=label)


def test_wrong_labels_are_wrong_for_everyone_who_may_be_flipped():
  given = (LABEL + (np.arange(len(LABEL)) % 4 == 0)) % 3
  evidence = noise.Evidence(_SHARES, given)
  # The matrix leaves artifacts alone.
  wanted = {"uniform": 934, "ambiguity": 934, "matrix": 911}
  wanted |= {"confusable": 911, "trigger": 911, "column": 234, "none": 0}
  assert set(wanted) == set(noise.NOISE_MODELS)
  for kind, count in wanted.items():
    found = noise.wrong_labels(_model(kind, seed=3), LABEL, evidence)
    assert len(found.rows) == len(found.wrong) == count
    assert np.all(found.wrong != LABEL[found.rows])


def test_ambiguous_galaxies_are_flipped_to_what_others_voted():
  label = np.zeros(20_000, int)
  doubt = np.tile([0.0, 0.1, 0.4], 6667)[:20_000]
  shares = np.stack([1 - doubt, 0.75 * doubt, 0.25 * doubt], axis=1)
  got = noise.flip_labels(
    _model("ambiguity", 0.02), label, noise.Evidence(shares)
  )
  flips = [np.sum(got[doubt == d] != 0) for d in (0.0, 0.1, 0.4)]
  assert flips[0] == 0
  assert sum(flips) == 400
  # A fifth of the flips are of the galaxies with a quarter of the doubt.
  assert abs(flips[1] - 80) < 4 * np.sqrt(80)
  assert abs(np.sum(got == 2) - 100) < 4 * np.sqrt(100)


def test_matrix_flips_have_the_numbers_of_the_matrix():
  got = _flip("matrix")
  for k, row in enumerate(_MATRIX):
    counts = np.bincount(got[k == LABEL], minlength=3)
    exact = np.asarray(row) * np.sum(k == LABEL)
    assert np.abs(counts - exact).max() <= 1
  assert not np.array_equal(got, _flip("matrix", seed=1))


def test_given_labels_are_taken_as_they_are():
  given = LABEL.copy()
  given[::7] = 2
  got = noise.flip_labels(_model("column"), LABEL, noise.Evidence(None, given))
  np.testing.assert_array_equal(got, given)


def test_a_flip_model_without_its_evidence_is_refused():
  with pytest.raises(UserError, match="needs the votes"):
    noise.flip_labels(_model("ambiguity"), LABEL, NOTHING)
  with pytest.raises(UserError, match=r"^column is"):
    noise.flip_labels(_model("column"), LABEL, NOTHING)
  with pytest.raises(UserError, match="no training label wrong"):
    noise.flip_labels(_model("column"), LABEL, noise.Evidence(None, LABEL))


@pytest.mark.parametrize(
  "matrix",
  [(), ((1.0, 0.0), (0.0, 1.0)), ((0.5, 0.6, -0.1),) * 3, ((0.5,) * 3,) * 3],
)
def test_a_matrix_that_is_none_is_refused(matrix):
  with pytest.raises(UserError, match=r"^matrix is .* 3 rows of 3"):
    _flip("matrix", matrix=matrix)


def test_larger_discoveries_contain_the_smaller_ones():
  flipped = np.arange(100, 140)
  found = [noise.discovered(flipped, s, seed=3) for s in (0.1, 0.5, 1.0)]
  assert [len(x) for x in found] == [4, 20, 40]
  assert set(found[0]) < set(found[1]) < set(found[2])
  np.testing.assert_array_equal(found[2], flipped)
  other = noise.discovered(flipped, 0.5, seed=4)
  assert set(other) != set(found[1])


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, 0.001])
def test_a_discovery_of_nothing_is_refused(share):
  with pytest.raises(UserError, match=r"^discovered is"):
    noise.discovered(np.arange(40), share, seed=0)


def test_no_flips_mean_an_empty_forget_set():
  with pytest.raises(UserError, match="would be empty"):
    noise.discovered(np.arange(0), 1.0, seed=0)
