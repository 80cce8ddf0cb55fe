"""A finished run of three classes, made up: files alone, no network."""

import json

import numpy as np
import pandas as pd

from gzjax.evaluation.intervals import wilson_interval
from gzjax.report import page
from tests.report.test_review_page import encoded

CLASSES = ["smooth", "featured", "</td><b>odd"]
SPLIT = np.repeat(["train", "validation", "test"], [40, 10, 30])
LABEL = np.arange(len(SPLIT)) % 3
FLIPPED = np.arange(len(SPLIT)) < 4
TRAINED = np.where(FLIPPED, (LABEL + 1) % 3, LABEL)
IDS = [f"g<{i}>" for i in range(len(SPLIT))]
_ROLES = {
  "constant": "baseline",
  "original": "original",
  "retrain": "reference",
}
CAUSE = "the noise is 1,796 times the weights"
# Gap and cost of retraining's, of each method.
METHODS = {
  "finetune": (0.12, 0.2),
  "scrub": (0.03, 0.15),
  "npo": (0.03, 0.15),
  "noisy": (0.4, 0.05),
}
NAMES = (*_ROLES, *METHODS)
_AUDIT = {
  "labels": len(SPLIT),
  "wrong": 5.0,
  "wrong_low": 2.0,
  "wrong_high": 9.0,
  "label_issues": 3,
  "false_discovery": 0.2,
  "pairs": [
    {
      "given_label": CLASSES[0],
      "suggested_label": CLASSES[1],
      "wrong": 2.0,
      "low": 0.0,
      "high": 4.0,
    }
  ],
  "benchmark": {
    "flipped": 4,
    "auc": 0.9,
    "precision_at_flipped": 0.75,
    "suggestion_accuracy": 0.5,
  },
}


def predicted(name):
  """The class that a network names, i64[N]."""
  if name == "constant":
    return np.zeros_like(LABEL)
  if name == "original":
    return TRAINED
  return np.where(np.arange(len(LABEL)) == 70, (LABEL + 1) % 3, LABEL)


def row(name, **changes):
  """A row of the scoreboard."""
  test = SPLIT == "test"
  said = predicted(name)
  right = (said == LABEL)[test]
  confusion = np.zeros((3, 3), int)
  np.add.at(confusion, (LABEL[test], said[test]), 1)
  sizes = confusion.sum(axis=1)
  hits = np.diag(confusion)
  role = _ROLES.get(name, "method")
  gap, cost = METHODS.get(name, (0.0 if role == "reference" else 0.3, 1.0))
  lost = name in ("noisy", "constant")
  return {
    "method": name,
    "role": role,
    "seed": 0,
    "test_accuracy": right.mean(),
    "test_balanced_accuracy": float(np.mean(hits / sizes)),
    "test_macro_f1": 0.9,
    "retain_accuracy": 0.95,
    "forget_accuracy": 1.0 if name == "original" else gap,
    "corrected_accuracy": 0.0 if name == "original" else 1 - gap,
    "attack_auc": 0.5,
    "js_to_retrain": gap / 2,
    "gap_to_retrain": gap,
    "wall_seconds": 10 * cost,
    "compile_seconds": 1.0,
    "gradients": 100 * cost,
    "cost_vs_retrain": cost,
    "relearn_steps": 12 if name == "scrub" else 40,
    "relearned": name == "scrub",
    "recalls": (hits / sizes).tolist(),
    "confusion": confusion.tolist(),
    "intervals": {
      "test_accuracy": wilson_interval(right.sum(), len(right)),
      "recalls": [wilson_interval(*x) for x in zip(hits, sizes, strict=True)],
    },
    "verdict": "collapsed" if lost else "weak" if name == "npo" else "ok",
    "reason": f"{name} <does> so",
    "health": _health(name, lost) if role == "method" else None,
    **changes,
  }


def _health(name, lost):
  reading = {"forget_accuracy": 0.5, "balanced_accuracy": 0.9}
  return {
    **reading,
    "cause": CAUSE if lost else "",
    "original": reading,
    "with_renewed_batch_stats": {**reading, "verdict": "ok"},
  }


def write(folder, *, gallery=6, audited=False, rows=None):
  """Writes a run and its report; returns the path of the report."""
  for name in ("stages", "audit", "evaluate", "train"):
    (folder / name).mkdir(parents=True)
  named = np.array(CLASSES)
  split = pd.DataFrame(
    {
      "id_str": IDS,
      "split": SPLIT,
      "true_label": named[LABEL],
      "train_label": named[TRAINED],
      "flipped": FLIPPED,
      "set": np.where(
        SPLIT != "train", None, np.where(FLIPPED, "forget", "retain")
      ),
    }
  )
  split.to_parquet(folder / "split.parquet")
  suspect = np.linspace(0.99, 0.01, len(SPLIT))
  pd.DataFrame(
    {
      "given_label": named[TRAINED],
      "suggested_label": named[LABEL],
      "probability_wrong": suspect,
      "label_score": 1 - suspect,
    }
  ).to_parquet(folder / "audit" / "scores.parquet")
  files = {
    "config": {
      "config": {"model": {"name": "resnet"}, "data": {"size": 16}, "seed": 0},
      "device_count": 1,
      "device_kind": "cpu",
      "versions": {"jax": "0.10"},
      "dataset_fingerprint": "sky/1",
      "git_revision": "",
    },
    "stages/dataset": {
      "classes": CLASSES,
      "left_out": {"no <label>": 2, "broken": 0},
      "questions": {},
    },
    "audit/summary": _AUDIT,
    "train/cost": {"wall_seconds": 3.0, "compile_seconds": 1.0},
  }
  if not audited:
    files |= {
      "scoreboard": rows or [row(name) for name in NAMES],
      "evaluate/recommendation": {
        "method": "scrub",
        "sentence": "Use scrub: it forgot.",
      },
      "evaluate/cards": [{"row": 0, "lines": ["→ smooth"]}],
    }
    _write_predictions(folder)
  for name, value in files.items():
    (folder / f"{name}.json").write_text(json.dumps(value, default=float))
  _write_log(folder / "train" / "metrics.jsonl")
  page.write(
    folder,
    lambda name: encoded(3 * IDS.index(name)),
    forget=np.flatnonzero(FLIPPED),
    gallery=gallery,
  )
  return folder / "report.html"


def _write_predictions(folder):
  for name in NAMES:
    said = predicted(name)
    p = np.full((len(said), 3), 0.1)
    p[np.arange(len(said)), said] = 0.8
    table = pd.DataFrame(p, columns=[f"p_{x}" for x in CLASSES])
    table.insert(0, "predicted", np.array(CLASSES)[said])
    table.to_parquet(folder / "evaluate" / f"{name}.parquet")


def _write_log(path):
  lines = [
    {
      "epoch": epoch,
      "split": split,
      "loss": 1 / (1 + epoch),
      "balanced_accuracy": 0.3 + epoch / 10,
    }
    for epoch in range(4)
    for split in ("train", "validation")
  ]
  path.write_text("\n".join(map(json.dumps, lines)))
