"""The report: files of a workdir -> one self-contained HTML page."""

from gzjax.report.page import write

__all__ = ["write"]
