"""Side-by-side measurements; each says how to run it."""
