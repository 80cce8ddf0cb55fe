"""Names of weights: files of this machine, and of the Hugging Face Hub."""

import difflib
from pathlib import Path
import re
from typing import Any

from gzjax.errors import UserError
from gzjax.models.convnext import CONVNEXTS

# In names of weights: whose preprocessing they need, see `is_zoobots`.
ZOOBOT = "zoobot:"
_ZOOBOT_HUB = "hub:mwalmsley/zoobot-encoder-"
_HUB = "hub:"
_GREY = "greyscale-"
# Files of a repository of the Hub, the better one first.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def is_zoobots(source: str | Path) -> bool:
  """Whether weights are Zoobot's, who feeds pixels of 0 to 1 as they are.

  (Though the files beside its weights name ImageNet's mean and deviation.)
  """
  return str(source).startswith((ZOOBOT, _ZOOBOT_HUB))


def encoder_of(source: str | Path) -> str:
  """The network that a name of Zoobot's is of; "" for other names and files."""
  name = str(source).removeprefix(ZOOBOT)
  is_name = name != str(source) and not _is_file_name(name)
  return name.removeprefix(_GREY) if is_name else ""


def local_file(source: str | Path) -> Path:
  """Where the file of a name is, which is there.

  Names of the Hub are `hub:owner/repo`, with or without `/file`, and
  `zoobot:convnext_nano` and the like; `zoobot:PATH` is a file that somebody
  fetched. Files are fetched unless they were before; without a name that is the
  first of `_HUB_FILES` that there is.

  Raises:
    UserError: see `check`, or if the file cannot be fetched.
  """
  check(source)
  path = _path_of(source)
  if path:
    return path
  repository, file = _repository_of(source)
  return _fetched(source, repository, (file,) if file else _HUB_FILES)


def check(source: str | Path) -> Path | None:
  """The file of a name, if it is of this machine; nothing is fetched.

  Raises:
    UserError: if there is no such file, for a name of another form, for one of
      Zoobot's that it does not have, and without the package
      `huggingface_hub`.
  """
  path = _path_of(source)
  if path is None:
    _repository_of(source)
    _package(source)
  elif path.is_dir():
    raise UserError(
      f"{source} is a folder: give the file of the weights in it"
      f"{_such_as(path)}."
    )
  elif not path.is_file():
    raise UserError(
      f"{path}: no such file; mend the path of the weights{_close_to(path)}."
    )
  return path


def _is_file_name(name: str) -> bool:
  if name.removeprefix(_GREY) in CONVNEXTS:
    return False
  return bool(Path(name).suffix) or "/" in name or Path(name).exists()


def _path_of(source: str | Path) -> Path | None:
  """The path that a source is; None for a name of the Hub."""
  name = str(source)
  if name.startswith(ZOOBOT):
    name = name.removeprefix(ZOOBOT)
    return Path(name).expanduser() if _is_file_name(name) else None
  return None if name.startswith(_HUB) else Path(name).expanduser()


def _such_as(folder: Path) -> str:
  files = sorted(x.name for x in folder.iterdir() if x.is_file())
  usual = [x for x in _HUB_FILES if x in files]
  return f", such as {folder / (usual or files)[0]}" if files else ""


def _close_to(path: Path) -> str:
  beside = path.parent.iterdir() if path.parent.is_dir() else ()
  names = [x.name for x in beside if x.is_file()]
  close = difflib.get_close_matches(path.name, names, 1, 0.75)
  return f" (is it {path.parent / close[0]}?)" if close else ""


def _repository_of(source: str | Path) -> tuple[str, str | None]:
  """The repository of a name of the Hub, and its file if that is named."""
  name = str(source)
  if encoder := encoder_of(source):
    if encoder not in CONVNEXTS:
      raise UserError(
        f"{source}: Zoobot has no such encoder; choose one of "
        f"{', '.join(f'{ZOOBOT}{x}' for x in CONVNEXTS)}, or give another "
        "repository as hub:owner/repo, or a file."
      )
    name = _ZOOBOT_HUB + name.removeprefix(ZOOBOT)
  parts = re.fullmatch(r"hub:([^/]+/[^/]+)(?:/(.+))?", name)
  if not parts:
    raise UserError(f"{source}: write hub:owner/repo or hub:owner/repo/file.")
  return parts[1], parts[2]


def _package(source: str | Path) -> Any:
  try:
    import huggingface_hub  # pyrefly: ignore[missing-import], an extra
  except ImportError as error:
    raise UserError(
      f"{source}: needs the package huggingface_hub; "
      "pip install 'gzjax[hub]', or give a file."
    ) from error
  return huggingface_hub


def _fetched(source: str | Path, repository: str, files: tuple) -> Path:
  file, *others = files
  try:
    return Path(_package(source).hf_hub_download(repository, file))
  except (OSError, ValueError) as error:
    if others:
      return _fetched(source, repository, tuple(others))
    raise UserError(
      f"{source}: cannot be fetched ({error}); mend the name or the network, "
      "or give a file."
    ) from error
