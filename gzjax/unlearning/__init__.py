"""Unlearning methods as optax chains."""

from gzjax.unlearning.driver import run
from gzjax.unlearning.methods import METHODS, Driver, Row, Task, register

__all__ = ["METHODS", "Driver", "Row", "Task", "register", "run"]
