"""Do the tests notice? Breaks a module in many small ways, one at a time.

    python -m tests.mutants gzjax/evaluation/metrics.py [--sample=150]

A mutant that all tests pass survives: what it changed is either not tested, or
of no effect. mutmut forks after the backend of JAX has started, which hangs;
here the parent starts none and knows nothing of gzjax, so each child imports
the mutated module wherever others do, and JAX itself only once.
"""

import argparse
import ast
from collections.abc import Iterator
import importlib.machinery
import importlib.util
import os
from pathlib import Path
import random
import re
import signal
import sys
import tempfile
import time
from typing import Any, NamedTuple

_METHODS = "unlearning/test_formulas.py unlearning/test_methods.py"
_STEPS = "unlearning/test_transforms.py unlearning/test_formulas.py"
# What tests a module of gzjax, cheap ones first.
TESTS = {
  "evaluation/health.py": "evaluation/test_health.py",
  "evaluation/metrics.py": "evaluation/test_metrics.py",
  "objectives/losses.py": (
    "objectives/test_losses.py unlearning/test_formulas.py "
    "objectives/test_targets.py"
  ),
  "unlearning/edits.py": (
    f"{_STEPS} evaluation/test_health.py "
    "models/test_resnet.py::test_etd_takes_tied_channels_out"
  ),
  "unlearning/gradient_methods.py": _METHODS,
  "unlearning/one_step_methods.py": _METHODS,
  "unlearning/transforms.py": _STEPS,
}
TIMEOUT = 300  # seconds; what runs longer never ends, which is noticed, too
_SWAPS = """
  Lt:LtE,Gt LtE:Lt,GtE Gt:GtE,Lt GtE:Gt,LtE Eq:NotEq NotEq:Eq Is:IsNot
  IsNot:Is In:NotIn NotIn:In And:Or Or:And BitAnd:BitOr BitOr:BitAnd Add:Sub
  Sub:Add Mult:Div Div:Mult FloorDiv:Div Mod:Mult Pow:Mult USub:UAdd min:max
  max:min minimum:maximum maximum:minimum argmin:argmax argmax:argmin any:all
  all:any sum:mean mean:sum zeros:ones ones:zeros zeros_like:ones_like
  ones_like:zeros_like log:log1p log1p:log exp:expm1 expm1:exp
"""
# Of an operator or a function, those that may take its place.
SWAPS = {
  name: others.split(",")
  for name, others in (word.split(":") for word in _SWAPS.split())
}


def changes(node: ast.AST) -> Iterator[tuple[int, Any, Any, Any]]:
  """Of a node and all below it that runs: (line, owner, field, new).

  That is `owner.field = new`, or of a list `owner[field] = new`.
  """
  for change in _own_changes(node):
    yield node.lineno, *change
  for child in _running(node):
    yield from changes(child)


def _own_changes(node):
  match node:
    case ast.Compare(ops=ops):
      for i, op in enumerate(ops):
        yield from ((ops, i, other) for other in _others(op))
    case ast.UnaryOp(op=ast.Not() | ast.Invert() as op, operand=operand):
      yield node, "operand", ast.UnaryOp(op, operand)
    case ast.BinOp() | ast.AugAssign() | ast.BoolOp() | ast.UnaryOp():
      yield from ((node, "op", other) for other in _others(node.op))
    case ast.Constant(value=bool() as value):
      yield node, "value", not value
    case ast.Constant(value=int() | float() as value):
      yield node, "value", value + 1
    # A key that something acts on, not words.
    case ast.Constant(value=str() as value) if re.fullmatch(r"\S+", value):
      yield node, "value", f"{value}_"
    case ast.If(test=test) | ast.IfExp(test=test):
      yield node, "test", ast.UnaryOp(ast.Not(), test)
    case ast.Return(value=ast.expr()):
      yield node, "value", ast.Constant(None)
    case ast.Call(keywords=words):
      for i in range(len(words)):
        yield node, "keywords", words[:i] + words[i + 1 :]
    case ast.Attribute(attr=name) if name in SWAPS:
      yield node, "attr", *SWAPS[name]
    case ast.Name(id=name) if name in SWAPS:
      yield node, "id", *SWAPS[name]


