"""TFDS builder for a table of galaxies and a folder of images."""
