"""What downloads leave in the place of a file: web pages, pointers of Git."""

from pathlib import Path

_START = 512  # bytes that are looked at
_PAGES = (b"<!doctype html", b"<html", b"<head")
_POINTER = b"version https://git-lfs.github.com/spec/"


def told(path: Path) -> str:
  """What lies in the place of a file, and the mend; "" for anything else.

  A web page (such as an error or a page to log in), or what Git has of files
  that its Large File Storage keeps.
  """
  try:
    with path.open("rb") as file:
      return told_by(file.read(_START))
  except OSError:
    return ""


def told_by(start: bytes) -> str:
  """`told` of the first bytes of a file."""
  start = start[:_START].removeprefix(b"\xef\xbb\xbf").lstrip()
  if start.lower().startswith(_PAGES):
    return (
      "it is a web page, such as a server sends in the place of a file: "
      "download the file itself, from its raw address."
    )
  if start.startswith(_POINTER):
    return (
      "it is a pointer of Git LFS, and the file itself was not fetched: run "
      "git lfs pull there, or download it."
    )
  return ""
