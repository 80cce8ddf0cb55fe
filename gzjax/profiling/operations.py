"""What the operations of a compiled program are for, from its text.

XLA's text of a program (HLO) says of nearly every instruction which function
and which layer it comes from, in `op_name`: jit(step)/transpose(jvp(ResNet))/
stage1_block1/conv1/conv_general_dilated is of the backward pass of a
convolution. The rules here need that text alone.

A compiled operation may be a fusion of several instructions, and no clock runs
inside of it. The rule: one with a convolution or matrix product is of the kind
of that; of any other the time is split among the kinds of its instructions by
the elements that each of them goes through, what only moves numbers left out
(unless nothing else is there).
"""

from collections.abc import Iterator, Mapping
import math
import re
from typing import NamedTuple

# All kinds of time, in the order of tables. Dense layers count as convolutions
# of one pixel.
KINDS = {
  "forward": "convolutions, forward",
  "input_gradient": "convolutions, input gradient",
  "weight_gradient": "convolutions, weight gradient",
  "normalisation": "normalisation",
  "pooling": "pooling",
  "elementwise": "activations, sums of branches",
  "loss": "loss",
  "optimizer": "optimizer",
  "sums": "sums of a Fisher",
  "movement": "copies, transposes, padding",
  "exchange": "exchange between devices",
  "feed": "feed: the next batch",
  "host": "host: no operation runs",
  "other": "other",
}

_NO_WORK = (
  *("parameter", "constant", "tuple", "get-tuple-element", "after-all"),
  *("bitcast", "partition-id", "replica-id"),
)
_MOVES = (
  *("copy", "transpose", "reshape", "bitcast-convert", "pad", "slice"),
  *("concatenate", "broadcast", "reverse", "dynamic-slice", "convert", "iota"),
  *("dynamic-update-slice", "copy-start", "copy-done"),
)
_SLICES = ("slice", "dynamic-slice", "gather")
_PRODUCTS = ("convolution", "dot")
# Custom calls that are products: of cuDNN, cuBLAS, oneDNN.
_PRODUCT_CALLS = re.compile(r"conv|gemm|matmul", re.IGNORECASE)
_INPUT_GRADIENTS = re.compile("convBackwardInput|conv_image")
_WEIGHT_GRADIENTS = re.compile("convBackwardFilter|conv_kernel")
_EXCHANGES = re.compile(r"all-|reduce-scatter|collective|send|recv")
# Operations that are made of others, which the trace shows one by one.
_CONTAINERS = ("while", "conditional")
_WINDOWS = ("reduce-window", "select-and-scatter")
_POOLS = ("max_pool", "avg_pool", "pool", "reduce_window", "select_and_scatter")


class Instruction(NamedTuple):
  """A line of the text of a program."""

  name: str
  opcode: str
  shape: str  # of the result, such as f32[32,16]{1,0}
  operands: tuple[str, ...]
  op_name: str  # where it comes from; ""
  calls: str  # the computation that a fusion or a call runs; ""
  target: str  # of a custom call; ""
  is_root: bool


class Program(NamedTuple):
  """The text of a program, line by line."""

  computations: Mapping[str, tuple[Instruction, ...]]
  shapes: Mapping[str, str]  # of all results, by their names
  entry: str  # name of the computation that runs first


class Operation(NamedTuple):
  """What a compiled operation is for."""

  kinds: Mapping[str, float]  # shares of its time, that sum to 1; of `KINDS`
  mixed: bool  # whether it fuses work of several kinds
  bytes: float  # that it reads and writes, caches left out of account
  origin: str  # the `op_name`, of a fusion without one that of its first part


