"""The step, the loop and the optimizers of a training."""
