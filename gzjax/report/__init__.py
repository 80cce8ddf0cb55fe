"""The report: files of a workdir -> one self-contained HTML page."""

from gzjax.report.page import picture, write, write_seeds
from gzjax.report.systems_page import write as write_systems

__all__ = ["picture", "write", "write_seeds", "write_systems"]
