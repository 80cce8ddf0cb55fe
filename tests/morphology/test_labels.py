"""Votes to labels: each scheme by hand, and the table of what is left out."""

import numpy as np
import pandas as pd
import pytest

from gzjax.errors import UserError
from gzjax.morphology import answers, campaigns, labels, trees
from gzjax.morphology.labels import LEFT_OUT
from gzjax.morphology.votes import from_counts, from_fractions
from tests.real_data import KAGGLE, needs_real


def _votes(tree, galaxies, debiased=None):
  """Votes from dictionaries of full answer name -> count."""

  def table(rows, empty):
    values = np.full((len(rows), len(tree.answers)), empty)
    for i, row in enumerate(rows):
      for name, count in row.items():
        values[i, tree.index(name)] = count
    return values

  return from_counts(
    tree,
    table(galaxies, 0.0),
    None if debiased is None else table(debiased, np.nan),
  )


def _first(smooth, featured, artifact):
  return {
    "smooth-or-featured_smooth": smooth,
    "smooth-or-featured_featured-or-disk": featured,
    "smooth-or-featured_artifact": artifact,
  }


_GALAXIES = [
  _first(30, 9, 1),
  _first(2, 38, 0),
  _first(1, 1, 8),
  _first(0, 0, 0),
  _first(20, 19, 1),
  _first(2, 0, 1),
]


def test_the_preprint_takes_the_largest_answer_of_the_first_question():
  found = labels.make(_votes(campaigns.GZ2, _GALAXIES), "question")
  assert found.classes == ("smooth", "featured", "artifact")
  np.testing.assert_array_equal(found.label, [0, 1, 2, LEFT_OUT, 0, 0])
  np.testing.assert_allclose(found.shares[0], (0.75, 0.225, 0.025))
  np.testing.assert_array_equal(found.kept, [0, 1, 2, 4, 5])


def test_every_galaxy_that_is_left_out_is_counted_once():
  found = labels.make(
    _votes(campaigns.GZ2, _GALAXIES),
    "question",
    threshold=0.6,
    min_votes=5,
  )
  np.testing.assert_array_equal(
    found.label, [0, 1, 2, LEFT_OUT, LEFT_OUT, LEFT_OUT]
  )
  assert found.left_out == {
    "fewer than 5 volunteers": 2,
    "nobody answered smooth-or-featured": 0,  # the same one as above
    "uncertain: no class reaches its threshold": 1,
  }


def test_another_question_needs_volunteers_who_are_asked():
  rows = [
    _first(10, 30, 0) | {"disk-edge-on_no": 30, "bar_yes": 20, "bar_no": 10},
    _first(36, 4, 0) | {"disk-edge-on_no": 4, "bar_yes": 1, "bar_no": 3},
    _first(40, 0, 0),
  ]
  votes = _votes(campaigns.GZ2, rows)
  found = labels.make(votes, "question", question="bar", min_asked=0.715)
  assert found.classes == ("yes", "no")
  np.testing.assert_array_equal(found.label, [0, LEFT_OUT, LEFT_OUT])
  assert list(found.left_out.values()) == [1, 1]
  everybody = labels.make(votes, "question", question="bar")
  np.testing.assert_array_equal(everybody.label, [0, 1, LEFT_OUT])


def test_debiased_fractions_are_used_when_asked_for():
  votes = _votes(
    campaigns.GZD_5, [_first(30, 10, 0)], debiased=[_first(0.2, 0.79, 0.01)]
  )
  assert labels.make(votes, "question").label == [0]
  found = labels.make(votes, "question", debiased=True)
  assert found.label == [1]
  with pytest.raises(UserError, match=r"^debiased is"):
    labels.make(votes._replace(debiased=None), "question", debiased=True)


# Zhu et al. (2019), on cumulative fractions: just above and just below.
_CLEAN = [
  ({"Class1.1": 0.52, "Class7.1": 0.5}, "round"),
  ({"Class1.1": 0.9, "Class7.1": 0.49}, None),
  ({"Class1.1": 0.6, "Class7.2": 0.55}, "in_between"),
  ({"Class1.1": 0.6, "Class7.3": 0.5}, "cigar"),
  ({"Class1.1": 0.468, "Class7.3": 0.468}, None),
  ({"Class1.2": 0.7, "Class2.1": 0.61}, "edge_on"),
  ({"Class1.2": 0.9, "Class2.2": 0.72, "Class4.1": 0.62}, "spiral"),
  ({"Class1.2": 0.9, "Class2.2": 0.72, "Class4.1": 0.61}, None),
  ({"Class1.2": 0.9, "Class2.2": 0.714, "Class4.1": 0.65}, None),
]


