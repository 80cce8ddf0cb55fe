"""The command line: absl flags -> stages.

What is slow to import is imported where it is needed, so that `--help` and a
mistake come at once.
"""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
import difflib
import os
from pathlib import Path
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gzjax.errors import UserError
from gzjax.pipeline import mends, stops, usage

if TYPE_CHECKING:
  from absl import flags
  import ml_collections

  from gzjax.pipeline import remembered

# Several, the first of which is no number.
_WORDS = re.compile(r"\s*[^\W\d][\w\s.+-]*(,[\w\s.+-]+)+")
_TRY = "try --config=demo --workdir=runs/demo."


class Command(NamedTuple):
  """What the command line asks for."""

  stage: str
  workdir: str
  config: "ml_collections.ConfigDict"
  sources: "remembered.Sources"
  with_needed: bool  # run the stages that the asked one needs, too
  overwrite: bool
  verify: bool
  forget: str | None
  distributed: bool
  compilation_cache: str | None
  print_config: bool
  is_quiet: bool  # no --verbosity was given


def main() -> None:
  """Entry point of launch.py and of the `gzjax` command.

  Exit codes: 0 done, 2 the user can mend it (one line says how), 1 failed; 129,
  130 and 143 stopped by SIGHUP, Ctrl-C and SIGTERM.
  """
  stops.watch(_leave)
  said = usage.answer(sys.argv[1:])
  if said is not None:
    print(said)
    return
  from absl import app, flags
  import jax

  from gzjax.pipeline import hosts

  jax.config.config_with_absl()
  try:
    app.run(execute, flags_parser=lambda args: read(args, flags.FLAGS))
  except SystemExit as error:
    if jax.distributed.is_initialized():
      if error.code:
        hosts.leave(error.code)
      hosts.end()
    raise


def _leave(code: int) -> NoReturn:
  """Ends this process at once, and those that work with it."""
  # Nothing is imported here: the main thread may be about to.
  hosts = sys.modules.get("gzjax.pipeline.hosts")
  if hosts and sys.modules["jax"].distributed.is_initialized():
    hosts.leave(code)
  os._exit(code)


def read(arguments: Sequence[str], flag_values: "flags.FlagValues") -> Any:
  """The command; a mistake in it is one line and exit code 2.

  `arguments` begin with the name of the program; our flags are defined here.
  """
  with _one_line_for_mistakes():
    _define(flag_values)
    # absl's own: --helpfull, --helpxml.
    helps = [x for x in arguments if x.lstrip("-").startswith("help")]
    if helps:
      return flag_values([arguments[0], *helps])
    return _parse(arguments, flag_values)


def _define(flag_values: "flags.FlagValues") -> None:
  from absl import flags

  def text(name, words):
    flags.DEFINE_string(name, None, words, flag_values=flag_values)

  def switch(name, words, default=False):
    flags.DEFINE_bool(name, default, words, flag_values=flag_values)

  text("workdir", "Folder of the run.")
  flags.DEFINE_enum(
    "stage", None, list(usage.STAGES), "What to run.", flag_values=flag_values
  )
  switch("overwrite", "Start the stage, and those after it, anew.")
  switch("verify", "Read all that is kept, and compare its digests.")
  text("forget", "What to forget: a reviewed table, ids, or suspects.")
  switch("retrain", "Retrain for real, too, beside the methods.", None)
  text("images", "Folder of the images of TABLE.")
  text("id", "Galaxy that others are to look like.")
  switch("skip_bad", "Leave out rows whose images cannot be used.", None)
  text("data_dir", "TFDS folder [~/tensorflow_datasets].")
  text("manual_dir", "Folder of files that you downloaded.")
  switch("distributed", "One of several processes that work as one.")
  text("compilation_cache", "Folder of compiled programs, or off.")
  switch("print_config", "Show all keys with their values and meanings.")


def _parse(arguments: Sequence[str], flag_values: "flags.FlagValues"):
  """Finds the config, sets its keys and reads the flags."""
  from gzjax.pipeline import own_table

  flag_values.set_gnu_getopt()  # flags may follow the stage
  arguments = flag_values.read_flags_from_files(list(arguments))
  name, arguments = _take(arguments, "config")
  workdir, _ = _take(arguments, "workdir")
  known = _memory(name, workdir)
  config, sources = known or _fresh(arguments, workdir)
  rest = _set_keys(arguments, config, flag_values)
  values = flag_values.flag_values_dict()
  for key in ("workdir", "data_dir", "manual_dir"):
    if "://" in (values[key] or ""):
      raise UserError(
        f"--{key} is {values[key]}: give a folder of this machine, such as the "
        "one where that bucket is mounted."
      )
  folders = {
    key: str(Path(values[key]).expanduser())  # no shell does so after --flag=
    for key in ("data_dir", "manual_dir")
    if values[key]
  }
  applies = "predict" in (*rest[1:], values["stage"])
  table = _table(rest[1:], applies=applies)
  stage = _stage([x for x in rest[1:] if x != table], values["stage"])
  if not values["print_config"]:
    if workdir is None:
      raise UserError(f"--workdir is missing: {_TRY}")
    if not known and (not table or stage == "predict"):
      raise _no_config(workdir)
  remembered = workdir if known and name is None else None
  own_table.use(config, stage, table, values["images"], remembered)
  _set_short_flags(config, stage, values)
  return Command(
    stage,
    workdir or "",
    config,
    sources._replace(**folders),
    table is not None and stage != "predict",
    values["overwrite"],
    values["verify"],
    values["forget"],
    values["distributed"],
    values["compilation_cache"],
    values["print_config"],
    "verbosity" not in flag_values or not flag_values["verbosity"].present,
  )


