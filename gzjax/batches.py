"""Batches that are made where they are used, and steps that go through them.

On accelerators to go through them is a loop that the devices run by themselves,
some batches at a time: the host neither starts each step nor waits for it. On
CPUs each step is a program.

Nothing runs far ahead of the devices. That saves memory, and on XLA:CPU with
several devices it must be so: only 32 programs may wait on a device, and if all
of them wait for a collective of the others, it never starts (XLA aborts the
process after a while).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import itertools
import time
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from gzjax import sharding
from gzjax.remembered import remembered
from gzjax.threads import bounded_map
from gzjax.types import PyTree

# (carry, *fixed, batch) -> (carry, what is to be seen of it). It may be traced,
# may consume (donate) the carry, and is jitted, or made of parts that are.
Step = Callable[..., tuple[PyTree, PyTree]]

_STEPS = 32  # in a chunk, at most
_BYTES = 2**22  # that go to the devices for a chunk of several steps, at most
# A chunk shall take so long: whoever waits, or wants to stop, waits for it.
_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
  """Batches of one shape, each a function of what all share and of its own.

  To iterate over them makes them one by one. `[start:stop]` are some of them.

  Attributes:
    mesh: the devices that they are split over.
    count: how many they are.
    make: (shared, own) -> batch; traced. What is compiled is found by it.
    shared: arrays on the devices.
    own: position -> arrays on the host, of which each has the examples in
      front or is a number; called by threads, ahead of the devices.
  """

  mesh: Mesh
  count: int
  make: Callable[[PyTree, PyTree], Any]
  shared: PyTree
  own: Callable[[int], PyTree]

  def __len__(self) -> int:
    return self.count

  def __iter__(self) -> Iterator[Any]:
    make = _made(self.make, self.mesh)
    for own in bounded_map(self.own, range(self.count), window=2):
      yield make(self.shared, sharding.shard_batch(self.mesh, own))

  def __getitem__(self, part: slice) -> "Batches":
    chosen = range(self.count)[part]
    own = self.own
    return dataclasses.replace(
      self, count=len(chosen), own=lambda position: own(chosen[position])
    )


@remembered
def _made(make, mesh):
  return jax.jit(make, out_shardings=sharding.split(mesh))


@dataclasses.dataclass(frozen=True, eq=False)
class _Joined(Batches):
  combine: Callable[..., Any]
  streams: tuple[Batches, ...]

  def __iter__(self) -> Iterator[Any]:
    own, *_ = self.shared
    if not self.streams:
      yield from [self.combine(own)] * self.count
    for parts in zip(*self.streams):
      yield self.combine(own, *parts)

  def __getitem__(self, part: slice) -> Batches:
    own, *_ = self.shared
    return join(
      self.combine,
      *(stream[part] for stream in self.streams),
      mesh=self.mesh,
      count=len(range(self.count)[part]),
      shared=own,
    )


def join(
  combine: Callable[..., Any],
  *streams: Batches,
  mesh: Mesh,
  count: int,
  shared: PyTree = (),
) -> Batches:
  """`combine(shared, *batches)` of so many batches of streams of as many.

  What is compiled is found by `combine`, too.
  """
  shares = shared, *(stream.shared for stream in streams)
  make = _Make(combine, tuple(stream.make for stream in streams))

  def own(position):
    # With a number, for there may be no streams.
    return np.int32(position), *(stream.own(position) for stream in streams)

  return _Joined(mesh, count, make, shares, own, combine, streams)


class _Make(NamedTuple):
  """Equal for equal parts, so that another epoch is the same program."""

  combine: Callable[..., Any]
  parts: tuple[Callable[..., Any], ...]

  def __call__(self, shares, own):
    mine, *theirs = shares
    _, *own = own
    parts = zip(self.parts, theirs, own, strict=True)
    return self.combine(mine, *(make(x, y) for make, x, y in parts))


def go_through(
  step: Step,
  carry: PyTree,
  batches: Iterable[Any],
  *fixed: PyTree,
  advance: Callable[[int], None] = lambda steps: None,
  in_chunks: bool | None = None,
) -> tuple[PyTree, list[PyTree]]:
  """Takes a step on each batch, in order.

  Args:
    step: see `Step`.
    carry: what the first step gets; consumed.
    batches: `Batches`, or any others, which go one by one.
    *fixed: more arguments of every step.
    advance: told how many steps more are done.
    in_chunks: whether `Batches` go in chunks; None: where it pays, which is not
      on CPUs. Inside of a loop XLA:CPU's convolutions are 20 times as slow
      (ResNet34, 64 pixels), and a step that makes its batch itself takes 1.4
      times as long to compile.

  Returns:
    The last carry, and the outputs of each step, on the host.
  """
  if not isinstance(batches, Batches) or not (
    _pays(batches.mesh) if in_chunks is None else in_chunks
  ):
    return _one_by_one(step, carry, batches, fixed, advance)
  run = _chunk_of(step, batches.make)
  outputs: list[PyTree] = []
  waiting: deque[Any] = deque()
  chunks = _Chunks(batches)
  while chunks.left or waiting:
    if chunks.left:
      carry, *found = run(carry, fixed, batches.shared, *chunks.take())
      waiting.append(found)
    # The next chunk is under way before this one is read.
    if len(waiting) > 1 or not chunks.left:
      seen, done = sharding.fetch(waiting.popleft())
      done = int(done)
      outputs += [_at(seen, position) for position in range(done)]
      chunks.adapt(done)
      advance(done)
  return carry, outputs


def _at(tree, position):
  return jax.tree.map(lambda x: x[position], tree)


def peeked(batches: Iterable[Any]) -> tuple[Iterable[Any], Iterable[Any]]:
  """(the first of some batches alone, all of them)."""
  if isinstance(batches, Batches):
    return batches[:1], batches
  stream = iter(batches)
  first = list(itertools.islice(stream, 1))
  return first, itertools.chain(first, stream)


def _pays(mesh: Mesh) -> bool:
  return not sharding.are_cpus(mesh)


def _one_by_one(step, carry, batches, fixed, advance):
  outputs: list[PyTree] = []
  for batch in batches:
    carry, found = step(carry, *fixed, batch)
    outputs.append(found)
    # Some steps have no outputs to wait for.
    jax.block_until_ready(outputs[-2:-1] if jax.tree.leaves(found) else carry)
    advance(1)
  return carry, sharding.fetch(outputs)


@remembered
def _chunk_of(step, make):
  """(carry, fixed, shared, own, count) -> (carry, outputs, count), jitted.

  `own` and the outputs have room for more steps than are taken, so that chunks
  of any length are one program.
  """

  def run(carry, fixed, shared, own, count):
    room = len(jax.tree.leaves(own)[0])

    def take(carry, position):
      return step(carry, *fixed, make(shared, _at(own, position)))

    def body(position, found):
      carry, outputs, done = found
      carry, output = take(carry, position)
      outputs = jax.tree.map(
        lambda x, one: x.at[position].set(one), outputs, output
      )
      return carry, outputs, done + 1

    _, output = jax.eval_shape(take, carry, 0)
    zeros = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), output)
    return lax.fori_loop(0, count, body, (carry, zeros, jnp.zeros_like(count)))

  return jax.jit(run, donate_argnums=0)


class _Chunks:
  """What batches have of their own, on the devices, as many at once as pay."""

  def __init__(self, batches: Batches):
    self._mesh, self.left = batches.mesh, batches.count
    if not self.left:
      return
    first = batches.own(0)
    size = sum(x.nbytes for x in jax.tree.leaves(first))
    self._room = max(1, min(_STEPS, _BYTES // size))
    rest = bounded_map(batches.own, range(1, self.left), 2 * self._room)
    self._stream = itertools.chain([first], rest)
    # Several processes must take the same steps, however fast they are.
    self._steps = self._room if jax.process_count() > 1 else 1
    self._since = time.perf_counter()

  def take(self) -> tuple[PyTree, np.int32]:
    """The next ones, stacked, and how many they are."""
    some = list(itertools.islice(self._stream, self._steps))
    self.left -= len(some)

    def stacked(*x):
      found = np.zeros((self._room, *x[0].shape), x[0].dtype)
      for position, one in enumerate(x):
        found[position] = one
      return found

    own = sharding.shard_batch(self._mesh, jax.tree.map(stacked, *some), axis=1)
    return own, np.int32(len(some))

  def adapt(self, steps: int) -> None:
    """Told how many were done since the last call, decides how many next."""
    now = time.perf_counter()
    seconds, self._since = now - self._since, now
    if jax.process_count() == 1:
      fitting = int(steps * _SECONDS / max(seconds, 1e-9))
      self._steps = max(1, min(self._room, 4 * steps, fitting))
