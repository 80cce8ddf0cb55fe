"""A problem from arrays: what it refuses, and what its parts mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gzjax import fisher, models
from gzjax.data import feed
from gzjax.morphology.trees import Question, Tree
from gzjax.objectives import targets
from gzjax.problem import Network, Problem, ask
from gzjax.unlearning import METHODS, run
from tests import problems

IMAGE, GIVEN, TRUE = problems.arrays()


@pytest.fixture(scope="module")
def problem():
  return problems.make()


@pytest.mark.parametrize(
  ("name", "changes"),
  [
    ("image", {"image": IMAGE[..., 0]}),
    ("image", {"image": IMAGE[..., :2]}),
    ("image", {"image": IMAGE.astype(np.float32)}),
    ("label", {"label": GIVEN[1:]}),
    ("label", {"label": GIVEN.astype(np.float32)}),
    ("label", {"label": GIVEN - 1}),
    ("label", {"classes": 2}),
    ("true_label", {"true_label": TRUE[:, None]}),
    ("true_label", {"true_label": TRUE + 1, "classes": 3}),
    ("forget", {"true_label": None}),
    ("forget", {"forget": np.array([problems.COUNT])}),
    ("forget", {"forget": np.array([], int)}),
    ("forget", {"forget": GIVEN != TRUE}),
    ("forget", {"forget": np.arange(problems.COUNT)}),
  ],
)
def test_what_fits_nothing_is_refused_by_its_name(name, changes):
  how = {"image": IMAGE, "label": GIVEN, "true_label": TRUE, **changes}
  with pytest.raises(ValueError, match=f"^{name} "):
    Problem.from_arrays(problems.Net(), **how)


def test_sets_and_labels(problem):
  sets = problem.sets
  parts = (sets.train, sets.validation, sets.test)
  np.testing.assert_array_equal(
    np.sort(np.concatenate(parts)), np.arange(problems.COUNT)
  )
  np.testing.assert_array_equal(problem.given[sets.train], GIVEN[sets.train])
  np.testing.assert_array_equal(problem.given[sets.test], TRUE[sets.test])
  np.testing.assert_array_equal(problem.wrong, sets.forget)
  np.testing.assert_array_equal(problem.right, sets.retain)
  assert np.all(problem.unseen.label != problem.true[problem.unseen.rows])


def test_without_the_truth_what_is_to_be_forgotten_is_wrong(problem):
  rows = problem.sets.train[[5, 2, 9]]
  own = problems.make(true_label=None, forget=rows)
  assert own.review is not None and problem.review is None
  np.testing.assert_array_equal(own.wrong, np.sort(rows))
  np.testing.assert_array_equal(own.right, own.sets.retain)
  np.testing.assert_array_equal(own.true, GIVEN)


def test_rows_to_forget_count_once(problem):
  rows = problem.sets.train[[5, 2, 5]]
  found = problems.make(forget=rows).sets
  np.testing.assert_array_equal(found.forget, np.sort(rows[:2]))
  assert len(found.retain) == len(found.train) - 2


def test_classes_are_the_answers_to_one_question():
  tree = Tree("t", (Question("q", "Which?", ("a", "b", "c")),))
  one = targets.classes(3)
  other = targets.answers(tree, (0, 1, 2), expects_fractions=False)
  rng = np.random.default_rng(0)
  label = rng.integers(0, 3, 8).astype(np.int32)
  batch = {
    "image": rng.normal(size=(8, 6, 6, 3)).astype(np.float32),
    "label": label,
    "votes": np.eye(3, dtype=np.float32)[label],
    "valid": np.ones(8, np.float32),
    "id": np.arange(8, dtype=np.int32),
  }
  logits = jnp.asarray(rng.normal(size=(8, 3)), jnp.float32)
  np.testing.assert_allclose(
    one.objective(logits, batch), other.objective(logits, batch), rtol=1e-6
  )
  net = problems.Net()
  params, _ = models.init_variables(net, jax.random.key(0), 6)
  found = [
    fisher.fisher_diagonal(
      net,
      {"params": params},
      [batch],
      spec=fisher.Spec(
        objective=target.objective, likelihood=target.likelihood, kind="true"
      ),
    )
    for target in (one, other)
  ]
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_the_constant_network_is_a_row_like_any_other(problem):
  network = run(problem, METHODS["constant"], None)
  assert (network.name, network.role) == ("constant", "baseline")
  said = ask(problem, network, np.arange(5))
  count = np.bincount(problem.given[problem.sets.train], minlength=3)
  wanted = np.tile(np.eye(3)[count.argmax()], (5, 1))
  np.testing.assert_array_equal(said.probabilities, wanted)
  shares = np.tile(count / count.sum(), (5, 1))
  np.testing.assert_allclose(said.votes.shares, shares, rtol=1e-6)


def test_the_rows_of_a_prediction_are_in_order(problem):
  fresh = Network("fresh", *problem.fresh)
  network = run(problem, METHODS["original"], fresh)
  rows = np.array([7, 3, 90])
  batches = problem.feed.batches(feed.ordered_rows(rows, 3))
  (batch,) = list(batches)
  wanted, _ = problem.apply_fn(*problem.fresh, batch["image"], train=False)
  found = ask(problem, network, rows).probabilities
  np.testing.assert_allclose(found, jax.nn.softmax(wanted), rtol=1e-5)
