"""Unlearning methods as optax chains."""

from gzjax.unlearning.methods import METHODS, Driver, Row, Task, register

__all__ = ["METHODS", "Driver", "Row", "Task", "register"]