def _set_short_flags(
  config: "ml_collections.ConfigDict", stage: str, values: dict[str, Any]
) -> None:
  """Keys that have a flag of their own."""
  from gzjax.pipeline import runs

  # What a run was made of stays as it is when it is put to use.
  section = "predict" if stage == "predict" else "data"
  if values["skip_bad"] is not None and section in config:
    config[section].skip_bad = values["skip_bad"]
  if values["id"] is not None and "similar" in config:
    config.similar.id = values["id"]
  if values["retrain"] is not None and "unlearn" in config:
    runs.set_retraining(config, values["retrain"])  # comparisons always do


def _take(arguments: Sequence[str], name: str) -> tuple[str | None, list[str]]:
  """The last value of a flag, and the arguments without it."""
  value, rest = None, []
  left = iter(arguments)
  for argument in left:
    flag, equals, given = argument.partition("=")
    if flag not in (f"-{name}", f"--{name}"):
      rest.append(argument)
      continue
    value = given if equals else next(left, "")
    if not value:
      raise UserError(f"--{name} has no value: {_TRY}")
  return value, rest


def _memory(
  name: str | None, workdir: str | None
) -> "tuple[ml_collections.ConfigDict, remembered.Sources] | None":
  """The config that is asked for, or else the one that the run remembers."""
  from gzjax.pipeline import config_files, remembered

  if name is not None and Path(name).suffix == ".json":
    found = remembered.read(Path(name).expanduser())
    if found is None:
      raise UserError(f"--config cannot be read: there is no file {name}.")
    return found
  if name is not None:
    sources = remembered.Sources(config_files.identity(name))
    return config_files.load(name), sources
  if workdir:
    return remembered.read(Path(workdir).expanduser() / "config.json")
  return None


def _fresh(
  arguments: Sequence[str], workdir: str | None
) -> "tuple[ml_collections.ConfigDict, remembered.Sources]":
  """The config of a table; without one the defaults, which are only shown."""
  from gzjax.pipeline import config_files, defaults, own_table, remembered

  # Perhaps a folder, or the value of a flag: that is seen when all are known.
  if any(own_table.is_path(x) for x in arguments[1:] if x not in usage.STAGES):
    name = own_table.CONFIG
    sources = remembered.Sources(config_files.identity(name))
    return config_files.load(name), sources
  if any(x.lstrip("-") == "print_config" for x in arguments):
    return defaults.get_config(), remembered.Sources()
  raise _no_config(workdir)


def _no_config(workdir: str | None) -> UserError:
  where = f" and {workdir} holds no run to go on with" if workdir else ""
  return UserError(f"--config is missing{where}: {_TRY}")


def _set_keys(
  arguments: Sequence[str],
  config: "ml_collections.ConfigDict",
  flag_values: "flags.FlagValues",
) -> list[str]:
  """Parses all flags, those of the config's keys too; returns the rest."""
  from absl import flags
  from ml_collections import config_flags

  _fill_recipes(arguments, config)
  arguments = [_as_tuple(argument, config) for argument in arguments]
  try:
    config_flags.DEFINE_config_dict(
      "config",
      config,
      "The config.",
      flag_values=flag_values,
      sys_argv=list(arguments),
    )
    return flag_values(list(arguments))
  except flags.UnrecognizedFlagError as error:
    hint = _hint(error.flagname, config, flag_values)
    raise UserError(f"unknown flag --{error.flagname}: {hint}") from error
  except flags.Error as error:
    raise UserError(str(error)) from error
  except (KeyError, AttributeError, TypeError, ValueError) as error:
    # ml_collections: an unknown config key, with a suggestion.
    words = str(error).replace("\\n", " ").replace("\\", "").strip("\"'")
    raise UserError(f"unknown or wrong config key '{words}") from error


def _fill_recipes(
  arguments: Sequence[str], config: "ml_collections.ConfigDict"
) -> None:
  """Recipes that have only what differs from `train` get the asked keys."""
  from gzjax.pipeline import checks

  for argument in arguments:
    name = argument.lstrip("-").partition("=")[0].removeprefix("config.")
    section, _, key = name.rpartition(".")
    known = config.train if "train" in config else ()
    if section not in checks.RECIPES or key not in known:
      continue
    changed = checks.get(config, section)
    if key not in changed:
      with changed.unlocked():
        changed[key] = config.train[key]


