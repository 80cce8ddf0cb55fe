"""Small programs as XLA prints them."""

from collections.abc import Sequence
import re

_TEXT = """\
HloModule jit_step, is_scheduled=true

{fused}ENTRY %main.1 (params.1: f32[3,3,3,16]) -> f32[16] {{
  %kernel = f32[3,3,3,16]{{3,2,1,0}} parameter(0), \
metadata={{op_name="state.params[\\'stem_conv\\'][\\'kernel\\']"}}
  %bias = f32[16]{{0}} parameter(1), \
metadata={{op_name="state.params[\\'stem_conv\\'][\\'bias\\']"}}
  %image = f32[4,8,8,3]{{3,2,1,0}} parameter(2), \
metadata={{op_name="batch[\\'image\\']"}}
  %map = f32[4,8,8,16]{{3,2,1,0}} parameter(3), \
metadata={{op_name="batch[\\'map\\']"}}
  {line}
}}
"""


def program(line: str, fused: Sequence[str] = ()) -> str:
  """A program with one operation, `found`, and what it fuses.

  The line is the result and the call, and where that comes from, if known; it
  may use %kernel, %bias, %image and %map.
  """
  found = re.fullmatch(r"(.*?\)(, calls=\S+)?) ?(\S*)", line)
  assert found
  call, _, op_name = found.groups()
  target = ', custom_call_target="__onednn$conv"' if "custom" in call else ""
  metadata = f', metadata={{op_name="{op_name}"}}' if op_name else ""
  lines = "".join(f"  {x}\n" for x in fused)
  return _TEXT.format(
    line=f"ROOT %found = {call}{target}{metadata}",
    fused=f"%fused (p: f32[4]) -> f32[4] {{\n{lines}}}\n\n" if fused else "",
  )
