"""The report: files of a workdir -> one self-contained HTML page."""

from typing import TYPE_CHECKING

from gzjax import lazy

if TYPE_CHECKING:
  from gzjax.report import page, review_page, sweep_figures, systems_page

__all__ = ["page", "review_page", "sweep_figures", "systems_page"]

# They need Matplotlib, which is slow to import.
__getattr__ = lazy.getter(__name__, {}, __all__)
