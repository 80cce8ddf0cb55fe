"""The report on predicted votes says what is in the files."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from gzjax.evaluation import flags, vote_tables
from gzjax.evaluation.dirichlet import mean_shares
from gzjax.morphology import trees
from gzjax.morphology.campaigns import GZ2, GZD_5
from gzjax.morphology.votes import Predictions, from_counts
from gzjax.pipeline.workdir import Workdir
from gzjax.report import figures, templates, vote_figures, vote_section

SPLIT = np.repeat(["train", "validation", "test"], [100, 60, 80])


def _fake(folder, tree, *, counts=True, broken=False, seed=0):
  """A run whose network nearly knows the volunteers' law."""
  rng = np.random.default_rng(seed)
  alpha = rng.uniform(1, 20, (len(SPLIT), len(tree.answers)))
  # Half the galaxies are plain mergers, or plainly none.
  a = tree.index(flags.merger(tree))
  alpha[::2, a] *= 40
  for answer in tree.questions[tree.question_of[a]].after:
    alpha[::2, tree.index(answer)] *= 40
  shares = mean_shares(tree, alpha)
  asked = np.rint(40 * trees.asked(tree, shares))
  votes = np.concatenate(
    [
      rng.multinomial(asked[:, q].astype(int), shares[:, part])
      for q, part in enumerate(tree.slices)
    ],
    axis=1,
  )
  seen = from_counts(tree, votes)
  if not counts:
    seen = seen._replace(counts=None)
  if broken:
    alpha = np.full_like(alpha, np.nan)
  law = 0.5 * alpha + 2
  said = Predictions(tree, mean_shares(tree, law), law if counts else None)
  for name in ("data", "evaluate/votes", "stages"):
    (folder / name).mkdir(parents=True)
  ids = pd.DataFrame({"id_str": [f"g{i}" for i in range(len(SPLIT))]})
  ids.assign(split=SPLIT).to_parquet(folder / "split.parquet")
  for name, table in (
    ("data/votes", vote_tables.votes_table(seen)),
    ("evaluate/original", vote_tables.predictions_table(said)),
  ):
    ids.join(table).to_parquet(folder / f"{name}.parquet")
  tables = vote_tables.vote_tables(
    seen,
    [("original", said), ("retrain", said)],
    rng.random((len(SPLIT), 3)),
    train=np.flatnonzero(SPLIT == "train"),
    test=np.flatnonzero(SPLIT == "test"),
  )
  for name, table in tables.items():
    table.to_csv(folder / "evaluate" / "votes" / f"{name}.csv", index=False)
  return Workdir(folder), seen, said


