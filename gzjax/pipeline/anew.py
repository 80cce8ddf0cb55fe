"""Stages that are made anew: the old run stays until the new one is whole."""

from collections.abc import Iterator, Sequence
import contextlib

import ml_collections

from gzjax.pipeline import columns
from gzjax.pipeline.stage_table import STAGES, is_done, part
from gzjax.pipeline.workdir import Workdir
from gzjax.progress import say


def recover(
  place: Workdir, config: ml_collections.ConfigDict, overwrite: bool
) -> None:
  """Takes up what a killed launch left.

  Where stages were to be made anew, and this launch has the config of the old
  ones and not of the new ones, these are there again.
  """
  replaced = place.replaced
  replaced.recover()
  if overwrite or not replaced.is_kept:
    return
  note = replaced.note
  if all(part(config, x) == note[x] for x in note):
    return
  before, config = place.before, config.copy_and_resolve_references()
  columns.recall(config, before)
  names = [name for name in STAGES if before.config_of(name) is not None]
  if names and all(is_done(before, config, name, redo=True) for name in names):
    replaced.put_back()
    say(f"{place.root}: back to what was there before it was begun anew")


def set_aside(
  place: Workdir, config: ml_collections.ConfigDict, asked: Sequence[str]
) -> None:
  """Makes room for the asked stages, and for all that will be made of them.

  A launch that was killed goes on.
  """
  replaced = place.replaced
  note = {name: part(config, name) for name in asked}
  if replaced.note == note:
    say(f"{place.root}: going on with what was begun anew")
    return
  if replaced.is_kept:
    replaced.put_back()
  names = []
  for name, other in STAGES.items():
    if name in asked or set(asked) & set(other.needs):
      names += [f"stages/{name}.json", *other.outputs]
  replaced.set_aside(names, note)


@contextlib.contextmanager
def undone_by_an_error(place: Workdir) -> Iterator[None]:
  """What is there stays, unless it is made anew."""
  try:
    yield
  except Exception:
    if place.replaced.is_kept:
      place.replaced.put_back()
      say(f"{place.root} is as it was before")
    raise
