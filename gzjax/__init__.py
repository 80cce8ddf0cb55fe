"""Galaxy morphology in JAX: find wrong labels and unlearn them."""
