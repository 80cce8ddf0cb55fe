"""Votes in a table: whatever it calls them, the records say the same."""

import zipfile

import numpy as np
import pandas as pd
import pytest

from gzjax.data import dataset
from gzjax.data.galaxy_catalog.catalog import Columns, read_catalog, read_rows
from gzjax.data.galaxy_catalog.guess_labels import find_tree
from gzjax.data.galaxy_catalog.votes import spellings
from gzjax.morphology.campaigns import GZ2, GZ2_KAGGLE, GZD_5, TREES
from tests.data.catalogs import (
  CLASSES,
  add_columns,
  builder_of,
  edit,
  refusal,
  write_catalog,
)
from tests.real_data import KAGGLE, needs_real

VOLUNTEERS = 40


def walk(tree, galaxies, seed=0):
  """Vote counts of volunteers who walk the tree, i[N,A]."""
  rng = np.random.default_rng(seed)
  counts = np.zeros((galaxies, len(tree.answers)), int)
  names = list(tree.answers)
  for galaxy in counts:
    taste = rng.dirichlet(np.full(8, 0.5), len(tree.questions))
    for _ in range(VOLUNTEERS):
      given = set()
      for q in tree.order:
        question = tree.questions[q]
        if question.after and not given & set(question.after):
          continue
        p = taste[q, : len(question.answers)] + 1e-3
        answer = rng.choice(question.answers, p=p / p.sum())
        given.add(f"{question.name}_{answer}")
      for name in given:
        galaxy[names.index(name)] += 1
  return counts


def shares(tree, counts):
  """Conditional fractions, NaN where nobody was asked."""
  found = np.full(counts.shape, np.nan)
  for part in tree.slices:
    total = counts[:, part].sum(axis=1, keepdims=True)
    np.divide(counts[:, part], total, out=found[:, part], where=total > 0)
  return found


def write(folder, names, values, order=None):
  """A catalogue with columns of votes; NaN becomes an empty cell."""
  path = write_catalog(folder, len(values))
  table = pd.DataFrame(values, columns=list(names))
  order = order if order is not None else range(len(table.columns))
  add_columns(path, table.iloc[:, list(order)])
  return path


def read(path, **columns):
  return read_catalog(path, path.parent, Columns(**columns), CLASSES)


def zoobot(tree, campaign):
  return [
    f"{question.name}-{campaign}_{answer}"
    for question in tree.questions
    for answer in question.answers
  ]


def underscored(names):
  return [name.replace("-", "_").upper() for name in names]


@pytest.mark.parametrize(
  ("tree", "names"),
  [
    *((tree, tree.answers) for tree in TREES.values()),
    (GZD_5, underscored(GZD_5.answers)),
    (GZ2, zoobot(GZ2, "gz2")),
    (GZD_5, zoobot(GZD_5, "dr5")),
    (TREES["gzd_1_2"], zoobot(TREES["gzd_1_2"], "dr12")),
    (GZ2, [f"{stem}_count" for stem in GZ2.stems]),
  ],
)
def test_counts_in_every_spelling_and_any_order(tmp_path, tree, names):
  counts = walk(tree, 6)
  order = np.random.default_rng(1).permutation(len(names))
  path = write(tmp_path, names, counts, order)
  found = read(path, tree=tree.name)
  stored = np.stack(found.frame["counts"])
  assert stored.dtype == np.float32
  np.testing.assert_array_equal(stored, counts)
  assert found.notes == ()
  assert "label" in found.frame


def test_spellings_are_those_of_the_real_catalogues():
  obvious = GZ2.index("bulge-size_obvious")
  assert {way[obvious] for way in spellings(GZ2, "_count")} == {
    "bulge-size_obvious_count",
    "bulge-size-gz2_obvious_count",
    "t05_bulge_prominence_a12_obvious_count",
    "Class5.3_count",
  }
  strong = GZD_5.index("bar_strong")
  assert {way[strong] for way in spellings(GZD_5, "")} == {
    "bar_strong",
    "bar-dr5_strong",
    "bar-dr8_strong",
  }


def test_a_tree_in_a_file_is_recorded_with_the_votes(tmp_path):
  """Read without the file; another data set once the file is another."""
  tree = tmp_path / "mine.yaml"
  words = "questions:\n- {name: shape, answers: [round, odd]}\n"
  tree.write_text(
    words + "- {name: ring, answers: [yes, no], after: [shape]}\n"
  )
  names = ["shape_round", "shape_odd", "ring_yes", "ring_no"]
  counts = np.random.default_rng(0).integers(1, 9, (6, 4))
  path = write(tmp_path, names, counts)
  columns = Columns(tree=str(tree))
  builder = builder_of(path, columns)
  folder = dataset.prepare(builder)
  tree.write_text(words + "- {name: ring, answers: [yes, no]}\n")
  votes = dataset.load(folder, crop=0, size=8).votes
  assert votes.tree.name == "mine"
  assert votes.tree.questions[1].after == ("shape_round", "shape_odd")
  np.testing.assert_array_equal(votes.counts, counts)
  assert builder_of(path, columns).data_dir != builder.data_dir