def _cumulative(cells):
  """Fills the rest of each question so that the row obeys the tree."""
  tree, columns = campaigns.GZ2_KAGGLE, campaigns.GZ2_KAGGLE.kaggle_columns()
  values = np.zeros(len(columns))
  for name, value in cells.items():
    values[columns.index(name)] = value
  for q in tree.order:
    part = tree.slices[q]
    room = sum(values[a] for a in tree.parents[q]) if tree.parents[q] else 1
    # Into the last answer that no cell names.
    free = [a for a in range(part.start, part.stop) if not values[a]][-1]
    values[free] = max(0.0, room - values[part].sum())
  return values


def test_clean_five_classes():
  values = np.stack([_cumulative(cells) for cells, _ in _CLEAN])
  np.testing.assert_allclose(
    trees.violation(campaigns.GZ2_KAGGLE, values), 0, atol=1e-12
  )
  votes = from_fractions(campaigns.GZ2_KAGGLE, values)
  found = labels.make(votes, "clean_five")
  names = [*found.classes, None]
  assert [names[k] for k in found.label] == [name for _, name in _CLEAN]


def test_four_classes_of_the_slides():
  disk = {"disk-edge-on_no": 38, "merging_none": 40}
  rows = [
    _first(2, 38, 0) | disk | {"has-spiral-arms_yes": 37},
    _first(2, 38, 0)
    | disk
    | {"has-spiral-arms_no": 36, "has-spiral-arms_yes": 2},
    _first(38, 2, 0) | {"merging_none": 40},
    # Smooth, and yet merging: irregular comes first.
    _first(38, 2, 0) | {"merging_none": 5, "merging_merger": 35},
    _first(20, 20, 0) | {"merging_none": 40},
    _first(0, 2, 38),
  ]
  found = labels.make(_votes(campaigns.GZD_5, rows), "four")
  names = [*found.classes, None]
  assert [names[k] for k in found.label] == [
    "spiral",
    "lenticular",
    "elliptical",
    "irregular",
    None,
    None,
  ]
  assert found.left_out["uncertain: no class reaches its threshold"] == 2
  looser = labels.make(_votes(campaigns.GZD_5, rows), "four", threshold=0.4)
  assert names[looser.label[4]] == "elliptical"


# Trees that lack what these schemes ask.
_WITHOUT = {
  "clean_five": ("jwst_cosmos", "rings"),
  "leaf": ("jwst_cosmos", "rings"),
  "four": ("rings",),
  "question": (),
}
_WITHOUT_HIERARCHY = ("hubble", "hubble_v2", "candels", "jwst_cosmos", "rings")


@pytest.mark.parametrize("kind", ["clean_five", "leaf"])
def test_a_scheme_that_a_tree_has_no_questions_for_is_refused(kind):
  tree = campaigns.TREES["jwst_cosmos"]
  votes = from_counts(tree, np.ones((3, len(tree.answers))))
  with pytest.raises(UserError, match=f"kind is '{kind}': .*'how-rounded'"):
    labels.make(votes, kind)


@pytest.mark.parametrize("name", _WITHOUT_HIERARCHY)
def test_a_tree_without_the_slides_hierarchy_says_so(name):
  with pytest.raises(ValueError, match=f"{name}' lacks questions of the hier"):
    campaigns.hierarchy(campaigns.TREES[name])


@pytest.mark.parametrize(
  ("tree", "kind"),
  [
    (tree, kind)
    for kind, without in _WITHOUT.items()
    for tree in campaigns.TREES.values()
    if tree.name not in without
  ],
)
def test_every_scheme_works_on_every_tree_that_asks_what_it_needs(tree, kind):
  rng = np.random.default_rng(0)
  shares = trees.conditional(
    tree, rng.gamma(0.3, size=(400, len(tree.answers)))
  )
  votes = from_fractions(tree, trees.joint(tree, shares))
  found = labels.make(votes, kind)
  assert set(found.label) <= set(range(LEFT_OUT, len(found.classes)))
  # All classes occur; the few irregular ones need a lower threshold.
  assert len(set(found.label[found.kept])) >= len(found.classes) - 1
  assert len(found.kept) + sum(found.left_out.values()) == 400
  assert found.shares.shape == (400, len(found.classes))


