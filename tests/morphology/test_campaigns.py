"""The trees of all campaigns, of several at once, and of a user's own file."""

import json

import numpy as np
import pytest

from gzjax.errors import UserError
from gzjax.morphology import campaigns, labels, trees
from gzjax.morphology.votes import from_counts

MINE = """
questions:
  - name: smooth-or-featured
    answers: [smooth, featured]
  - name: bar
    text: Is there a bar?
    answers: [yes, no]
    after: [smooth-or-featured_featured]
  - name: odd
    answers: [yes, no]
    after: [bar, smooth-or-featured_smooth]
"""


@pytest.mark.parametrize(
  ("name", "questions", "answers", "suffixes"),
  [
    ("desi", 10, 34, ()),
    ("hubble", 12, 34, ("hubble",)),
    ("hubble_v2", 9, 28, ("hubble",)),
    ("candels", 11, 32, ("candels",)),
    ("cosmic_dawn", 13, 45, ("cd",)),
    ("ukidss", 10, 30, ("ukidss",)),
    ("euclid", 13, 46, ("euclid",)),
    ("jwst", 12, 39, ("jwst",)),
    ("jwst_cosmos", 11, 36, ("jwst",)),
    ("rings", 1, 2, ()),
  ],
)
def test_shape_of_the_other_campaigns(name, questions, answers, suffixes):
  tree = campaigns.find(name)
  assert len(tree.questions) == questions
  assert len(tree.answers) == len(set(tree.answers)) == answers
  assert tree.campaigns == suffixes
  assert all(question.text.endswith("?") for question in tree.questions)
  # Whoever asks first is asked by all, and all others lead back to such one.
  assert not tree.questions[0].after
  assert len(tree.order) == questions


def test_facts_of_single_campaigns():
  euclid = campaigns.find("euclid")
  artifact = euclid.questions[euclid.question("artifact")]
  assert artifact.answers[-1] == "ghost"
  assert artifact.after == ("problem_artifact",)
  hubble = campaigns.find("hubble")
  edge_on = hubble.questions[hubble.question("disk-edge-on")]
  assert edge_on.after == ("clumpy-appearance_no",)


def test_a_tree_after_json_is_the_same():
  for tree in (*campaigns.TREES.values(), campaigns.find("gz2+euclid")):
    again = trees.from_json(json.loads(json.dumps(trees.to_json(tree))))
    assert again.questions == tree.questions
    assert again.name == tree.name


def test_several_campaigns_are_one_tree():
  tree = campaigns.find("gz2+gzd_5")
  assert len(tree.questions) == 11 + 2 * 10
  assert tree.answers[0] == "smooth-or-featured-gz2_smooth"
  assert "bar-dr8_strong" in tree.answers
  bar = tree.questions[tree.question("bar-dr5")]
  assert bar.after == ("disk-edge-on-dr5_no",)
  assert bar.stem == "bar"
  assert tree.question("bar") == tree.question("bar-gz2")
  first = tree.question("smooth-or-featured")
  assert [tree.questions[q].campaign for q in tree.alike(first)] == [
    *("gz2", "dr5", "dr8"),
  ]
  # That of GZ2 has two answers, those of DECaLS three.
  assert tree.alike(tree.question("bar")) == (tree.question("bar-gz2"),)


