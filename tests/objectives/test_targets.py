"""What logits mean: heads, laws and classes, against SciPy and plain loops."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import log_loss

from gzjax import fisher, models
from gzjax.fisher import diagonal
from gzjax.morphology import campaigns, trees
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE, GZD_5
from gzjax.objectives import losses, targets
from tests import networks
from tests.fisher import truth

RNG = np.random.default_rng(0)
HEADS = get_args(targets.Head)
CLASSES = (0, 1, 2)  # the answers to the first question
SMALL = trees.Tree("small", GZ2.questions[:2])


def _logits(tree, count=7):
  return RNG.normal(size=(count, len(tree.answers))).astype(np.float32) * 2


def _counts(tree, count=7, people=40):
  """Votes that obey the tree, volunteer by volunteer."""
  votes = np.zeros((count, len(tree.answers)), np.float32)
  for row in votes:
    for _ in range(people):
      given = set()
      for q in tree.order:
        parents = tree.parents[q]
        if not parents or given & set(parents):
          part = tree.slices[q]
          answer = int(RNG.integers(part.start, part.stop))
          given.add(answer)
          row[answer] += 1
  return votes


@pytest.mark.parametrize("tree", [GZ2, GZ2_KAGGLE, GZD_5], ids=lambda t: t.name)
@pytest.mark.parametrize("head", HEADS)
def test_heads_divide_positive_numbers_by_their_sum(tree, head):
  logits = _logits(tree)
  positive = {
    "sigmoid": special.expit,
    "divisive": lambda z: np.maximum(z + 1, 0) + 1e-12,
    "softmax": np.exp,
  }[head](logits.astype(np.float64))
  found = targets.share_head(tree, head)(jnp.asarray(logits))
  for part in tree.slices:
    wanted = positive[:, part] / positive[:, part].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, part], wanted, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_heads_stay_finite_at_extreme_logits(head):
  target = targets.fractions(GZ2, CLASSES, head=head)
  votes = jnp.asarray(_counts(GZ2, 2) / 40)
  for size in (1e4, -1e4):
    logits = jnp.full((2, 37), size).at[:, ::3].set(-size)
    loss, slope = jax.value_and_grad(
      lambda z: jnp.sum(target.objective(z, {"votes": votes}))
    )(logits)
    assert np.isfinite(loss)
    assert np.isfinite(slope).all()
    assert np.isfinite(targets.interpret(target, logits).probabilities).all()


def test_a_fresh_divisive_head_is_undecided_and_alive():
  target = targets.fractions(GZ2, CLASSES, head="divisive")
  shares = target.shares(jnp.zeros((1, 37)))
  for part in GZ2.slices:
    np.testing.assert_allclose(shares[0, part], 1 / (part.stop - part.start))
  votes = jnp.asarray(_counts(GZ2, 1) / 40)
  slope = jax.grad(lambda z: target.objective(z, {"votes": votes})[0])(
    jnp.zeros((1, 37))
  )
  assert np.count_nonzero(slope) > 30


def test_the_loss_of_fractions_is_the_challenges_error():
  """Root mean square over all answers of all galaxies, of cumulative values."""
  tree = GZ2_KAGGLE
  target = targets.fractions(tree, CLASSES, head="sigmoid")
  logits, votes = _logits(tree), _counts(tree) / np.float32(40)
  shares = np.asarray(target.shares(jnp.asarray(logits)), np.float64)
  cumulative = trees.joint(tree, shares)
  each = target.objective(jnp.asarray(logits), {"votes": jnp.asarray(votes)})
  np.testing.assert_allclose(
    target.summary(jnp.mean(each)),
    np.sqrt(np.mean((cumulative - votes) ** 2)),
    rtol=1e-5,
  )
  # A perfect network still has a gradient that is a number.
  perfect = jax.grad(lambda x: target.summary(x * x))(0.0)
  assert np.isfinite(perfect)


@pytest.mark.parametrize("tree", [GZ2, GZD_5], ids=lambda t: t.name)
def test_counts_against_scipy(tree):
  logits, votes = _logits(tree), _counts(tree)
  alpha = 1 + 100 * special.expit(logits.astype(np.float64))
  wanted = np.zeros((len(votes), len(tree.questions)))
  for q, part in enumerate(tree.slices):
    for i, given in enumerate(votes[:, part].astype(int)):
      if given.sum():
        wanted[i, q] = -stats.dirichlet_multinomial.logpmf(
          given, alpha[i, part], given.sum()
        )
  found = losses.dirichlet_multinomial_by_question(
    tree, jnp.asarray(votes), targets.concentration(jnp.asarray(logits))
  )
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-3)
  whole = targets.counts(tree, CLASSES).objective(
    jnp.asarray(logits), {"votes": jnp.asarray(votes)}
  )
  np.testing.assert_allclose(whole, wanted.sum(axis=1), rtol=1e-4, atol=5e-3)


def test_questions_without_votes_contribute_exactly_nothing():
  target = targets.counts(GZ2, CLASSES)
  votes = jnp.asarray(_counts(GZ2, 3))
  edge_on = GZ2.slices[GZ2.question("disk-edge-on")]
  votes = votes.at[:, edge_on].set(0)
  logits = jnp.asarray(_logits(GZ2, 3))

  def loss(z):
    return jnp.sum(target.objective(z, {"votes": votes}))

  slope = jax.grad(loss)(logits)
  assert not np.asarray(slope[:, edge_on]).any()
  assert np.asarray(slope[:, GZ2.slices[0]]).all()
  moved = logits.at[:, edge_on].add(5.0)
  assert loss(moved) == loss(logits)
  nobody = target.objective(logits, {"votes": jnp.zeros_like(votes)})
  np.testing.assert_array_equal(nobody, 0)


def test_concentrations_lie_between_1_and_101():
  found = targets.concentration(jnp.array([-1e9, -1.0, 0.0, 1.0, 1e9]))
  np.testing.assert_allclose(found[::2], [1, 51, 101])
  assert np.all(np.diff(found) > 0)


@pytest.mark.parametrize(
  "target",
  [targets.fractions(GZ2, CLASSES, head=head) for head in HEADS]
  + [
    targets.counts(GZ2, CLASSES),
    targets.answers(GZ2, CLASSES, expects_fractions=True),
  ],
  ids=[*HEADS, "counts", "answers"],
)
def test_the_classes_are_the_answers_of_the_question(target):
  logits = _logits(GZ2)
  found = targets.interpret(target, logits)
  np.testing.assert_allclose(
    found.probabilities, found.votes.shares[:, :3], rtol=1e-5, atol=1e-7
  )
  logits[2, 5] = np.nan
  found = targets.interpret(target, logits)
  for values in (found.probabilities, found.votes.shares):
    assert np.isnan(values[2]).all()
    assert np.isfinite(np.delete(values, 2, axis=0)).all()


def test_another_question_can_be_the_classes():
  answers = [GZ2.index(f"bulge-size_{name}") for name in ("obvious", "no")]
  target = targets.fractions(GZ2, answers, head="softmax")
  logits = _logits(GZ2)
  wanted = special.softmax(logits[:, answers], axis=1)
  found = targets.interpret(target, logits).probabilities
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def _ways(tree, shares):
  """Every way of one volunteer through the tree, and its probability."""
  ways = [((), 1.0)]
  for q in tree.order:
    longer = []
    for given, p in ways:
      parents = tree.parents[q]
      if parents and not set(parents) & set(given):
        longer.append((given, p))
        continue
      part = tree.slices[q]
      longer += [
        ((*given, a), p * shares[a]) for a in range(part.start, part.stop)
      ]
    ways = longer
  return ways


def test_the_loss_of_answers_is_what_one_volunteer_costs_on_average():
  """-log p of a whole way, over all ways by how often they are taken."""
  tree = campaigns.hierarchy(GZD_5)
  target = targets.answers(tree, CLASSES, expects_fractions=True)
  logits = _logits(tree, 3)
  true = special.softmax(_logits(tree, 1)[0].astype(np.float64))
  true = trees.conditional(tree, true)
  said = np.asarray(target.shares(jnp.asarray(logits)), np.float64)
  wanted = [
    -sum(p * np.sum(np.log(row[list(way)])) for way, p in _ways(tree, true))
    for row in said
  ]
  assert sum(p for _, p in _ways(tree, true)) == pytest.approx(1)
  votes = np.tile(trees.joint(tree, true), (3, 1)).astype(np.float32)
  found = target.objective(jnp.asarray(logits), {"votes": jnp.asarray(votes)})
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_answers_of_the_majority_cost_the_cross_entropies_of_their_questions():
  tree = campaigns.hierarchy(GZD_5)
  target = targets.answers(tree, CLASSES, expects_fractions=False)
  logits = _logits(tree, 2)
  votes = np.zeros((2, len(tree.answers)), np.float32)
  smooth, round_ = tree.slices[0].start, tree.index("how-rounded_round")
  votes[0, [smooth, round_]] = 1  # nothing else is asked of the first galaxy
  found = target.objective(jnp.asarray(logits), {"votes": jnp.asarray(votes)})
  wanted = 0
  for answer in (smooth, round_):
    part = tree.slices[tree.question_of[answer]]
    wanted += special.logsumexp(logits[0, part]) - logits[0, answer]
  np.testing.assert_allclose(found, [wanted, 0], rtol=1e-5)


def test_the_loss_of_labels_is_that_of_sklearn():
  tree = trees.part(GZD_5, campaigns.TEN_LABELS)
  target = targets.labels(tree, CLASSES)
  logits = _logits(tree, 6)
  votes = RNG.integers(0, 2, logits.shape).astype(np.float32)
  found = target.objective(jnp.asarray(logits), {"votes": jnp.asarray(votes)})
  p = special.expit(logits.astype(np.float64))
  wanted = [
    sum(log_loss([t], [q], labels=[0, 1]) for t, q in zip(row, said))
    for row, said in zip(votes, p)
  ]
  np.testing.assert_allclose(found, wanted, rtol=1e-4)
  np.testing.assert_allclose(
    target.summary(found), np.divide(wanted, 10), rtol=1e-4
  )


def test_a_network_of_labels_says_each_answer_and_the_classes():
  tree = trees.part(GZD_5, campaigns.TEN_LABELS)
  logits = _logits(tree)
  found = targets.interpret(targets.labels(tree, CLASSES), logits)
  p = special.expit(logits.astype(np.float64))
  np.testing.assert_allclose(found.labels, p, rtol=1e-5)
  for part in tree.slices:
    wanted = p[:, part] / p[:, part].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.votes.shares[:, part], wanted, rtol=1e-5)
  # Given that exactly one of three independent answers is right.
  alone = np.stack(
    [
      np.prod([p[:, j] if j == k else 1 - p[:, j] for j in CLASSES], axis=0)
      for k in CLASSES
    ],
    axis=1,
  )
  np.testing.assert_allclose(
    found.probabilities, alone / alone.sum(axis=1, keepdims=True), rtol=1e-5
  )


def test_the_classes_of_a_classifier_are_its_softmax():
  logits = RNG.normal(size=(4, 3)).astype(np.float32)
  found = targets.interpret(targets.classes(3), logits)
  np.testing.assert_allclose(
    found.probabilities, special.softmax(logits, axis=1), rtol=1e-6
  )
  # Its one question has the classes for answers.
  np.testing.assert_allclose(found.votes.shares, found.probabilities, rtol=1e-6)


def test_drawn_votes_have_the_moments_of_the_law():
  """Mean n a / A and variance n p (1 - p) (n + A) / (1 + A), per question."""
  target = targets.counts(SMALL, CLASSES)
  logits = jnp.asarray(_logits(SMALL, 1)[0])
  given = jnp.asarray(_counts(SMALL, 1)[0])
  draws = 4000
  keys = jax.random.split(jax.random.key(1), draws)
  found = jax.jit(
    jax.vmap(
      lambda key: target.likelihood.sample(key, logits, {"votes": given})
    )
  )(keys)["votes"]
  alpha = np.asarray(targets.concentration(logits), np.float64)
  for part in SMALL.slices:
    n, total = float(given[part].sum()), alpha[part].sum()
    np.testing.assert_array_equal(found[:, part].sum(axis=1), n)
    p = alpha[part] / total
    variance = n * p * (1 - p) * (n + total) / (1 + total)
    z = (np.mean(found[:, part], axis=0) - n * p) / np.sqrt(
      np.maximum(variance, 1e-12) / draws
    )
    assert np.abs(z).max() < 5
    np.testing.assert_allclose(
      np.var(found[:, part], axis=0), variance, rtol=0.2, atol=1e-9
    )


@pytest.mark.parametrize("kind", ["fractions", "counts", "answers", "labels"])
def test_the_fisher_of_networks_of_votes_is_that_of_a_loop(mesh, kind):
  tree = GZ2
  target, scale = {
    "fractions": (targets.fractions(tree, CLASSES, head="sigmoid"), 40),
    "counts": (targets.counts(tree, CLASSES), 1),
    "answers": (targets.answers(tree, CLASSES, expects_fractions=True), 40),
    "labels": (targets.labels(tree, CLASSES), 40),
  }[kind]
  model = models.MODELS["resnet_tiny"](num_classes=37, width=4, small_stem=True)
  params, stats_ = models.init_variables(model, jax.random.key(0), 12)
  apply_fn = models.make_apply_fn(model)
  batch = networks.batch(8, padding=1)
  batch["votes"] = _counts(tree, 8) / np.float32(scale)
  found = fisher.fisher_diagonal(
    apply_fn,
    {"params": params, "batch_stats": stats_},
    [batch],
    spec=fisher.Spec(target.objective, target.likelihood),
    mesh=mesh,
  )
  with jax.enable_x64(True):
    wanted = truth.sum_of_squares(
      truth.loss_of_one(apply_fn, truth.in_float64(stats_), target.objective),
      params,
      batch,
    )
  assert truth.relative_error(found.sum_sq, wanted) < 1e-4


def test_the_true_fisher_of_counts_points_to_the_sampled_one():
  target = targets.counts(GZ2, CLASSES)
  with pytest.raises(ValueError, match="sampled"):
    diagonal.make_cotangents(
      fisher.Spec(target.objective, target.likelihood, "true")
    )


@pytest.mark.parametrize("count", [0, 5, 256, 600])
def test_any_number_of_galaxies_is_read_by_one_program(count):
  tree = GZ2
  target = targets.fractions(tree, CLASSES, head="softmax")
  logits = _logits(tree, count)
  found = targets.interpret(target, logits).votes.shares
  for part in tree.slices:
    wanted = special.softmax(logits[:, part], axis=1)
    np.testing.assert_allclose(found[:, part], wanted, rtol=1e-5)
  votes = RNG.random((count, 37)).astype(np.float32)
  cost = targets.example_losses(target, logits, {"votes": votes})
  wanted = np.sum((trees.joint(tree, found) - votes) ** 2, axis=1) / 2
  np.testing.assert_allclose(cost, wanted, rtol=1e-4)
  if count == 5:
    logits[3, 0] = np.inf
    cost = targets.example_losses(target, logits, {"votes": votes})
    assert list(np.isfinite(cost)) == [True, True, True, False, True]
