"""The decision trees of Galaxy Zoo's campaigns."""

from gzjax.morphology import trees

# The slides' ten labels are the answers to these.
TEN_LABELS = ("smooth-or-featured", "disk-edge-on", "bar", "has-spiral-arms")


def hierarchy(tree: trees.Tree) -> trees.Tree:
  """The five questions of the slides, one for each of their networks.

  Smooth galaxies are asked how round they are, featured ones whether they are
  edge-on, and those that are not for spiral arms and for merging (in Galaxy Zoo
  2: for anything odd).
  """
  asked = [x for x in tree.questions if x.name in trees.BRANCHES]
  face_on = ("has-spiral-arms", "merging", "something-odd")
  questions = _asked_after(asked, face_on, (_FACE_ON,))
  return trees.Tree(f"{tree.name}_hierarchy", questions)


def _asked_after(questions, names, after) -> tuple[trees.Question, ...]:
  """The questions, some of them asked after other answers than they were."""
  return tuple(
    x._replace(after=after) if x.name in names else x for x in questions
  )


_SMOOTH = "smooth-or-featured_smooth"
_FEATURED = "smooth-or-featured_featured-or-disk"
_EDGE_ON = "disk-edge-on_yes"
_FACE_ON = "disk-edge-on_no"
_ARMS = "has-spiral-arms_yes"
_FIRST = ("smooth", "featured-or-disk", "artifact")
_BULGE_SHAPE = "Does the galaxy have a bulge at its centre? If so, what shape?"


def _all(question: str, *answers: str) -> tuple[str, ...]:
  return tuple(f"{question}_{answer}" for answer in answers)


_TEXTS = {
  "smooth-or-featured": (
    "Is the galaxy simply smooth and rounded, with no sign of a disk?"
  ),
  "disk-edge-on": "Could this be a disk viewed edge-on?",
  "bar": "Is there a sign of a bar feature through the centre?",
  "has-spiral-arms": "Is there any sign of a spiral arm pattern?",
  "bulge-size": "How prominent is the central bulge?",
  "something-odd": "Is there anything odd?",
  "how-rounded": "How rounded is it?",
  "odd-feature": (
    "Is the odd feature a ring, or is the galaxy disturbed or irregular?"
  ),
  "bulge-shape": _BULGE_SHAPE,
  "edge-on-bulge": _BULGE_SHAPE,
  "spiral-winding": "How tightly wound do the spiral arms appear?",
  "spiral-arm-count": "How many spiral arms are there?",
  "merging": "Is the galaxy merging or disturbed?",
}


def _question(name, answers, *after) -> trees.Question:
  return trees.Question(name, _TEXTS[name], answers, after)


# Willett et al. (2013), Table 2, in the order of the Kaggle columns; names as
# in Zoobot, where it has one.
_WINDINGS = ("tight", "medium", "loose")
_BULGES = ("no", "just-noticeable", "obvious", "dominant")
_ROUNDNESS = ("round", "in-between", "cigar")
_BULGE_SHAPES = ("round", "boxy", "no-bulge")
_ARM_COUNTS = ("1", "2", "3", "4", "more-than-4", "cant-tell")
_GZ2_QUESTIONS = (
  _question("smooth-or-featured", _FIRST),
  _question("disk-edge-on", ("yes", "no"), _FEATURED),
  _question("bar", ("yes", "no"), _FACE_ON),
  _question("has-spiral-arms", ("yes", "no"), *_all("bar", "yes", "no")),
  _question(
    "bulge-size",
    _BULGES,
    "has-spiral-arms_no",
    *_all("spiral-arm-count", *_ARM_COUNTS),
  ),
  _question(
    "something-odd",
    ("yes", "no"),
    *_all("bulge-size", *_BULGES),
    *_all("how-rounded", *_ROUNDNESS),
    *_all("bulge-shape", *_BULGE_SHAPES),
  ),
  _question("how-rounded", _ROUNDNESS, _SMOOTH),
  _question(
    "odd-feature",
    (
      "ring",
      "lens-or-arc",
      "disturbed",
      "irregular",
      "other",
      "merger",
      "dust-lane",
    ),
    "something-odd_yes",
  ),
  _question("bulge-shape", _BULGE_SHAPES, _EDGE_ON),
  _question("spiral-winding", _WINDINGS, _ARMS),
  _question(
    "spiral-arm-count", _ARM_COUNTS, *_all("spiral-winding", *_WINDINGS)
  ),
)

