"""Converts between action tokens and an environment's actions, with the statistics of one dataset."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttrl_env.agents.policies.action_tokenizer import decode_tokens, encode_actions
from ttrl_env.agents.policies.openvla.statistics import ActionStatistics
from ttrl_env.errors import CheckpointError

OFT_EPSILON = 1e-8
"""OpenVLA-OFT adds this to the range when it un-normalises; OpenVLA does not."""


class ActionCodec:
    """Converts tokens to environment actions and back.

    Tokens are bins 0..255, counted from the start of the action window, as everywhere in this package.
    """

    def __init__(self, statistics: ActionStatistics, epsilon: float) -> None:
        self._statistics = statistics
        self._range = statistics.high - statistics.low + epsilon
        self._is_libero = statistics.world == "LIBERO"

    def decode(self, tokens: ArrayLike) -> NDArray[np.float64]:
        """Environment actions ``[..., action_dim]`` of tokens ``[..., action_dim]``."""
        return self.postprocess(decode_tokens(tokens))

    def postprocess(self, normalised: ArrayLike) -> NDArray[np.float64]:
        """Environment actions of normalised actions ``[..., action_dim]``.

        Entries whose mask is true are un-normalised. LIBERO's gripper, 0 = closed and 1 = open in the
        training data, becomes robosuite's +1 = closed and -1 = open. RoboTwin's targets stay as they are.
        """
        normalised = np.asarray(normalised, dtype=np.float64)
        scaled = 0.5 * (normalised + 1) * self._range + self._statistics.low
        actions = np.where(self._statistics.mask, scaled, normalised)
        if self._is_libero:
            actions[..., -1] = -np.sign(2 * actions[..., -1] - 1)
        return actions

    def encode(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Tokens ``[..., action_dim]`` of environment actions: inverse of ``decode`` up to binning."""
        actions = np.array(actions, dtype=np.float64)
        if self._is_libero:
            actions[..., -1] = (1 - np.sign(actions[..., -1])) / 2
        normalised = 2 * (actions - self._statistics.low) / self._range - 1
        return encode_actions(np.where(self._statistics.mask, normalised, actions))


def choose_statistics(statistics: Mapping[str, ActionStatistics], key: str | None) -> str:
    """Name of the dataset whose statistics apply: ``key``, ``key`` + ``_no_noops``, or the only one.

    Raises:
        CheckpointError: ``key`` is unknown, or ``None`` although there are several; the message lists them.
    """
    names = ", ".join(statistics)
    if key is None:
        if len(statistics) == 1:
            return next(iter(statistics))
        raise CheckpointError(
            f"policy.openvla.unnorm_key: the checkpoint has action statistics of several datasets, name one: "
            f"{names}"
        )
    for candidate in (key, f"{key}_no_noops"):
        if candidate in statistics:
            return candidate
    raise CheckpointError(
        f"policy.openvla.unnorm_key: no action statistics of {key!r} (nor {key}_no_noops) in the checkpoint. "
        f"It has: {names}"
    )