def test_leaves():
  rows = [
    _first(40, 0, 0) | {"how-rounded_in-between": 40},
    _first(0, 40, 0) | {"disk-edge-on_yes": 40, "bulge-shape_round": 40},
    _first(0, 40, 0)
    | {"disk-edge-on_no": 40, "bar_yes": 30, "bar_no": 10}
    | {"has-spiral-arms_yes": 40},
    _first(0, 40, 0)
    | {"disk-edge-on_no": 40, "bar_no": 40, "has-spiral-arms_no": 40},
    _first(20, 20, 0) | {"how-rounded_round": 20, "disk-edge-on_no": 20},
  ]
  found = labels.make(_votes(campaigns.GZ2, rows), "leaf")
  names = [*found.classes, None]
  assert [names[k] for k in found.label] == [
    "smooth_inbetween",
    "edge_on_disk",
    "barred_spiral",
    "featured_without_bar_or_spiral",
    None,
  ]


def test_leaves_need_votes_on_the_questions_that_decide():
  rows = [
    _first(40, 0, 0),  # a table without the other questions
    _first(0, 40, 0) | {"disk-edge-on_no": 40},
    _first(0, 40, 0) | {"disk-edge-on_no": 40, "has-spiral-arms_yes": 40},
  ]
  found = labels.make(_votes(campaigns.GZD_5, rows), "leaf")
  assert list(found.label) == [LEFT_OUT] * 3


def test_gz2_class_strings():
  rows = [
    _first(40, 0, 0) | {"how-rounded_cigar": 40, "something-odd_no": 40},
    _first(0, 40, 0) | {"disk-edge-on_yes": 40, "bulge-shape_boxy": 40},
    # The example of the paper.
    _first(0, 40, 0)
    | {"disk-edge-on_no": 40, "bar_yes": 40, "has-spiral-arms_yes": 40}
    | {"spiral-winding_medium": 40, "spiral-arm-count_2": 40}
    | {"bulge-size_just-noticeable": 40, "something-odd_no": 40},
    _first(0, 0, 40),
    _first(40, 0, 0)
    | {"how-rounded_round": 40, "something-odd_yes": 40}
    | {"odd-feature_dust-lane": 30},
    _first(0, 0, 0),
  ]
  found = labels.gz2_class(_votes(campaigns.GZ2, rows))
  assert list(found) == ["Ec", "Seb", "SBc2m", "A", "Er(u)", ""]


def test_ten_targets_of_debiased_fractions_over_a_half():
  complete = _first(0.1, 0.89, 0.01) | {
    "disk-edge-on_yes": 0.2,
    "disk-edge-on_no": 0.8,
    "has-spiral-arms_yes": 0.51,
    "has-spiral-arms_no": 0.49,
    "bar_strong": 0.5,
    "bar_weak": 0.3,
    "bar_no": 0.2,
  }
  votes = _votes(
    campaigns.GZD_5, [_first(4, 5, 0)] * 2, [complete, _first(1, 0, 0)]
  )
  names, target, known = answers.multi_label(votes)
  assert len(names) == 10
  np.testing.assert_array_equal(known, [True, False])
  on = {name for name, x in zip(names, target[0], strict=True) if x}
  assert on == {
    "smooth-or-featured_featured-or-disk",
    "disk-edge-on_no",
    "has-spiral-arms_yes",
  }
  chosen, target, _ = answers.multi_label(votes, ["bar_strong"], 0.4)
  assert chosen == ("bar_strong",)
  np.testing.assert_array_equal(target, [[1], [0]])


_BRANCHES = [
  _first(35, 5, 0)
  | {"how-rounded_round": 30, "how-rounded_in-between": 5}
  | {"merging_none": 40},
  _first(5, 35, 0)
  | {"disk-edge-on_no": 30, "disk-edge-on_yes": 5}
  | {"has-spiral-arms_yes": 28, "has-spiral-arms_no": 2}
  | {"merging_none": 4, "merging_merger": 36},
  _first(5, 35, 0) | {"disk-edge-on_yes": 35, "merging_none": 40},
  # Too few answers to the second question.
  _first(1, 3, 0) | {"disk-edge-on_no": 3, "has-spiral-arms_no": 3},
  _first(0, 1, 39),
]


def test_branches_of_the_hierarchy():
  found = answers.branches(_votes(campaigns.GZD_5, _BRANCHES), min_votes=4)
  assert {name: branch.question for name, branch in found.items()} == {
    "root": "smooth-or-featured",
    "smooth": "how-rounded",
    "disk": "disk-edge-on",
    "spiral": "has-spiral-arms",
    "merging": "merging",
  }
  none = LEFT_OUT
  wanted = {
    "root": [0, 1, 1, 1, 2],
    "smooth": [0, none, none, none, none],
    "disk": [none, 1, 0, none, none],
    "spiral": [none, 0, none, none, none],
    "merging": [none, 3, none, none, none],
  }
  for name, label in wanted.items():
    np.testing.assert_array_equal(found[name].labels.label, label)
  assert found["disk"].labels.left_out == {
    "the majority leads elsewhere": 2,
    "fewer than 4 answers": 1,
    "nobody answered disk-edge-on": 0,
  }


