"""Unlearning methods as optax chains."""