def _text(found):
  """The section as one line of words, and its HTML."""
  template = templates.template("vote_section.html.jinja")
  html = template.render(vote_model=found)
  words = re.sub(r"<(svg|table).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
  return re.sub(r"\s+", " ", words), html


@pytest.fixture(scope="module")
def dirichlet(tmp_path_factory):
  """A run with counts and concentrations, and what the report shows of it."""
  made = _fake(tmp_path_factory.mktemp("run") / "run", GZ2)
  return *made, vote_section.collect(made[0], trees.to_json(GZ2))


def test_a_network_that_predicts_classes_has_no_section(tmp_path):
  workdir = Workdir(tmp_path)
  assert vote_section.collect(workdir, None) is None
  # Nor has one of labels, which has a tree but no fractions.
  assert vote_section.collect(workdir, trees.to_json(GZ2)) is None


def test_the_numbers_of_the_words_are_those_of_the_galaxies(dirichlet):
  _, seen, said, found = dirichlet
  text, html = _text(found)
  test = SPLIT == "test"
  truth, predicted = seen.cumulative[test], said.cumulative[test]
  zero = truth == 0
  squares = (predicted - truth) ** 2
  assert f"{100 * zero.mean():.0f}% of the volunteers' fractions are" in text
  assert f"network says {predicted[zero].mean():.3f} on average" in text
  assert (
    f"zeros make {100 * squares[zero].sum() / squares.sum():.0f}% of" in text
  )
  costs = np.sum(squares * zero, axis=0)
  worst = GZ2.answers[costs.argmax()]
  question = GZ2.questions[GZ2.question_of[costs.argmax()]].name
  answer = worst.removeprefix(f"{question}_")
  assert f"They cost most at {question}, {answer}:" in text
  a = GZ2.index("odd-feature_merger")
  flagged, meant = predicted[:, a] >= 0.4, truth[:, a] >= 0.4
  assert 10 < flagged.sum() < 70
  assert f"Of the {flagged.sum()} test galaxies" in text
  assert f"{(flagged & meant).sum()} have such a fraction" in text
  assert f"{100 * meant[flagged].mean():.0f}% (95% interval" in text
  assert f"Of the {meant.sum()} galaxies with such" in text
  assert f"<td>{np.sqrt(squares.mean()):.4f}</td>" in html
  assert "mean vector" in html
  assert "central pixel" in html


def test_figures_name_what_they_show(dirichlet):
  *_, found = dirichlet
  for question in GZ2.questions:
    assert f">{question.name}</text>" in found["reliability"]
  assert ">threshold 0.4</text>" in found["precision_recall"]
  assert ">all questions</text>" in found["coverage"]
  assert "(farthest off)</text>" in found["coverage"]
  assert "hold " + f"{100 * found['at_90']['inside']:.1f}%" in _text(found)[0]
  for name in ("one law for all", "original", "retrain"):
    assert f'<th scope="col">{name}</th>' in found["likelihood"]


def test_the_dots_are_the_validation_galaxies(dirichlet, monkeypatch):
  workdir, seen, said, _ = dirichlet
  drawn = []
  monkeypatch.setattr(
    vote_figures,
    "predicted_against_true",
    lambda tree, truth, predicted: drawn.append((truth, predicted)),
  )
  vote_section.collect(workdir, trees.to_json(GZ2))
  rows = SPLIT == "validation"
  np.testing.assert_array_equal(drawn[0][0], seen.cumulative[rows])
  np.testing.assert_array_equal(drawn[0][1], said.cumulative[rows])
  monkeypatch.setattr(vote_section, "_DOTS", 20)
  vote_section.collect(workdir, trees.to_json(GZ2))
  some = pd.DataFrame(drawn[1][0])
  assert len(some.drop_duplicates()) == 20
  assert len(some.merge(pd.DataFrame(seen.cumulative[rows]))) == 20


def test_the_picture_of_the_dots_is_drawn_where_they_are():
  rng = np.random.default_rng(0)
  truth = rng.random((200, len(GZD_5.answers)))
  images = []
  for predicted in (truth, truth[::-1], truth):
    uri = vote_figures.predicted_against_true(GZD_5, truth, predicted)
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    images.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
  np.testing.assert_array_equal(images[0], images[2])
  assert images[0].shape[1] > 1200

  def coloured(image):
    red, _, blue = (image[..., k].astype(int) for k in range(3))
    return np.sum(np.abs(red - blue) > 40)

  # On the diagonal the dots hide each other.
  assert coloured(images[1]) > 1.2 * coloured(images[0]) > 0


def test_votes_without_counts_have_no_intervals(tmp_path):
  workdir, *_ = _fake(tmp_path / "run", GZD_5, counts=False)
  text, html = _text(vote_section.collect(workdir, trees.to_json(GZD_5)))
  assert "Calibration" in text
  assert "intervals at a level" not in text
  assert "one law for all" not in html


def test_a_network_that_is_not_finite_has_a_section_that_says_so(tmp_path):
  workdir, *_ = _fake(tmp_path / "run", GZ2, broken=True)
  found = vote_section.collect(workdir, trees.to_json(GZ2))
  text, html = _text(found)
  assert "No test galaxy has a predicted merger fraction" in text
  assert "reliability" not in found
  assert "hold 0.0%" in text
  assert found["baselines"][2]["rmse"] > 0.9
  assert "<td>inf</td>" in html


def test_a_sky_without_mergers(dirichlet):
  *_, found = dirichlet
  truth = np.zeros((30, 37))
  table = flags.flag(GZ2, truth, truth + 0.5, thresholds=flags.THRESHOLDS)
  assert "<svg" in vote_figures.precision_recall(
    table[table["meant"] == "fraction"], 0.4
  )
  flag = flags.flag(GZ2, truth, truth + 0.5).set_index("meant")
  text, _ = _text({**found, "flag": flag.to_dict("index")})
  assert "30 test galaxies with a predicted merger fraction" in text
  assert "0 have such a fraction of the votes: a precision of 0%" in text
  assert "No test galaxy has such a fraction of the votes." in text


def _log(**validation):
  lines = [
    {"epoch": epoch, "split": split, "loss": 1 / epoch, **values}
    for epoch in (1, 2, 3)
    for split, values in (
      ("train", {"learning_rate": 10.0**-epoch} if validation else {}),
      ("validation", validation or {"balanced_accuracy": 0.5}),
    )
  ]
  text = "\n".join(json.dumps(line) for line in lines)
  return pd.read_json(io.StringIO(text), lines=True)


def test_learning_curves_of_votes_and_of_classes():
  votes = figures.learning_curves({"train": _log(rmse=0.1)})
  assert ">RMSE of vote fractions, validation</text>" in votes
  assert ">learning rate (dotted)</text>" in votes
  classes = figures.learning_curves({"train": _log()})
  assert ">balanced accuracy, validation</text>" in classes
  assert "learning rate" not in classes
