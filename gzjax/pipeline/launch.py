"""The command line: absl flags -> stages."""

from collections.abc import Sequence
import errno
from pathlib import Path
import sys
from typing import NoReturn

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from gzjax.errors import UserError
from gzjax.pipeline import stages

_STAGES = ("all", *stages.STAGES)

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Config file, as configs/demo.py or configs/demo.py:variant. Any key can be "
  "set: --config.train.epochs=5.",
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_STAGE = flags.DEFINE_enum("stage", "all", _STAGES, "What to run.")
_OVERWRITE = flags.DEFINE_bool(
  "overwrite", False, "Start the stage, and those after it, anew."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "TFDS folder [~/tensorflow_datasets]."
)
_MANUAL_DIR = flags.DEFINE_string(
  "manual_dir", None, "Folder of files that you downloaded."
)


_FLAGS = (_CONFIG, _WORKDIR, _STAGE, _OVERWRITE, _DATA_DIR, _MANUAL_DIR)


def main() -> None:
  """Entry point of launch.py and of the `gzjax` command.

  Exit codes: 0 done, 2 the user can mend it (one line says how), 1 failed.
  """
  jax.config.config_with_absl()
  for flag in _FLAGS:
    # So that --help shows them: they are not defined in the main script.
    flags.FLAGS.register_key_flag_for_module(
      sys.argv[0], flags.FLAGS[flag.name]
    )
  app.run(_run, flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> Sequence[str]:
  """Parses flags; a wrong one is one line and exit code 2."""
  try:
    rest = flags.FLAGS(arguments)
    if _help_asked(arguments):
      return rest
    if len(rest) > 1:
      raise UserError(f"unknown argument {rest[1]!r}: flags start with --.")
    for flag in (_CONFIG, _WORKDIR):
      if flag.value is None:
        raise UserError(
          f"--{flag.name} is missing: try --config=configs/demo.py "
          "--workdir=runs/demo."
        )
    _CONFIG.value.keys()  # a config file that cannot be read fails here
    return rest
  except UserError as error:
    _exit(error)
  except OSError as error:
    _exit(UserError(f"--config cannot be read: {_last_line(error)}"))
  except flags.Error as error:
    is_config = "parsing config file" in str(error)
    _exit(UserError(_last_line(error) if is_config else str(error)))
  except (KeyError, AttributeError, TypeError, ValueError) as error:
    # ml_collections: an unknown config key, with a suggestion.
    words = str(error).replace("\\n", " ").replace("\\", "").strip("\"'")
    _exit(UserError(f"unknown or wrong config key '{words}"))


def _last_line(error: Exception) -> str:
  """ml_collections puts a traceback into the message; its end is the reason."""
  return str(error).strip().splitlines()[-1].strip()


def _help_asked(arguments: Sequence[str]) -> bool:
  return any(argument.lstrip("-").startswith("help") for argument in arguments)


def _run(arguments: Sequence[str]) -> None:
  del arguments
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.ERROR)  # orbax and TFDS tell a lot
  try:
    stages.run(
      _CONFIG.value,
      str(_WORKDIR.value),
      _STAGE.value,
      overwrite=_OVERWRITE.value,
      data_dir=_expanded(_DATA_DIR.value),
      manual_dir=_expanded(_MANUAL_DIR.value),
    )
  except UserError as error:
    _exit(error)
  except OSError as error:
    if error.errno != errno.ENOSPC:
      raise
    _exit(
      UserError(
        f"the disk is full ({error}): make room and run again, or choose other "
        "folders with --workdir=DIR and --data_dir=FOLDER."
      )
    )


def _expanded(folder: str | None) -> str | None:
  """The folder with ~ spelled out, which no shell does after --flag=."""
  return folder and str(Path(folder).expanduser())


def _exit(error: UserError) -> NoReturn:
  print(f"error: {error}", file=sys.stderr)
  sys.exit(2)


if __name__ == "__main__":
  main()