_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.+?) ([\w\-]+)\((.*)$")
_PARAMETER = re.compile(r"(?:^|[.\[])params'?\]?((?:\[\\?'[^']+'\])+)$")


def parse(text: str) -> Program:
  """The text that `jax.stages.Compiled.as_text` returns, line by line."""
  computations: dict[str, list[Instruction]] = {}
  current, entry = "", ""
  for line in text.splitlines():
    if header := _HEADER.match(line):
      current = header[2]
      computations[current] = []
      entry = current if header[1] else entry
    elif current and (found := _LINE.match(line)):
      computations[current].append(_instruction(*found.groups()))
  shapes = {x.name: x.shape for lines in computations.values() for x in lines}
  return Program({k: tuple(x) for k, x in computations.items()}, shapes, entry)


def _instruction(root, name, shape, opcode, rest) -> Instruction:
  arguments, attributes = _split_at_end(rest)
  calls = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", attributes)
  op_name = re.search(r'op_name="([^"]*)"', attributes)
  target = re.search(r'custom_call_target="([^"]*)"', attributes)
  return Instruction(
    name,
    opcode,
    shape,
    tuple(re.findall(r"%([\w.\-]+)", arguments)),
    op_name[1].replace("\\", "") if op_name else "",
    calls[1] if calls and opcode in ("fusion", "call") else "",
    target[1] if target else "",
    bool(root),
  )


def _split_at_end(rest: str) -> tuple[str, str]:
  """What stands in the parenthesis that is open, and what follows it."""
  depth = 1
  for place, letter in enumerate(rest):
    depth += {"(": 1, ")": -1}.get(letter, 0)
    if not depth:
      return rest[:place], rest[place + 1 :]
  return rest, ""


def operations(text: str) -> dict[str, Operation]:
  """What each operation of a compiled program is for, by its name."""
  program = parse(text)
  kernels = _parameters(program)
  found = {}
  for lines in program.computations.values():
    for line in lines:
      if line.opcode not in _NO_WORK:
        weights, mixed = _weights(program, kernels, line, line.op_name)
        whole = sum(weights.values())
        kinds = {kind: x / whole for kind, x in weights.items()}
        traffic = _traffic(program, line)
        origin = _origin(program, line)
        found[line.name] = Operation(kinds, mixed, traffic, origin)
  return found


def _origin(program: Program, line: Instruction) -> str:
  if line.op_name or line.calls not in program.computations:
    return line.op_name
  parts = (name for _, name in _inside(program, line, ""))
  return next(filter(None, parts), "")


class _Layer(NamedTuple):
  """The parameters of a layer."""

  kernel: tuple[int, ...]  # its shape; () without one
  sizes: frozenset[int]  # elements of each parameter


def _parameters(program: Program) -> dict[tuple[str, ...], _Layer]:
  """The layers of the network, by the names on the way to them."""
  found: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
  for line in program.computations.get(program.entry, ()):
    path = _PARAMETER.search(line.op_name)
    if line.opcode == "parameter" and path:
      *layer, leaf = re.findall(r"\['([^']+)'\]", path[1])
      found.setdefault(tuple(layer), {})[leaf] = _dims(line.shape)
  return {
    layer: _Layer(
      leaves.get("kernel", ()), frozenset(map(math.prod, leaves.values()))
    )
    for layer, leaves in found.items()
  }


def _weights(
  program: Program, layers, line: Instruction, op_name: str
) -> tuple[dict[str, float], bool]:
  """Kind -> its weight in an operation; and whether kinds are fused."""
  if line.calls not in program.computations:
    kind = _kind(program, layers, line, line.op_name or op_name)
    return {kind: 1.0}, False
  products: dict[str, float] = {}
  work: dict[str, float] = {}
  moves: dict[str, float] = {}
  for inner, name in _inside(program, line, op_name):
    kind = _kind(program, layers, inner, name)
    size = max(map(_elements, _shapes(program, inner)))
    chosen = products if _is_product(inner) else work
    chosen = moves if kind == "movement" else chosen
    chosen[kind] = chosen.get(kind, 0) + size
  mixed = len({*products, *work}) > 1
  return products or work or moves or {"other": 1.0}, mixed


def _inside(
  program: Program, line: Instruction, op_name: str
) -> Iterator[tuple[Instruction, str]]:
  """The instructions of a fusion that do something, and where they are from."""
  for inner in program.computations[line.calls]:
    name = inner.op_name or op_name
    if inner.calls in program.computations:
      yield from _inside(program, inner, name)
    elif inner.opcode not in _NO_WORK:
      yield inner, name


def _is_product(line: Instruction) -> bool:
  is_call = line.opcode == "custom-call"
  return line.opcode in _PRODUCTS or (
    is_call and bool(_PRODUCT_CALLS.search(line.target))
  )


def _kind(program: Program, layers, line: Instruction, op_name: str) -> str:
  """What a single instruction is for; the first rule that fits."""
  # XLA rewrites some products and forgets where they were from: the name of
  # what they are fused with is not theirs.
  op_name = line.op_name if _is_product(line) else op_name
  words = re.findall(r"[\w.\-]+", op_name)
  if _EXCHANGES.match(line.opcode):
    return "exchange"
  if line.opcode in _CONTAINERS:
    return "other"
  for scope in ("optimizer", "loss", "sums"):
    if scope in words:
      return scope
  # The windows of a gradient have no name any more.
  if line.opcode in _WINDOWS or any(word.startswith(_POOLS) for word in words):
    return "pooling"
  if line.opcode in _MOVES:
    return "movement"
  layer = _layer(layers, words)
  if _is_product(line) and not op_name:
    return _nameless(layers, line)
  if (layer is not None and layer.kernel) or _is_product(line):
    return _pass(program, layer, line, op_name, words)
  if any("norm" in word.lower() for word in words):
    return "normalisation"
  known = {name for path in layers for name in path}
  if "jvp(" in op_name or known & {*words}:
    return "elementwise"
  return "other"


def _nameless(layers, line: Instruction) -> str:
  """A product of unknown origin: a gradient if it has a kernel's shape."""
  dims = _dims(line.shape)
  kernels = (layer.kernel for layer in layers.values() if layer.kernel)
  is_gradient = any(_is_like(dims, kernel) for kernel in kernels)
  return "weight_gradient" if is_gradient else "other"


def _layer(layers, words: list[str]) -> _Layer | None:
  """The layer that an instruction comes from: the longest path that fits."""
  for length in range(len(words), 0, -1):
    for start in range(len(words) - length + 1):
      path = tuple(words[start : start + length])
      if path in layers:
        return layers[path]
  return None


def _pass(
  program: Program, layer: _Layer | None, line: Instruction, op_name, words
) -> str:
  """Whether a convolution goes forward, or which of its gradients it is.

  Of a gradient the text says the layer alone. That of the input needs the
  kernel and that of the kernel does not, but has its shape.
  """
  for scope in ("input_gradient", "weight_gradient"):
    if scope in words:
      return scope
  if _INPUT_GRADIENTS.search(line.target):
    return "input_gradient"
  if _WEIGHT_GRADIENTS.search(line.target):
    return "weight_gradient"
  if "transpose(" not in op_name:
    return "forward"
  if layer is None:
    return "other"
  result, *operands = _shapes(program, line)
  if not _is_product(line):
    is_parameter = _elements(result) in layer.sizes
    return "weight_gradient" if is_parameter else "input_gradient"
  if _is_like(_dims(result), layer.kernel):
    return "weight_gradient"
  needs_kernel = math.prod(layer.kernel) in map(_elements, operands)
  return "input_gradient" if needs_kernel else "weight_gradient"


def _is_like(dims: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
  """Whether an array has the shape of a kernel, or of its matrix [inputs,K]."""

  def plain(dims):
    return sorted(n for n in dims if n > 1)

  matrix = math.prod(kernel[:-1]), *kernel[-1:]
  return plain(dims) in (plain(kernel), plain(matrix))


def _shapes(program: Program, line: Instruction) -> list[str]:
  """Of the result, and of the operands."""
  return [line.shape, *(program.shapes.get(x, "") for x in line.operands)]


def _arrays(shape: str) -> Iterator[tuple[str, tuple[int, ...]]]:
  """The arrays of a shape, which may be a tuple: their types and sizes."""
  for dtype, dims in re.findall(r"([a-z]\w*)\[([\d,<=]*)\]", shape):
    yield dtype, tuple(int(n.strip("<=")) for n in dims.split(",") if n)


def _dims(shape: str) -> tuple[int, ...]:
  return next(_arrays(shape), ("", ()))[1]


def _elements(shape: str) -> int:
  return sum(math.prod(dims) for _, dims in _arrays(shape))


def _bytes(shape: str) -> float:
  def width(dtype):
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else float(dtype == "pred")

  return sum(width(dtype) * math.prod(dims) for dtype, dims in _arrays(shape))


def _traffic(program: Program, line: Instruction) -> float:
  """Bytes that an operation reads and writes; of what it slices the slice."""
  if line.opcode in _CONTAINERS:
    return 0.0
  if line.opcode in _SLICES:
    return 2 * _bytes(line.shape)
  if line.opcode == "dynamic-update-slice":
    return 2 * _bytes(program.shapes.get(line.operands[1], ""))
  if line.calls not in program.computations:
    return sum(map(_bytes, _shapes(program, line)))
  inner = program.computations[line.calls]
  root = next(x for x in inner if x.is_root)
  if root.opcode == "dynamic-update-slice":
    written = 2 * _bytes(program.shapes[root.operands[1]])
  else:
    written = _bytes(line.shape)
  parameters = [x for x in inner if x.opcode == "parameter"]
  return written + sum(_read(inner, x, root) for x in parameters)


def _read(inner, parameter: Instruction, root: Instruction) -> float:
  """Bytes of a parameter that the instructions of a fusion read."""
  users = [x for x in inner if parameter.name in x.operands]
  updates = [x for x in users if x.opcode == "dynamic-update-slice"]
  if updates == users == [root] and root.operands[0] == parameter.name:
    return 0.0
  if users and all(x.opcode in _SLICES for x in users):
    return sum(_bytes(x.shape) for x in users)
  return _bytes(parameter.shape)
