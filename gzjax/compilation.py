"""What JAX compiles while something runs: which programs, and how long."""

from contextlib import AbstractContextManager

from jax import monitoring

_COMPILED = "/jax/core/compile/backend_compile_duration"
_STEPS = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
  _COMPILED,
)
_FOUND = "/jax/compilation_cache/cache_hits"


class Compilation(AbstractContextManager):
  """Listens to JAX while it is entered, in all threads of this process.

      with Compilation() as compilation:
        step(state, batch)
      print(compilation.words())  # compiled 1 program in 2.5 s

  Attributes:
    programs: the names of the programs, in their order, those that were read
      from the store of compiled programs included.
    stored: how many of them were.
  """

  def __init__(self):
    self.programs: list[str] = []
    self.stored = 0
    self._spans: list[tuple[float, float]] = []

  def __enter__(self):
    monitoring.register_event_time_span_listener(self._span)
    monitoring.register_event_listener(self._event)
    return self

  def __exit__(self, *error: object) -> None:
    monitoring.unregister_event_time_span_listener(self._span)
    monitoring.unregister_event_listener(self._event)

  @property
  def seconds(self) -> float:
    """In which a program was traced, lowered, compiled or read."""
    total, until = 0.0, 0.0
    # A function is traced while another one is, which calls it.
    for start, end in sorted(self._spans):
      total += max(end - max(start, until), 0.0)
      until = max(end, until)
    return total

  def words(self) -> str:
    """All of this in a line."""
    count = len(self.programs)
    found = f" ({self.stored} of them from the store)" if self.stored else ""
    return (
      f"compiled {count} program{'s' * (count != 1)} in {self.seconds:.1f} s"
      f"{found}"
    )

  def _span(
    self, event: str, start_time: float, end_time: float, **about
  ) -> None:
    if event in _STEPS:
      self._spans.append((start_time, end_time))
    if event == _COMPILED:
      self.programs.append(about["fun_name"])

  def _event(self, event: str, **_) -> None:
    self.stored += event == _FOUND