def _as_tuple(argument: str, config: "ml_collections.ConfigDict") -> str:
  """A flag of words, `--config.KEY=a,b`, as a tuple if its key takes one.

  ml_collections would take it for one word.
  """
  from gzjax.pipeline import checks

  flag, _, value = argument.partition("=")
  if not (flag.lstrip("-").startswith("config.") and _WORDS.fullmatch(value)):
    return argument
  try:
    known = checks.get(config, flag.lstrip("-").removeprefix("config."))
  except (KeyError, AttributeError, TypeError):
    return argument  # it is refused later, with a suggestion
  if not isinstance(known, tuple):
    return argument
  return f"{flag}={tuple(word.strip() for word in value.split(','))}"


def _hint(name: str, config: Any, flag_values: "flags.FlagValues") -> str:
  """What an unknown flag may have meant: a flag of ours, or a key."""
  from gzjax.pipeline import defaults

  name = name.removeprefix("no")
  keys = [key for key, _ in defaults.flat(config.to_dict())]
  # The usual ones first: of epochs there are several.
  keys.sort(key=lambda key: (key.count("."), not key.startswith("train.")))
  full = {key.rpartition(".")[2]: key for key in reversed(keys)}
  full |= {key: key for key in keys}
  if name in full:
    return f"did you mean --config.{full[name]}?"
  # JAX's flags are hundreds, and the first that comes to mind are ours.
  ours = [x for x in flag_values if not x.startswith("jax_")]
  for known, prefix in ((ours, ""), (full, "config.")):
    if close := difflib.get_close_matches(name, known, 1, 0.75):
      return f"did you mean --{prefix}{full.get(close[0], close[0])}?"
  return "--help lists the flags, --print_config the keys."


def _table(given: Sequence[str], *, applies: bool) -> str | None:
  """The table among what are no flags; see `own_table.find`."""
  from gzjax.pipeline import own_table

  words = [x for x in given if x not in usage.STAGES]
  found = own_table.find(words, applies=applies)
  if len(found) > 1:
    raise UserError(f"two tables, {found[0]} and {found[1]}: give one.")
  return found[0] if found else None


def _stage(given: Sequence[str], flag: str | None) -> str:
  """The stage, by its place or by its flag."""
  for word in given:
    if word not in usage.STAGES:
      raise _no_stage(word)
  found = [*given, flag] if flag else [*given]
  if len(set(found)) > 1:
    first, second, *_ = (*given, f"--stage={flag}")
    raise UserError(f"two stages, {first} and {second}: choose one.")
  return found[0] if found else "all"


def _no_stage(word: str) -> UserError:
  """What an argument may mean that is neither a stage nor a table."""
  from gzjax.data.galaxy_files import recognise

  folder = Path(word).expanduser()
  if folder.is_dir():
    return UserError(f"{word} {recognise.why_not(folder)}")
  close = difflib.get_close_matches(word, usage.STAGES, 1)
  meant = (
    f"did you mean {close[0]}?"
    if close
    else f"choose one of {', '.join(usage.STAGES)}, or name a table that is "
    "there; flags start with --."
  )
  return UserError(f"unknown stage {word!r}: {meant}")


def execute(command: Command) -> None:
  """Does what is asked for; a mistake is one line and exit code 2.

  What nobody can mend is a line, too: its traceback is in WORKDIR/crash.log.
  """
  log = Path(command.workdir).expanduser() / "crash.log"
  with (
    _one_line_for_crashes(log),
    _one_line_for_mistakes(),
    ExitStack() as stack,
  ):
    if command.print_config:
      _print_config(command.config)
      return
    from absl import logging

    from gzjax.compilation import Compilation
    from gzjax.pipeline import compiled, hosts, stages
    from gzjax.progress import say

    if command.is_quiet:
      logging.set_verbosity(logging.ERROR)  # orbax and TFDS tell a lot
    compiled.use(command.compilation_cache)
    workdir = Path(command.workdir).expanduser()
    if command.distributed:
      hosts.join()
      workdir = stack.enter_context(hosts.own_copy(workdir))
    with Compilation() as compilation:
      stages.run(
        command.config,
        workdir,
        command.stage,
        overwrite=command.overwrite,
        verify=command.verify,
        forget=command.forget,
        with_needed=command.with_needed,
        **command.sources._asdict(),
      )
    if compilation.programs:
      say(compilation.words())


def _print_config(config: "ml_collections.ConfigDict") -> None:
  from gzjax.pipeline import defaults

  try:
    print("\n".join(defaults.as_flags(config)), flush=True)
  except BrokenPipeError:  # `| head` has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _one_line_for_mistakes() -> Generator[None, None, None]:
  try:
    yield
  except UserError as error:
    words = str(error)
  except Exception as error:
    found = mends.find(error)
    if found is None:
      raise
    words = found
  else:
    return
  print(f"error: {words}", file=sys.stderr)
  sys.exit(2)


@contextmanager
def _one_line_for_crashes(log: Path) -> Generator[None, None, None]:
  """Exit code 1; the traceback goes to a file of the run that there is."""
  try:
    yield
  except Exception as error:
    import jax

    is_there = (log.parent / "config.json").exists()
    if not is_there or jax.process_index():  # the first alone writes
      raise
    log.write_text("".join(traceback.format_exception(error)))
    words = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"failed: {words}; see {log}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
  main()