@pytest.mark.parametrize("name", ["hubble", "hubble_v2", "jwst", "jwst_cosmos"])
def test_the_campaign_is_guessed_of_those_with_the_same_suffix(tmp_path, name):
  tree = TREES[name]
  path = write(tmp_path, zoobot(tree, tree.campaigns[0]), walk(tree, 8))
  rows = read_rows(path, Columns())
  assert find_tree(rows).tree == name


@pytest.mark.fault("A10")
@pytest.mark.parametrize("form", ["counts", "fractions"])
def test_campaigns_of_one_tree_are_merged(tmp_path, form):
  """Each row has the votes of the first campaign that it has any of."""
  counts = walk(GZD_5, 8)
  values = counts if form == "counts" else counts / VOLUNTEERS
  first, second = values.astype(float), values.astype(float)
  first[5:], second[:3] = np.nan, np.nan
  second[3:5] *= 0.5  # rows that have both
  path = write(tmp_path, zoobot(GZD_5, "dr8"), second)
  older = zoobot(TREES["gzd_1_2"], "dr12")
  add_columns(path, pd.DataFrame(first, columns=zoobot(GZD_5, "dr5")))
  add_columns(path, pd.DataFrame(1, index=range(8), columns=older))
  found = read(path, tree="gzd_5", vote_form=form)
  np.testing.assert_allclose(np.stack(found.frame[form]), values, atol=1e-6)
  assert sum("not used" in x for x in found.notes) == 1
  assert f"{older[0]} and {len(older) - 1} more" in found.notes[-1]


@pytest.mark.parametrize("form", ["conditional", "cumulative", "empty"])
@pytest.mark.parametrize(
  "tree",
  [x for x in TREES.values() if len(x.questions) > 1],
  ids=lambda x: x.name,
)
def test_fractions_become_cumulative(tmp_path, tree, form):
  counts = walk(tree, 8)
  values = {
    "conditional": np.nan_to_num(shares(tree, counts)),
    "empty": shares(tree, counts),
    "cumulative": counts / VOLUNTEERS,
  }[form]
  assert np.isnan(values).any() == (form == "empty")
  path = write(tmp_path, [f"{name}_fraction" for name in tree.answers], values)
  found = read(path, tree=tree.name, vote_form="fractions")
  np.testing.assert_allclose(
    np.stack(found.frame["fractions"]), counts / VOLUNTEERS, atol=1e-6
  )
  (note,) = found.notes
  wanted = "cumulative" if form == "cumulative" else "conditional"
  assert note.endswith(f"are {wanted}")


def test_a_table_with_counts_fractions_and_debiased_fractions(tmp_path):
  counts = walk(GZD_5, 6)
  known = shares(GZD_5, counts)
  path = write(tmp_path, GZD_5.answers, counts)
  for ending, values in (("_fraction", known), ("_debiased", known**2)):
    names = [name + ending for name in GZD_5.answers]
    add_columns(path, pd.DataFrame(values, columns=names))
  found = read(path, tree="gzd_5").frame
  np.testing.assert_array_equal(np.stack(found["counts"]), counts)
  np.testing.assert_allclose(np.stack(found["debiased"]), known**2, rtol=1e-6)
  found = read(path, tree="gzd_5", vote_form="fractions").frame
  np.testing.assert_allclose(
    np.stack(found["fractions"]), counts / VOLUNTEERS, atol=1e-6
  )


def test_zoobots_gz2_lacks_a_question_and_turns_another_round(tmp_path):
  counts = walk(GZ2, 6)
  table = pd.DataFrame(counts, columns=zoobot(GZ2, "gz2"))
  bulge = [name for name in table if name.startswith("bulge-size")]
  odd = [name for name in table if name.startswith("odd-feature")]
  assert (len(bulge), len(odd)) == (4, 7)
  table = table[[*bulge[::-1], *table.columns.drop([*bulge, *odd])]]
  found = read(write(tmp_path, table.columns, table.to_numpy()), tree="gz2")
  part = GZ2.slices[GZ2.question("odd-feature")]
  assert counts[:, part].any()
  counts[:, part] = 0
  np.testing.assert_array_equal(np.stack(found.frame["counts"]), counts)
  (note,) = found.notes
  assert "'odd-feature'" in note


