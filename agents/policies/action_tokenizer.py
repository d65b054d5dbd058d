"""Action tokens: the 256 ids a VLA uses for one dimension of one action, and their values.

The layout is OpenVLA's (``prismatic/vla/action_tokenizer.py``): [-1, 1] is cut by 256 equally
spaced edges into 255 bins, a token stands for its bin's centre, and ids run *downwards*, so that the
last id of the vocabulary is the lowest action. Token ``j`` here is OpenVLA's vocabulary id
``31744 + j``: 255 is -0.996, 128 is 0, and 0 and 1 both are +0.996.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class ActionRange:
    """The values between which the bins of each action dimension lie."""

    low: NDArray[np.float64]
    """``[action_dim]`` the lowest action, in the action's own unit."""
    high: NDArray[np.float64]
    """``[action_dim]`` the highest."""

    def encode(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Tokens ``[..., action_dim]`` of actions ``[..., action_dim]``; values beyond are clipped."""
        return encode_actions(self.normalised(actions))

    def decode(self, tokens: ArrayLike) -> NDArray[np.float64]:
        """Actions ``[..., action_dim]`` of tokens ``[..., action_dim]``: the centres of their bins."""
        return self._centre + self._reach * decode_tokens(tokens)

    def normalised(self, values: ArrayLike) -> NDArray[np.float64]:
        """``values`` ``[..., action_dim]`` in an action's unit as -1 (``low``) to 1 (``high``)."""
        return (np.asarray(values, dtype=np.float64) - self._centre) / self._reach

    @property
    def _centre(self) -> NDArray[np.float64]:
        return (self.low + self.high) / 2

    @property
    def _reach(self) -> NDArray[np.float64]:
        """From the centre to either end; 1 for [-1, 1], where nothing is rounded by scaling."""
        return (self.high - self.low) / 2
