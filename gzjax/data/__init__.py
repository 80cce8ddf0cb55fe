"""From files of galaxies to batches on the device."""
