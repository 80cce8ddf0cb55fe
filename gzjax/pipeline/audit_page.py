"""What the page for review shows, out of a run."""

import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from gzjax import digests, report
from gzjax.audit import review
from gzjax.audit.evidence import Evidence
from gzjax.data.dataset import encoded_images
from gzjax.pipeline.experiment import Experiment

_NEIGHBOURS = 6  # that are shown of each galaxy


def write(
  experiment: Experiment,
  found: Evidence,
  suspects: pd.DataFrame,
  summary: dict[str, Any],
) -> None:
  """Writes audit/review.html of the most suspicious labels.

  Without those that a person has called right before.
  """
  said = experiment.reviewed
  settled = said["id_str"][said["verdict"] == review.RIGHT]
  shown = suspects[~suspects["id_str"].isin(settled)]
  shown = shown.head(experiment.config.audit.reviewed)
  data = experiment.dataset
  row_of = pd.Series(np.arange(len(data.table)), index=data.table["id_str"])
  rows = row_of[shown["id_str"]].to_numpy()
  for name in ("ra", "dec"):
    if name in data.table:
      shown = shown.assign(**{name: data.table[name].to_numpy()[rows]})
  given = experiment.split["train_label"]
  # Networks differ in their features: odd among those that one of them judges.
  odder = pd.Series(found.oddity).groupby(found.fold).rank(pct=True)
  shown = shown.assign(odder=odder.to_numpy()[rows])

  def neighbours(id_str):
    return [
      report.review_page.Neighbour(
        data.table["id_str"].iloc[row],
        given.iloc[row],
        _thumbnail(data.image[row]),
      )
      for row in found.neighbours[row_of[id_str]][:_NEIGHBOURS]
    ]

  report.review_page.write(
    experiment.workdir / "audit" / "review.html",
    shown,
    run=_digest(suspects),
    classes=experiment.classes,
    total=len(suspects),
    wrong=tuple(summary[x] for x in ("wrong", "wrong_low", "wrong_high")),
    image=encoded_images(experiment.data_folder),
    neighbours=neighbours,
  )


def _digest(suspects: pd.DataFrame) -> str:
  """A name for what a review is of: other labels, another name."""
  table = suspects[["id_str", "given_label"]].sort_values("id_str")
  text = table.to_csv(index=False)
  return digests.of_bytes(text.encode())[:12]


def _thumbnail(image: np.ndarray) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(np.asarray(image)).save(buffer, "JPEG", quality=85)
  return buffer.getvalue()
