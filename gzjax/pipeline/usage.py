"""What `gzjax --help` and `--version` print; imports nothing that is slow."""

from collections.abc import Sequence

import gzjax

# Every stage, in half a line.
STAGES = {
  "all": "the six below, in this order [default]",
  "prepare": "files of galaxies -> data set, labels, split",
  "train": "the network, on labels of which some are wrong",
  "audit": "which labels are probably wrong",
  "unlearn": "each method, and real retraining beside them",
  "evaluate": "the scoreboard: how good, how forgetful",
  "report": "report.html, tables and pictures in one file",
  "stabiliser": "sweep: Fisher forgetting by its stabiliser and noise",
  "discovery": "sweep: what if only some wrong labels are known",
  "plane": "sweep: the same for several kinds of wrong labels",
  "predict": "galaxies without labels -> predictions.csv",
  "embed": "what the network sees of each galaxy -> embeddings.parquet",
  "similar": "galaxies that look like --id=NAME; without it, the oddest",
  "profile": "where the time of a step goes -> profile/, see docs/profiling.md",
}

_HELP = """\
gzjax finds wrong labels of galaxies and unlearns them.
usage: gzjax [STAGE] [TABLE] --workdir=DIR [--images=DIR]
             [--config=NAME[:VARIANT]] [--config.KEY=X]

stages
{stages}

flags
  --workdir=DIR     folder of the run; it remembers its config: to go on, or to
                    run a later stage, this flag is enough
  TABLE             of galaxies (CSV, parquet, FITS, VOTable; or class folders,
                    HDF5), whose columns are found; runs what STAGE needs, too
  --images=DIR      folder of its images; --skip_bad: not of those that are bad
  --forget=FILE     what a person found wrong: reviewed.csv, a list of ids, or
                    suspects (of the audit); --[no]retrain: for real, too
  --config=NAME     a shipped config, a .py file, or another run's config.json
  --config.KEY=X    changes a key; --print_config shows them all
  --overwrite       the stage, and those after it, anew; --verify: all digests
  --data_dir=DIR    TFDS folder; --manual_dir: downloads; --compilation_cache
  --distributed     one of several processes, or hosts, that work as one
  --print_config, --version, --help; --helpfull lists JAX's flags, too

examples
  gzjax audit mine.csv --images=cutouts --workdir=runs/mine
  gzjax unlearn --workdir=runs/mine --forget=reviewed.csv
  gzjax predict new.csv --images=new_cutouts --workdir=runs/mine
  gzjax --config=demo:tiny --workdir=runs/tiny"""


def answer(arguments: Sequence[str]) -> str | None:
  """What to print at once; None if a run is asked for."""
  flags = {
    x if x == "-h" else x.lstrip("-") for x in arguments if x.startswith("-")
  }
  if flags & {"-h", "help", "helpshort"}:
    lines = (f"  {name:<12}{words}" for name, words in STAGES.items())
    return _HELP.format(stages="\n".join(lines))
  if "version" in flags:
    return f"gzjax {gzjax.__version__}"
  return None
