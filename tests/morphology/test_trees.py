"""The trees: their shape, and that all arithmetic obeys them."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gzjax.morphology import campaigns, trees, walks
from tests.real_data import KAGGLE, needs_real

# All but the one of a single question.
TREES = tuple(x for x in campaigns.TREES.values() if len(x.questions) > 1)
# Those that have the slides' hierarchy.
_HIERARCHIES = tuple(
  campaigns.hierarchy(tree)
  for tree in TREES
  if tree.name not in ("hubble", "hubble_v2", "candels", "jwst_cosmos")
)


def _shares(tree, count=50, seed=0):
  """Random conditional fractions, some of them exactly 0 or 1."""
  rng = np.random.default_rng(seed)
  values = rng.gamma(0.3, size=(count, len(tree.answers)))
  values[rng.random(values.shape) < 0.2] = 0
  for part in tree.slices:
    empty = values[:, part].sum(axis=1) == 0
    values[empty, part.start] = 1
  return trees.conditional(tree, values)


@pytest.mark.parametrize(
  ("tree", "questions", "answers", "ends"),
  [
    (campaigns.GZ2, 11, 37, (3, 5, 7, 9, 13, 15, 18, 25, 28, 31, 37)),
    (campaigns.GZ2_KAGGLE, 11, 37, (3, 5, 7, 9, 13, 15, 18, 25, 28, 31, 37)),
    (campaigns.GZD_5, 10, 34, (3, 5, 7, 10, 15, 18, 21, 24, 30, 34)),
    (campaigns.GZD_1_2, 10, 30, (3, 5, 7, 9, 12, 15, 18, 21, 26, 30)),
  ],
)
def test_shape_of_the_published_trees(tree, questions, answers, ends):
  assert len(tree.questions) == questions
  assert len(tree.answers) == len(set(tree.answers)) == answers
  assert tuple(part.stop for part in tree.slices) == ends


def test_column_names():
  kaggle = campaigns.GZ2_KAGGLE.kaggle_columns()
  assert kaggle[0] == "Class1.1"
  assert kaggle[-1] == "Class11.6"
  stem_of = dict(zip(kaggle, campaigns.GZ2.stems, strict=True))
  assert stem_of["Class8.7"] == "t08_odd_feature_a38_dust_lane"
  assert stem_of["Class11.5"] == "t11_arms_number_a36_more_than_4"
  name_of = dict(zip(kaggle, campaigns.GZ2.answers, strict=True))
  assert name_of["Class5.1"] == "bulge-size_no"
  assert name_of["Class8.6"] == "odd-feature_merger"
  assert name_of["Class10.3"] == "spiral-winding_loose"


def _walk(tree, shares, rng):
  """One volunteer, question by question: the answers given."""
  given = []
  todo = [k for k, parents in enumerate(tree.parents) if not parents]
  while todo:
    q = todo.pop()
    part = tree.slices[q]
    answer = part.start + rng.choice(part.stop - part.start, p=shares[part])
    given.append(answer)
    todo += [k for k, parents in enumerate(tree.parents) if answer in parents]
  return given


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_joint_is_what_volunteers_answer_who_walk_the_tree(tree):
  shares = _shares(tree, 1, seed=4)[0]
  rng = np.random.default_rng(0)
  n = 4000
  given = np.zeros(len(tree.answers))
  for _ in range(n):
    given[_walk(tree, shares, rng)] += 1
  wanted = trees.joint(tree, shares)
  error = np.sqrt(wanted * (1 - wanted) / n)
  assert np.all(np.abs(given / n - wanted) <= 4.5 * error + 1e-12)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
@pytest.mark.parametrize("seed", range(5))
def test_cumulative_fractions_obey_the_tree(tree, seed):
  shares = _shares(tree, seed=seed)
  cumulative = trees.joint(tree, shares)
  np.testing.assert_allclose(trees.violation(tree, cumulative), 0, atol=1e-12)
  np.testing.assert_allclose(
    trees.sums(tree, cumulative), trees.asked(tree, shares), atol=1e-12
  )
  # There and back: where anybody is asked, the shares are the same again.
  asked = np.repeat(
    trees.asked(tree, shares), [len(q.answers) for q in tree.questions], axis=1
  )
  again = trees.conditional(tree, cumulative)
  np.testing.assert_allclose(
    again[asked > 1e-9], shares[asked > 1e-9], rtol=1e-6
  )
  np.testing.assert_allclose(
    trees.joint_probability(tree, shares, tree.answers[7]), cumulative[:, 7]
  )


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_renormalise_obeys_the_tree_keeps_ratios_and_is_idempotent(tree):
  raw = np.random.default_rng(1).random((20, len(tree.answers)))
  got = trees.renormalise(tree, raw)
  np.testing.assert_allclose(trees.violation(tree, got), 0, atol=1e-12)
  np.testing.assert_allclose(trees.renormalise(tree, got), got, rtol=1e-9)
  for part in tree.slices:
    ratio = raw[:, part] / raw[:, [part.start]]
    np.testing.assert_allclose(got[:, part] / got[:, [part.start]], ratio)


def test_weights_of_the_kaggle_columns():
  """The table of forward weights, written out by hand."""
  shares = _shares(campaigns.GZ2, 30)
  p = {
    name: shares[:, i] for i, name in enumerate(campaigns.GZ2.kaggle_columns())
  }
  w2 = p["Class1.2"]
  w3 = p["Class2.2"] * w2
  w10 = p["Class4.1"] * w3
  w7, w9 = p["Class1.1"], p["Class2.1"] * w2
  ones = np.ones(30)
  w6 = {"gz2": 1 - p["Class1.3"], "gz2_kaggle": ones}
  for tree in (campaigns.GZ2, campaigns.GZ2_KAGGLE):
    odd = w6[tree.name]
    wanted = [ones, w2, w3, w3, w3, odd, w7, p["Class6.1"] * odd, w9, w10, w10]
    np.testing.assert_allclose(
      trees.asked(tree, shares), np.stack(wanted, axis=1), atol=1e-12
    )


def test_nobody_was_asked():
  counts = np.zeros((1, 37))
  counts[0, :3] = (9, 0, 1)
  assert np.all(trees.conditional(campaigns.GZ2, counts)[0, 3:] == 0)
  shares = trees.conditional(campaigns.GZ2, counts, empty=np.nan)
  assert np.isnan(shares[0, 3:]).all()
  np.testing.assert_allclose(shares[0, :3], (0.9, 0, 0.1))


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_jax_computes_the_same_with_finite_gradients(tree):
  values = np.random.default_rng(2).random((6, len(tree.answers)))
  values[0] = 0
  values[1, tree.slices[1]] = 0
  got = jax.jit(lambda x: trees.renormalise(tree, x))(values.astype(np.float32))
  np.testing.assert_allclose(got, trees.renormalise(tree, values), atol=1e-6)
  slope = jax.jit(jax.grad(lambda x: jnp.sum(trees.renormalise(tree, x) ** 2)))(
    values.astype(np.float32)
  )
  assert np.all(np.isfinite(slope))


def test_majority_path_walks_where_most_volunteers_go():
  shares = np.zeros((3, 37))
  tree = campaigns.GZ2

  def vote(row, answer, share=1.0):
    shares[row, tree.index(answer)] = share

  vote(0, "smooth-or-featured_smooth", 0.6)
  vote(0, "smooth-or-featured_featured-or-disk", 0.4)
  vote(0, "disk-edge-on_yes")  # of the minority
  vote(0, "how-rounded_in-between")
  vote(0, "something-odd_yes", 0.7)
  vote(0, "something-odd_no", 0.3)
  vote(0, "odd-feature_merger")
  vote(1, "smooth-or-featured_artifact")
  path = walks.majority_path(tree, shares)
  names = {q.name: k for k, q in enumerate(tree.questions)}
  wanted = np.full((3, 11), -1)  # nobody saw the third galaxy
  wanted[0, names["smooth-or-featured"]] = 0
  wanted[0, names["how-rounded"]] = 1
  wanted[0, names["something-odd"]] = 0
  wanted[0, names["odd-feature"]] = 5
  wanted[1, names["smooth-or-featured"]] = 2
  np.testing.assert_array_equal(path, wanted)


def test_the_hierarchy_of_the_slides():
  tree = campaigns.hierarchy(campaigns.GZD_5)
  face_on = ("disk-edge-on_no",)
  assert {question.name: question.after for question in tree.questions} == {
    "smooth-or-featured": (),
    "how-rounded": ("smooth-or-featured_smooth",),
    "disk-edge-on": ("smooth-or-featured_featured-or-disk",),
    "has-spiral-arms": face_on,
    "merging": face_on,
  }
  assert set(tree.branches) == {"root", "smooth", "disk", "spiral", "merging"}
  assert campaigns.GZD_5.branches[0] == "smooth-or-featured"
  values = np.arange(len(campaigns.GZD_5.answers))
  for answer, place in zip(tree.answers, trees.places(campaigns.GZD_5, tree)):
    assert campaigns.GZD_5.answers[values[place]] == answer


def test_a_part_of_a_tree_has_what_its_questions_are_asked_after():
  tree = trees.part(campaigns.GZD_5, ("disk-edge-on", "smooth-or-featured"))
  assert tree.questions == campaigns.GZD_5.questions[:2]
  assert tree.branches == ("root", "disk")
  with pytest.raises(ValueError, match="bar is asked after disk-edge-on_no"):
    trees.part(campaigns.GZD_5, ("smooth-or-featured", "bar"))


def _way(tree, shares):
  """One galaxy, question by question: full answer -> (level, share)."""
  given = {}
  todo = [(q, 0) for q in tree.questions if not q.after]
  while todo:
    question, level = todo.pop()
    votes = {
      f"{question.name}_{name}": shares[tree.index(f"{question.name}_{name}")]
      for name in question.answers
    }
    votes = {name: share for name, share in votes.items() if share > 0}
    if not votes:
      continue
    answer = max(votes, key=votes.get)
    given[answer] = level, votes[answer]
    todo += [(q, level + 1) for q in tree.questions if answer in q.after]
  return given


_WALKED = [*TREES, *_HIERARCHIES]


@pytest.mark.parametrize("tree", _WALKED, ids=lambda tree: tree.name)
def test_the_steps_of_a_walk(tree):
  shares = _shares(tree, 300, seed=6)
  rng = np.random.default_rng(7)
  for part in tree.slices:
    shares[rng.random(300) < 0.1, part] = np.nan
  found = walks.walk(tree, shares)
  assert len(found) == 300
  for row, steps in zip(shares, found, strict=True):
    assert _way(tree, row) == {
      step.answer: (step.level, step.confidence) for step in steps
    }
    levels = [step.level for step in steps]
    assert levels == sorted(levels)
    for step in steps:
      q = tree.question(step.question)
      answers = tree.questions[q].answers
      assert step.answer.removeprefix(f"{step.question}_") in answers
      assert step.branch == tree.branches[q]
  assert max(map(len, found)) >= 4


@pytest.mark.parametrize("tree", _WALKED, ids=lambda tree: tree.name)
def test_questions_that_a_way_leads_to(tree):
  shares = _shares(tree, 200, seed=8)
  shares[np.random.default_rng(9).random(shares.shape) < 0.3] = np.nan
  path = walks.majority_path(tree, shares)
  found = walks.reached(tree, path)
  assert found.dtype == bool
  assert (found & (path < 0)).any()
  for row, steps in zip(found, walks.walk(tree, shares), strict=True):
    given = {step.answer for step in steps}
    wanted = [not q.after or bool(given & set(q.after)) for q in tree.questions]
    np.testing.assert_array_equal(row, wanted)


def test_what_a_user_is_told_of_a_walk():
  tree = campaigns.hierarchy(campaigns.GZD_5)
  shares = np.zeros((2, len(tree.answers)))
  shares[1] = np.nan
  for answer, share in {
    "smooth-or-featured_smooth": 0.2,
    "smooth-or-featured_featured-or-disk": 0.8,
    "how-rounded_round": 1.0,  # of the minority
    "disk-edge-on_no": 0.97,
    "disk-edge-on_yes": 0.03,
    "has-spiral-arms_yes": 0.625,
    "has-spiral-arms_no": 0.375,
    "merging_none": 1.0,
  }.items():
    shares[0, tree.index(answer)] = share
  one, none = walks.walk(tree, shares)
  assert one[1] == walks.Step(
    1, "disk", "disk-edge-on", "disk-edge-on_no", 0.97
  )
  assert walks.walk_lines(one) == [
    "Level 0 (root): smooth-or-featured_featured-or-disk, confidence 0.80",
    "Level 1 (disk): disk-edge-on_no, confidence 0.97",
    "Level 2 (spiral): has-spiral-arms_yes, confidence 0.62",
    "Level 2 (merging): merging_none, confidence 1.00",
  ]
  assert walks.walk_lines(none) == ["No answer"]


def test_columns_are_found_in_any_spelling():
  columns = ["smooth_or_featured_smooth", "Bar_Strong", "x"]
  wanted = ["bar_strong", "smooth-or-featured_smooth", "merging_none"]
  assert trees.find_columns(wanted, columns) == [
    "Bar_Strong",
    "smooth_or_featured_smooth",
    None,
  ]


@needs_real(KAGGLE)
def test_real_votes_obey_the_tree_with_its_quirk():
  table = pd.read_csv(KAGGLE / "training_solutions_rev1.zip")
  votes = table[list(campaigns.GZ2_KAGGLE.kaggle_columns())].to_numpy()
  assert len(votes) == 80
  # The files round to six digits; a sum of several may be off by two units.
  off = np.abs(trees.violation(campaigns.GZ2_KAGGLE, votes))
  assert np.mean(off <= 1e-6 + 1e-12) > 0.99
  assert off.max() < 2.5e-6
  np.testing.assert_allclose(
    trees.renormalise(campaigns.GZ2_KAGGLE, votes), votes, atol=2e-6
  )
  # By the tree alone Q6 would be off wherever somebody said "artifact".
  odd = campaigns.GZ2.question("something-odd")
  quirk = trees.violation(campaigns.GZ2, votes)[:, odd]
  np.testing.assert_allclose(quirk, votes[:, 2], atol=5e-6)
  assert quirk.max() > 0.1