def _others(operator):
  names = SWAPS.get(type(operator).__name__, ())
  return [getattr(ast, name)() for name in names]


def _running(node):
  """The children but for docstrings, types, words of errors, and settings.

  Settings are keyword-only; their defaults are a matter of tuning.
  """
  match node:
    case ast.Import() | ast.ImportFrom() | ast.Raise() | ast.JoinedStr():
      return []
    case ast.Expr(value=ast.Constant()):
      return []
    case ast.Assign(targets=[ast.Name(id="__all__")]):
      return []
    case ast.AnnAssign():
      return [node.value] if node.value else []
    case ast.FunctionDef():
      return [*node.decorator_list, *node.args.defaults, *node.body]
    case ast.Lambda():
      return [*node.args.defaults, node.body]
  return list(ast.iter_child_nodes(node))


class Mutant(NamedTuple):
  line: int
  source: str
  words: str  # what a person reads


def mutants(source: str) -> list[Mutant]:
  tree = ast.parse(source)
  plain, found = ast.unparse(tree), []
  for line, owner, field, new in [y for x in tree.body for y in changes(x)]:
    # A list or the attributes of a node.
    fields = owner if isinstance(owner, list) else vars(owner)
    old, fields[field] = fields[field], new
    mutated = ast.unparse(tree)
    fields[field] = old
    pairs = zip(plain.splitlines(), mutated.splitlines())
    words = [f"  {x.strip()}\n  {y.strip()}" for x, y in pairs if x != y]
    found.append(Mutant(line, mutated, "\n".join(words)))
  return found


class _Loader(importlib.machinery.SourceFileLoader):
  """Finds and loads one module, from a source that is not in its file."""

  def __init__(self, name, path, source):
    super().__init__(name, str(path))
    self._source = source

  def get_code(self, fullname):
    return compile(self._source, self.path, "exec")

  def find_spec(self, name, path=None, target=None):
    if name != self.name:
      return None
    return importlib.util.spec_from_file_location(name, self.path, loader=self)


def passes(path: Path, source: str) -> bool:
  """Whether all tests of the module pass with this source, in a child."""
  child = os.fork()
  if child:
    return os.waitpid(child, 0)[1] == 0
  signal.alarm(TIMEOUT)
  null = os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, 1)
  os.dup2(null, 2)
  name = ".".join(path.with_suffix("").parts)
  sys.meta_path.insert(0, _Loader(name, path, source))
  tests = TESTS[path.relative_to("gzjax").as_posix()].split()
  how = ["-x", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow"]
  pytest = importlib.import_module("pytest")
  os._exit(pytest.main([*how, *(f"tests/{name}" for name in tests)]))


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("path", type=Path, help="of a module in TESTS")
  parser.add_argument("--sample", type=int, help="so many mutants, by chance")
  parser.add_argument("--seed", type=int, default=0, help="of the sample")
  parser.add_argument("--only", default="", help="mutants with this text")
  args = parser.parse_args()
  source = args.path.read_text(encoding="utf-8")
  every = [x for x in mutants(source) if args.only in f"{x.line}\n{x.words}"]
  if args.sample and args.sample < len(every):
    every = random.Random(args.seed).sample(every, args.sample)
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as compiled:
    # What JAX reads when it is imported; more is in conftest.py.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", compiled)
    for name in ("flax.linen", "jax", "optax", "pandas", "pytest", "scipy"):
      importlib.import_module(name)
    if not passes(args.path, source):
      sys.exit("the tests do not pass as it is")
    killed = 0
    for mutant in sorted(every):
      if passes(args.path, mutant.source):
        print(f"{args.path}:{mutant.line}\n{mutant.words}", flush=True)
      else:
        killed += 1
  share = killed / max(len(every), 1)
  seconds = time.monotonic() - start
  print(f"killed {killed} of {len(every)} ({share:.0%}) in {seconds:.0f} s")


if __name__ == "__main__":
  main()
