"""A store of compiled programs, so that the next launch need not compile.

JAX can bound its cache by itself, with jax_compilation_cache_max_size. That
takes a lock for every program, which some file systems of clusters do not have,
and a run that is killed between its two files of a program makes every later
one warn. So the store is made smaller here, when a run starts.
"""

import hashlib
from pathlib import Path
import platform

import jax

from gzjax.files import user_cache

MAX_BYTES = 2 * 2**30


def use(choice: str | None) -> None:
  """Turns the store on, in a folder, unless that is "off".

  None is what JAX was told, by the variable JAX_COMPILATION_CACHE_DIR or its
  flag; else a folder in the user's cache.
  """
  if choice is not None and choice.lower() == "off":
    jax.config.update("jax_compilation_cache_dir", None)
    return
  told = jax.config.jax_compilation_cache_dir  # pyrefly: ignore
  if choice is None and told:
    return
  store = Path(choice).expanduser() if choice else user_cache() / "compiled"
  try:
    store.mkdir(parents=True, exist_ok=True)
    prune(store, MAX_BYTES)
  except OSError:
    return  # a home that cannot be written to: compile as ever
  # Programs of one CPU may not run on another that shares the home.
  jax.config.update("jax_compilation_cache_dir", str(store / _machine()))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def prune(store: Path, max_bytes: int) -> None:
  """Deletes the programs that were not used for longest, down to a size."""
  files = [(path, path.stat()) for path in store.rglob("*") if path.is_file()]
  size = sum(stat.st_size for _, stat in files)
  files.sort(key=lambda found: max(found[1].st_atime, found[1].st_mtime))
  for path, stat in files:
    if size <= max_bytes:
      return
    path.unlink(missing_ok=True)  # another run may be at it, too
    size -= stat.st_size


def _machine() -> str:
  """A name for what this CPU can do."""
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    lines = [platform.processor()]
  known = ("flags", "Features", "model name")
  kinds = {line for line in lines if line.startswith(known)}
  digest = hashlib.sha256("".join(sorted(kinds or lines[:1])).encode())
  return f"{platform.machine()}-{digest.hexdigest()[:8]}"
