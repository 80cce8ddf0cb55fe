"""How the image files of a table are called, found by looking for them."""

from collections.abc import Callable, Iterator, Sequence
import functools
from pathlib import Path
import re
from typing import NamedTuple

import numpy as np

from gzjax.data.galaxy_catalog import image_files
from gzjax.data.galaxy_catalog.image_files import ENDINGS, FILE, ID, Naming
from gzjax.data.galaxy_catalog.tables import TableRows
from gzjax.data.galaxy_catalog.usual_names import FILES, IDS, NAMES, by_rank

_LOOKED_FOR = 100  # rows, evenly spaced
_ENOUGH = 0.5  # of them: then no other way is tried
_MOST_MATCHES = 2000  # of one text among the names of the files


class Found(NamedTuple):
  """A way to call the files."""

  share: float  # of the rows that were looked for, whose file is there
  naming: Naming
  because: str = ""
  also: tuple[str, ...] = ()  # what would do as well


class Known(NamedTuple):
  """What is known beforehand about the names of the files; None: nothing."""

  id_column: str
  column: str | None = None
  prefix: str | None = None
  pattern: str | None = None


def find(rows: TableRows, images: Path, known: Known) -> Found | None:
  """The way to call the files by which most of them are there; None if none is.

  Tried in this order, until more than half are there: a column as it stands, a
  column without a beginning that all rows have, a column of other places of
  this machine, and the names of the files in the folder and in the folders in
  it.

  Raises:
    SettingError: if there is no folder `images`.
  """
  image_files.check_folder(images)
  some = np.unique(np.linspace(0, len(rows.ids) - 1, _LOOKED_FOR).astype(int))
  sample = TableRows(rows.path, rows.table.iloc[some], rows.ids.iloc[some])
  ways: Sequence[Callable[..., Iterator[Found]]] = (
    _as_they_stand,
    _without_beginnings,
    functools.partial(_as_they_stand, elsewhere=True),
    _by_pattern,
  )
  best = None
  for way in ways:
    found = _best(way(rows, sample, images, known))
    if found and (best is None or found.share > best.share):
      best = found
    if best and best.share > _ENOUGH:
      break
  return best


def _best(found: Iterator[Found]) -> Found | None:
  """The first of those with most files; says which others would do."""
  ways = [way for way in found if way.share > 0]
  if not ways:
    return None
  share = max(way.share for way in ways)
  first, *others = [way for way in ways if way.share == share]
  also = [f"{naming.column}{_shown(naming)}" for _, naming, *_ in others]
  return first._replace(also=(*first.also, *also))


def _shown(naming):
  return "" if naming.pattern == FILE else f" as {naming.pattern}"


def _columns(rows, known):
  """Those that may hold the names, the likeliest first."""
  if known.column is None:
    return by_rank(rows.table.columns, FILES)
  return [known.column] if known.column else []


def _as_they_stand(rows, sample, images, known, *, elsewhere=False):
  """Names in the folder or, if `elsewhere`, of other places."""
  for column in _columns(rows, known):
    naming = Naming(column, known.prefix or "", known.pattern or FILE)
    if _is_elsewhere(sample, images, naming) == elsewhere:
      share = _share(sample, images, naming)
      place = "elsewhere" if elsewhere else f"in {images.name}"
      yield Found(share, naming, _words(share, place))


def _is_elsewhere(sample, images, naming):
  """Whether the first name is of a place that is not in the folder."""
  path = Path(image_files.names(sample, naming)[0])
  return path.is_absolute() and not path.is_relative_to(images.absolute())


def _without_beginnings(rows, sample, images, known):
  """Files of which the table says where they lay, perhaps on another disk."""
  if known.prefix is not None:
    return
  for column in _columns(rows, known):
    first = sample.text(column).iloc[0]
    for slash in re.finditer("/", first):
      prefix = first[: slash.end()]
      if not rows.text(column).str.startswith(prefix).all():
        break
      naming = Naming(column, prefix, known.pattern or FILE)
      if share := _share(sample, images, naming):
        words = _words(share, f"in {images.name} without {prefix}")
        yield Found(share, naming, words)
        break


def _share(sample, images, naming):
  files = image_files.names(sample, naming)
  return float(np.mean([image_files.is_file(str(images / x)) for x in files]))


def _words(share, place):
  how_many = "all are" if share == 1 else f"{share:.0%} are"
  return f"{how_many} files {place}"


def _by_pattern(_rows, sample, images, known):
  """The id, or another name of the galaxies, inside the names of the files."""
  if known.pattern is not None:
    return
  files = "\n".join(
    f"{folder}/{name}"
    for folder, name in image_files.listing(images)
    if name.lower().endswith(ENDINGS)
  )
  columns = by_rank(sample.table.columns, (*FILES, *IDS, *NAMES), only=True)
  if known.column is not None:
    columns = [known.column] if known.column else []
  if not known.column:
    columns = [known.id_column, *(x for x in columns if x != known.id_column)]
  for column in columns:
    text = sample.text(column)
    if found := _pattern(set(text) - {""}, files):
      matched, head, folder, also = found
      is_id, share = column == known.id_column, matched / len(text)
      yield Found(
        share,
        Naming(
          "" if is_id else column,
          pattern=folder + head.replace(FILE, ID if is_id else FILE),
        ),
        f"names of files in {images.name}",
        also,
      )
      if share > _ENOUGH:
        return


def _pattern(texts, files):
  """How the names of files are made of texts, and of how many of them."""
  found: dict[str, dict[str, set[str]]] = {}
  for text in texts:
    for folder, pattern in _matches(text, files):
      found.setdefault(pattern, {}).setdefault(folder, set()).add(text)
  if not found:
    return None
  matched = {x: len(set().union(*found[x].values())) for x in found}
  order = sorted(found, key=lambda x: (-matched[x], _rank(x), len(x), x))
  pattern, *rest = order
  folders = [
    folder
    for folder, inside in found[pattern].items()
    if len(inside) == matched[pattern]
  ]
  also = [x for x in rest if matched[x] == matched[pattern]]
  also += [f"{folder}{pattern}" for folder in folders[1:]]
  place = folders[0] if folders else image_files.ANY_FOLDER
  return matched[pattern], pattern, place, tuple(also)


def _matches(text, files):
  """(folder, pattern) of the names that have a text in them, as a whole."""
  at = files.find(text)
  for _ in range(_MOST_MATCHES):
    if at < 0:
      return
    start = files.rfind("\n", 0, at) + 1
    stop = files.find("\n", at)
    line = files[start : stop if stop >= 0 else None]
    folder, _, name = line.rpartition("/")
    before, after = line[: at - start], line[at - start + len(text) :]
    in_name = len(before) > len(folder)
    if in_name and not (_goes_on(before, text) or _goes_on(text, after)):
      place = f"{folder}/" if folder else ""
      yield place, f"{before[len(line) - len(name) :]}{FILE}{after}"
    at = files.find(text, at + 1)


def _goes_on(before, after):
  """Whether a number or a word goes on from one text to the next."""
  pair = before[-1:] + after[:1]
  return len(pair) == 2 and (pair.isdecimal() or pair.isalpha())


@functools.cache
def _rank(pattern):
  """Where its ending stands among `ENDINGS`."""
  ranks = (i for i, x in enumerate(ENDINGS) if pattern.lower().endswith(x))
  return next(ranks, 0)
