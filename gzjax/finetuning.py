"""Finetuning as pieces of an optax chain: what learns, when, and how fast.

Each piece wraps an optimizer and scales its finished updates, so that a layer
that is held back is held back from weight decay, too. Layers are the entries
at the top of `params`. A piece with nothing to do is the optimizer itself.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from gzjax.errors import UserError
from gzjax.types import PyTree