def _without(tree, question, values):
  table = pd.DataFrame(values, columns=list(tree.answers))
  return table.drop(
    columns=[name for name in table if name.startswith(f"{question}_")]
  )


def test_fractions_of_a_missing_question_are_unknown(tmp_path):
  counts = walk(GZ2, 6)
  table = _without(GZ2, "odd-feature", np.nan_to_num(shares(GZ2, counts)))
  path = write(tmp_path, table.columns, table.to_numpy())
  found = np.stack(
    read(path, tree="gz2", vote_form="fractions").frame["fractions"]
  )
  part = GZ2.slices[GZ2.question("odd-feature")]
  assert np.isnan(found[:, part]).all()
  wanted = np.delete(counts / VOLUNTEERS, part, axis=1)
  np.testing.assert_allclose(np.delete(found, part, 1), wanted, atol=1e-6)


@pytest.mark.parametrize("form", ["conditional", "cumulative"])
def test_a_missing_question_in_the_middle_of_the_tree(tmp_path, form):
  counts = walk(GZ2, 6)
  values = {
    "conditional": np.nan_to_num(shares(GZ2, counts)),
    "cumulative": counts / VOLUNTEERS,
  }[form]
  table = _without(GZ2, "has-spiral-arms", values)
  path = write(tmp_path, table.columns, table.to_numpy())
  columns = Columns(tree="gz2", vote_form="fractions")
  if form == "conditional":
    message = refusal(path, columns)
    assert "no columns for the question 'has-spiral-arms'" in message
  else:
    found = read_catalog(path, path.parent, columns, CLASSES).frame
    np.testing.assert_allclose(
      np.stack(found["fractions"])[:, GZ2.index("spiral-winding_loose")],
      table["spiral-winding_loose"],
      rtol=1e-6,
    )


def test_a_question_that_is_partly_there(tmp_path):
  path = write(tmp_path, GZD_5.answers, walk(GZD_5, 6))
  table = pd.read_csv(path, dtype=str)
  table.drop(columns=["bar_weak", "bar_no"]).to_csv(path, index=False)
  message = refusal(path, Columns(tree="gzd_5"))
  assert "question 'bar' of the tree gzd_5, bar_weak, bar_no missing" in message


def test_no_votes_at_all(tmp_path):
  path = write_catalog(tmp_path, 6)
  message = refusal(path, Columns(tree="gz2"))
  for name in (
    "smooth-or-featured_smooth",
    "smooth-or-featured-gz2_smooth",
    "t01_smooth_or_features_a01_smooth_count",
    "Class1.1",
    "another tree: gz2, gz2_kaggle",
  ):
    assert name in message


@pytest.mark.parametrize(
  ("columns", "wanted"),
  [
    (Columns(tree="gz3"), "tree is 'gz3': choose one of gz2, gz2_kaggle"),
    (Columns(tree="gz2", vote_form="odds"), "vote_form is 'odds'"),
  ],
)
def test_unknown_tree_and_form(tmp_path, columns, wanted):
  assert wanted in refusal(write_catalog(tmp_path, 6), columns)


@pytest.mark.fault("C")
@pytest.mark.parametrize("value", ["-1", "nan", "", "inf", "1e300", "many"])
def test_counts_that_are_none(tmp_path, value):
  path = write(tmp_path, GZD_5.answers, walk(GZD_5, 6))
  edit(path, 3, "bar_weak", value)
  edit(path, 5, "bar_no", value)
  message = refusal(path, Columns(tree="gzd_5"))
  assert "row 4 (id 1003): column 'bar_weak'" in message
  assert "2 such rows" in message


@pytest.mark.parametrize("value", ["-0.1", "inf", "many"])
def test_fractions_that_are_none(tmp_path, value):
  path = write(tmp_path, GZD_5.answers, walk(GZD_5, 6) / VOLUNTEERS)
  edit(path, 3, "bar_weak", value)
  message = refusal(path, Columns(tree="gzd_5", vote_form="fractions"))
  assert f"row 4 (id 1003): column 'bar_weak' is {value!r}" in message


def test_a_question_that_is_partly_empty(tmp_path):
  path = write(tmp_path, GZD_5.answers, walk(GZD_5, 6) / VOLUNTEERS)
  edit(path, 3, "bar_weak", "")
  message = refusal(path, Columns(tree="gzd_5", vote_form="fractions"))
  assert "row 4 (id 1003): the question 'bar' is partly empty" in message


