"""Action tokens: the 256 ids a VLA uses for one dimension of one action, and their values.

The layout is OpenVLA's (``prismatic/vla/action_tokenizer.py``): [-1, 1] is cut by 256 equally
spaced edges into 255 bins, a token stands for its bin's centre, and ids run *downwards*, so that the
last id of the vocabulary is the lowest action. Token ``j`` here is OpenVLA's vocabulary id
``31744 + j``: 255 is -0.996, 128 is 0, and 0 and 1 both are +0.996.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_ACTION_TOKENS = 256
"""Tokens per action dimension: the width of a policy's logits."""

_EDGES = np.linspace(-1.0, 1.0, NUM_ACTION_TOKENS)
_CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2


def encode_actions(actions: ArrayLike) -> NDArray[np.int64]:
    """Tokens ``[...]`` int64 in [1, 255] of actions ``[...]``; values beyond [-1, 1] are clipped."""
    actions = np.asarray(actions, dtype=np.float64)
    if not np.isfinite(actions).all():
        raise ValueError("actions: expected finite values, got NaN or infinity")
    return NUM_ACTION_TOKENS - np.digitize(np.clip(actions, -1.0, 1.0), _EDGES).astype(np.int64)


def decode_tokens(tokens: ArrayLike) -> NDArray[np.float64]:
    """Actions ``[...]`` float64 in (-1, 1) of tokens ``[...]``: the centres of their bins."""
    tokens = np.asarray(tokens)
    if tokens.size and (tokens.min() < 0 or tokens.max() >= NUM_ACTION_TOKENS):
        raise ValueError(
            f"tokens: expected ids in 0..{NUM_ACTION_TOKENS - 1}, got {tokens.min()} to {tokens.max()}"
        )
    return _CENTRES[np.clip(NUM_ACTION_TOKENS - 1 - tokens, 0, len(_CENTRES) - 1)]