# Column stems of Hart et al. (2016); a35 does not exist and a38 is in task 8.
_HART16_TASKS = {
  "t01_smooth_or_features": (
    "a01_smooth a02_features_or_disk a03_star_or_artifact"
  ),
  "t02_edgeon": "a04_yes a05_no",
  "t03_bar": "a06_bar a07_no_bar",
  "t04_spiral": "a08_spiral a09_no_spiral",
  "t05_bulge_prominence": (
    "a10_no_bulge a11_just_noticeable a12_obvious a13_dominant"
  ),
  "t06_odd": "a14_yes a15_no",
  "t07_rounded": "a16_completely_round a17_in_between a18_cigar_shaped",
  "t08_odd_feature": (
    "a19_ring a20_lens_or_arc a21_disturbed a22_irregular a23_other a24_merger "
    "a38_dust_lane"
  ),
  "t09_bulge_shape": "a25_rounded a26_boxy a27_no_bulge",
  "t10_arms_winding": "a28_tight a29_medium a30_loose",
  "t11_arms_number": "a31_1 a32_2 a33_3 a34_4 a36_more_than_4 a37_cant_tell",
}
_HART16_STEMS = tuple(
  f"{task}_{answer}"
  for task, answers in _HART16_TASKS.items()
  for answer in answers.split()
)

GZ2 = trees.Tree("gz2", _GZ2_QUESTIONS, _HART16_STEMS)

# In the files of the Kaggle challenge "Is there anything odd?" sums to 1 for
# every galaxy, although no volunteer who says "artifact" is asked it.
GZ2_KAGGLE = trees.Tree(
  "gz2_kaggle",
  _asked_after(_GZ2_QUESTIONS, ["something-odd"], ()),
  _HART16_STEMS,
)


def _decals_tree(name, *, bar, bulge_size, roundest, arm_counts, merging):
  """The tree of a DECaLS campaign; Walmsley et al. (2022), section 3."""
  questions = (
    _question("smooth-or-featured", _FIRST),
    _question("disk-edge-on", ("yes", "no"), _FEATURED),
    _question("has-spiral-arms", ("yes", "no"), _FACE_ON),
    _question("bar", bar, _FACE_ON),
    _question("bulge-size", bulge_size, _FACE_ON),
    _question("how-rounded", (roundest, "in-between", "cigar-shaped"), _SMOOTH),
    _question("edge-on-bulge", ("boxy", "none", "rounded"), _EDGE_ON),
    _question("spiral-winding", _WINDINGS, _ARMS),
    _question("spiral-arm-count", arm_counts, _ARMS),
    _question("merging", merging, _SMOOTH, _FEATURED),
  )
  # The release's own column names are the full names of the answers.
  return trees.Tree(name, questions)


GZD_5 = _decals_tree(
  "gzd_5",
  bar=("strong", "weak", "no"),
  bulge_size=("dominant", "large", "moderate", "small", "none"),
  roundest="round",
  arm_counts=_ARM_COUNTS,
  merging=("none", "minor-disturbance", "major-disturbance", "merger"),
)

GZD_1_2 = _decals_tree(
  "gzd_1_2",
  bar=("yes", "no"),
  bulge_size=("dominant", "obvious", "none"),
  roundest="completely",
  arm_counts=_ARM_COUNTS[:-1],
  merging=("neither", "tidal-debris", "both", "merger"),
)

TREES = {tree.name: tree for tree in (GZ2, GZ2_KAGGLE, GZD_5, GZD_1_2)}
