"""The report: files of a workdir -> one self-contained HTML page."""

from gzjax.report.page import write, write_seeds

__all__ = ["write", "write_seeds"]
