"""Galaxies as data sets are shared: parquet shards, HDF5, class folders."""