def test_answers_that_the_networks_of_the_hierarchy_learn():
  tree, found = answers.branch_answers(
    _votes(campaigns.GZD_5, _BRANCHES), min_votes=4
  )
  assert tree == campaigns.hierarchy(campaigns.GZD_5)
  assert found.dtype == np.float32
  wanted = [
    {"smooth-or-featured_smooth", "how-rounded_round"},
    {
      "smooth-or-featured_featured-or-disk",
      "disk-edge-on_no",
      "has-spiral-arms_yes",
      "merging_merger",
    },
    {"smooth-or-featured_featured-or-disk", "disk-edge-on_yes"},
    {"smooth-or-featured_featured-or-disk"},
    {"smooth-or-featured_artifact"},
  ]
  for row, names in zip(found, wanted, strict=True):
    assert set(row) == {0, 1}
    assert {tree.answers[a] for a in np.flatnonzero(row)} == names


@pytest.mark.parametrize(
  "tree",
  [x for x in campaigns.TREES.values() if x.name not in _WITHOUT_HIERARCHY],
  ids=lambda tree: tree.name,
)
@pytest.mark.parametrize("min_votes", [0, 5])
def test_the_hierarchy_of_every_tree_galaxy_by_galaxy(tree, min_votes):
  rng = np.random.default_rng(3)
  counts = rng.integers(0, 9, (500, len(tree.answers)))
  for part in tree.slices:
    counts[rng.random(500) < 0.2, part] = 0
  inner, found = answers.branch_answers(from_counts(tree, counts), min_votes)
  deep = 0
  for row, target in zip(counts, found, strict=True):
    votes = dict(zip(tree.answers, row.tolist(), strict=True))

    def most(question, votes=votes):
      given = [name for name in votes if name.startswith(f"{question}_")]
      return max(given, key=votes.get), sum(map(votes.get, given))

    first, disk = most("smooth-or-featured"), most("disk-edge-on")
    featured = first[1] and first[0].endswith("featured-or-disk")
    asked = {
      "smooth-or-featured": True,
      "how-rounded": first[1] and first[0].endswith("smooth"),
      "disk-edge-on": featured,
    }
    for question in ("has-spiral-arms", "merging", "something-odd"):
      asked[question] = featured and disk[1] and disk[0].endswith("_no")
    wanted = set()
    for question in inner.questions:
      answer, n = most(question.name)
      if asked[question.name] and n >= max(min_votes, 1):
        wanted.add(answer)
    assert {inner.answers[a] for a in np.flatnonzero(target)} == wanted
    deep += len(wanted) >= 4
  assert deep > 10


def test_some_classes_only():
  found = labels.make(_votes(campaigns.GZ2, _GALAXIES), "question")
  only = labels.only(found, ("featured", "smooth"))
  assert only.classes == ("featured", "smooth")
  np.testing.assert_array_equal(only.label, [1, 0, -1, -1, 1, 1])
  assert only.left_out["of a class that was not asked for"] == 1
  np.testing.assert_array_equal(only.shares, found.shares[:, [1, 0]])
  assert labels.only(found, ()) is found
  with pytest.raises(UserError, match=r"^classes names 'ring'"):
    labels.only(found, ("ring", "smooth"))


def test_mistakes_are_named():
  votes = _votes(campaigns.GZ2, _GALAXIES)
  with pytest.raises(UserError, match=r"^kind is 'five': choose"):
    labels.make(votes, "five")
  with pytest.raises(UserError, match=r"^question is 'colour': choose"):
    labels.make(votes, "question", question="colour")
  with pytest.raises(UserError, match=r"without the number of volunteers"):
    answers.branches(votes._replace(counts=None), min_votes=5)
  with pytest.raises(UserError, match=r"set min_votes to 0"):
    labels.make(votes._replace(counts=None), "question", min_votes=5)


@needs_real(KAGGLE)
def test_real_votes():
  table = pd.read_csv(KAGGLE / "training_solutions_rev1.zip")
  values = table[list(campaigns.GZ2_KAGGLE.kaggle_columns())].to_numpy()
  votes = from_fractions(campaigns.GZ2_KAGGLE, values)
  np.testing.assert_allclose(votes.cumulative, values, atol=2e-6)
  found = labels.make(votes, "question")
  np.testing.assert_array_equal(found.label, values[:, :3].argmax(axis=1))
  assert len(found.kept) == 80