@pytest.mark.parametrize("form", ["conditional", "cumulative"])
def test_sums_that_break_the_tree(tmp_path, form):
  counts = walk(GZD_5, 6)
  values = {
    "conditional": np.nan_to_num(shares(GZD_5, counts)),
    "cumulative": counts / VOLUNTEERS,
  }[form]
  values[2:4, GZD_5.index("merging_none")] += 0.2
  path = write(tmp_path, GZD_5.answers, values)
  message = refusal(path, Columns(tree="gzd_5", vote_form="fractions"))
  assert "row 3 (id 1002)" in message
  assert f"{form} fractions of the question 'merging' sum to" in message
  assert "2 such rows" in message


def test_counts_and_fractions_taken_for_each_other(tmp_path):
  counts = walk(GZD_5, 6)
  path = write(tmp_path, GZD_5.answers, counts)
  message = refusal(path, Columns(tree="gzd_5", vote_form="fractions"))
  assert "row 1 (id 1000)" in message
  assert "set vote_form=counts" in message
  path = write(tmp_path, GZD_5.answers, counts / VOLUNTEERS)
  message = refusal(path, Columns(tree="gzd_5"))
  assert "set vote_form=fractions" in message


def test_files_of_the_challenge_need_its_own_tree(tmp_path):
  values = walk(GZ2_KAGGLE, 6) / VOLUNTEERS
  path = write(tmp_path, GZ2.kaggle_columns(), values)
  columns = Columns(tree="gz2_kaggle", vote_form="fractions")
  found = read_catalog(path, path.parent, columns, CLASSES).frame
  np.testing.assert_allclose(np.stack(found["fractions"]), values, rtol=1e-6)
  message = refusal(path, columns._replace(tree="gz2"))
  assert "'something-odd' sum to 1 in place of 0." in message
  assert "gz2_kaggle" in message


def test_labels_may_be_missing_where_there_are_votes(tmp_path):
  path = write(tmp_path, GZD_5.answers, walk(GZD_5, 6))
  assert "label" not in read(path, tree="gzd_5", label="").frame
  table = pd.read_csv(path, dtype=str).drop(columns="label")
  table.to_csv(path, index=False)
  assert "label" not in read(path, tree="gzd_5", label="").frame
  message = refusal(path, Columns(tree="gzd_5", label="kind"))
  assert "label_column" in message
  assert "no column 'label'" in refusal(path)


def test_votes_come_back_from_the_records(tmp_path):
  counts = walk(GZD_5, 6)
  path = write(tmp_path, GZD_5.answers, counts)
  builder = builder_of(path, Columns(label="", tree="gzd_5"))
  dataset.prepare(builder)
  rows = list(builder.as_data_source("full"))
  np.testing.assert_array_equal([row["counts"] for row in rows], counts)
  assert "label" not in rows[0]
  assert builder.info.metadata["tree"] == "gzd_5"


@pytest.mark.parametrize("form", ["counts", "fractions"])
def test_a_galaxy_that_nobody_looked_at(tmp_path, form):
  counts = walk(GZD_5, 6).astype(float)
  values = counts if form == "counts" else shares(GZD_5, counts)
  values[4] = np.nan
  path = write(tmp_path, GZD_5.answers, values)
  found = read(path, tree="gzd_5", vote_form=form).frame
  stored = np.stack(found[form])
  assert not stored[4].any()
  assert stored[[0, 1, 2, 3, 5]].any(axis=1).all()


def test_a_parquet_table_of_galaxy_datasets(tmp_path):
  counts = walk(GZD_5, 6).astype(np.float32)
  table = pd.DataFrame(counts, columns=zoobot(GZD_5, "dr5"))
  folder = write_catalog(tmp_path, 6).parent / "images"
  table["file_loc"] = [str(folder / f"{i}.png") for i in range(6)]
  table["id_str"] = [f"J{i}" for i in range(6)]
  table["summary"] = pd.Categorical(["spiral"] * 6)
  table["label"] = 4
  path = tmp_path / "catalog.parquet"
  table.to_parquet(path)
  found = read(path, tree="gzd_5", label="").frame
  np.testing.assert_array_equal(np.stack(found["counts"]), counts)
  assert "empty label_column" in refusal(path, Columns(tree="gzd_5"))


@needs_real(KAGGLE)
def test_real_fractions_of_the_challenge(tmp_path):
  with zipfile.ZipFile(KAGGLE / "training_solutions_rev1.zip") as file:
    name = next(
      name
      for name in file.namelist()
      if name.endswith(".csv") and "._" not in name
    )
    table = pd.read_csv(file.open(name), dtype=str)
  path = write(tmp_path, table.columns[1:], table.iloc[:, 1:].astype(float))
  found = read(path, tree="gz2_kaggle", vote_form="fractions")
  np.testing.assert_array_equal(
    np.stack(found.frame["fractions"]),
    table.iloc[:, 1:].to_numpy(np.float32),
  )
  assert "cumulative" in found.notes[0]
