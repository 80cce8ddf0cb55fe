"""The report: files of a workdir -> one self-contained HTML page."""

from typing import TYPE_CHECKING

from gzjax import lazy

if TYPE_CHECKING:
  from gzjax.report import figures, page, review_page, systems_page

__all__ = ["figures", "page", "review_page", "systems_page"]

# They need Matplotlib, which is slow to import.
__getattr__ = lazy.getter(__name__, {}, __all__)