def test_labels_are_those_of_the_campaign_that_asked():
  tree = campaigns.find("gz2+euclid")
  counts = np.zeros((4, len(tree.answers)))
  counts[0, tree.index("smooth-or-featured-gz2_smooth")] = 30
  counts[1, tree.index("smooth-or-featured-euclid_featured-or-disk")] = 9
  counts[2, tree.index("smooth-or-featured-euclid_problem")] = 20
  votes = from_counts(tree, counts)
  found = labels.make(votes, "question")
  assert found.classes == ("smooth", "featured", "artifact")
  assert found.label.tolist() == [0, 1, 2, labels.LEFT_OUT]
  few = labels.make(votes, "question", min_votes=10)
  assert few.label.tolist() == [0, labels.LEFT_OUT, 2, labels.LEFT_OUT]
  own = labels.make(votes, "question", question="smooth-or-featured-euclid")
  assert own.label.tolist() == [labels.LEFT_OUT, 1, 2, labels.LEFT_OUT]


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_tree_of_ones_own(tmp_path, suffix):
  path = tmp_path / f"mine{suffix}"
  if suffix == ".json":
    plain = {
      "name": "mine",
      "questions": [
        {"name": "smooth-or-featured", "answers": ["smooth", "featured"]},
        {
          "name": "bar",
          "text": "Is there a bar?",
          "answers": ["yes", "no"],
          "after": ["smooth-or-featured_featured"],
        },
        {
          "name": "odd",
          "answers": ["yes", "no"],
          "after": ["bar", "smooth-or-featured_smooth"],
        },
      ],
    }
    path.write_text(json.dumps(plain))
  else:
    path.write_text(MINE)  # in which yes and no are no truth values
  tree = campaigns.find(str(path))
  assert tree.name == "mine"
  assert tree.answers[2:4] == ("bar_yes", "bar_no")
  assert tree.questions[1].text == "Is there a bar?"
  assert tree.questions[0].text == "Smooth or featured?"
  assert tree.questions[2].after == (
    *("bar_yes", "bar_no"), "smooth-or-featured_smooth",
  )  # fmt: skip


@pytest.mark.parametrize(
  ("old", "new", "words"),
  [
    ("questions:", "more:", "unknown key 'more': choose one of name, quest"),
    ("questions:", "question:", "'question': did you mean 'questions'"),
    (
      "name: bar",
      "nam: bar",
      "question 2 has an unknown key 'nam': did you me",
    ),
    ("after: [bar", "afer: [bar", "question 3 .*'afer': did you mean 'after'"),
    ("name: bar\n    ", "", "question 2 lacks a name"),
    ("[yes, no]\n    after: [s", "yes\n    after: [s", "question 2 lacks a na"),
    ("[smooth, featured]", "[[smooth], [featured]]", "question 1 lacks"),
    ("[bar, smooth", "[[bar], smooth", "'after' is .*no list of names"),
    (MINE, "", "it holds nothing"),
    (MINE, "- a\n- b", "it holds a list, no questions"),
    (MINE, "hello", "it holds a text, no questions"),
    ("[smooth, featured]", "[smooth]", "'smooth-or-featured'.* two or more"),
    ("name: odd", "name: bar", "'bar' is there twice"),
    ("name: odd", "name: o_d", "'o_d' has an underscore"),
    ("smooth-or-featured_featured]", "bar_no]", "asked after each other"),
    (
      "[bar,",
      "[ring_yes,",
      "'odd' is asked after 'ring_yes', which is neither",
    ),
    ("answers: [yes, no]", "answers: [yes, no", "is no decision tree"),
  ],
)
def test_a_file_that_is_no_tree_is_one_line(tmp_path, old, new, words):
  path = tmp_path / "mine.yaml"
  path.write_text(MINE.replace(old, new))
  with pytest.raises(UserError, match=words) as caught:
    campaigns.find(str(path))
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_one_name_needs_no_list(tmp_path):
  path = tmp_path / "mine.yaml"
  text = MINE.replace("[smooth-or-featured_featured]", "smooth-or-featured")
  path.write_text(f"{text}campaigns: mine\n")
  tree = campaigns.find(str(path))
  assert tree.campaigns == ("mine",)
  assert tree.questions[1].after == tree.answers[:2]


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("gz3", "choose one of gz2, gz2_kaggle"),
    ("gz2+gz3", "tree is 'gz3'"),
    ("jwst+jwst_cosmos", "two of its campaigns ask 'smooth-or-featured-jwst'"),
    ("none.yaml", "no such file"),
  ],
)
def test_a_name_of_no_tree_is_refused(name, words):
  with pytest.raises(UserError, match=words.replace("+", r"\+")):
    campaigns.find(name)
