"""TFDS builder for a synthetic sky."""
