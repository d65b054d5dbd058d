"""The shape of a TinyVLA, as a Hugging Face configuration that refuses values no TinyVLA can have."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Annotated, Any

import numpy as np
from transformers import PreTrainedConfig

from ttrl_env.agents.config.bounds import MultipleOf, at_least, check_value
from ttrl_env.agents.config.choices import CHUNK_STEPS, TINY_VLA
from ttrl_env.agents.policies.action_tokenizer import ActionRange
from ttrl_env.agents.policies.cameras import PolicyCamera, World, world_of
from ttrl_env.agents.policies.sizes import LARGEST_DEPTH, LARGEST_WIDTH
from ttrl_env.errors import ConfigError, unknown_name

WRIST_CAMERA: PolicyCamera = "robot0_eye_in_hand"

_CHECKED_APART = ("demonstrations", "action_low", "action_high")

_OF_TRANSFORMERS = ("attn_implementation", "experts_implementation", "auto_map", "quantization_config")
"""Keywords of every ``PreTrainedConfig`` that are no attributes of the class."""


class TinyVLAConfig(PreTrainedConfig):
    """Shape of a :class:`~ttrl_env.agents.policies.tiny_vla.TinyVLA`.

    Keywords are the fields below and those of every ``PreTrainedConfig``.

    Raises:
        ConfigError: a value is of the wrong type or out of its bounds.
        UnknownNameError: a keyword is neither of TinyVLA nor of ``transformers``.
    """

    model_type = TINY_VLA

    camera: PolicyCamera = "agentview"
    """The camera whose image is an input (observation key ``<camera>_image``); ``head_camera``: RoboTwin."""
    image_size: Annotated[int, MultipleOf(16, 4096, "the encoder halves images four times")] = 64
    """Height and width to which images are averaged down, pixels; a multiple of 16."""
    chunk_steps: Annotated[int, at_least(1, 1024)] = CHUNK_STEPS
    """Actions decoded from one observation and executed open loop."""
    action_dim: Annotated[int, at_least(1, 1024)] = 7
    """Numbers of one action, each a token: 7 in LIBERO, 14 in RoboTwin."""
    action_low: float | list[float] = -1.0
    """The lowest action, which the last bin begins at: one number, or one for each dimension."""
    action_high: float | list[float] = 1.0
    """The highest action, in the same form."""
    hidden_size: Annotated[int, MultipleOf(16, LARGEST_WIDTH, "it normalises groups of channels")] = 128
    """Width of tokens and queries; a multiple of 16 and of ``num_heads``."""
    num_layers: Annotated[int, at_least(1, LARGEST_DEPTH)] = 2
    """Number of decoder layers."""
    num_heads: Annotated[int, at_least(1, LARGEST_WIDTH)] = 4
    """Number of attention heads."""
    word_buckets: Annotated[int, at_least(1)] = 1024
    """Number of embeddings into which words are hashed."""
    max_words: Annotated[int, at_least(1, 1024)] = 24
    """Number of words of the instruction that are read; further ones are ignored."""
    wrist_camera: bool = False
    """Whether LIBERO's wrist camera's image is an input too, with an encoder of its own."""
    proprioception: bool = False
    """Whether the arm's state is an input too: of LIBERO the end effector's pose and the positions of the
    fingers, of RoboTwin the joints' positions."""
    demonstrations: list[dict[str, Any]] | None = None
    """Its training data, as :func:`ttrl_env.demonstrations.origins.describe` returns it."""

    def __post_init__(self, **others: Any) -> None:
        """Check the values of the fields, and take the keywords of every ``PreTrainedConfig``."""
        for name in others:
            if not _is_of_transformers(name):
                raise unknown_name("TinyVLAConfig", name, own_fields())
        super().__post_init__(**others)
        self.check()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in every ``PreTrainedConfig``; unknown keys, which a later version may write, are ignored."""
        known = {
            key: value
            for key, value in config_dict.items()
            if key in own_fields() or _is_of_transformers(key)
        }
        return super().from_dict(known, **kwargs)

    def check(self) -> None:
        """Raise :class:`ConfigError`, or :class:`UnknownNameError`, which names the field that is wrong."""
        for name, hint in own_fields().items():
            if name not in _CHECKED_APART:
                check_value(name, getattr(self, name), hint)
        _check_demonstrations(self.demonstrations)
        for name in ("action_low", "action_high"):
            _check_numbers(name, getattr(self, name), self.action_dim)
        _check_range(self.action_range)
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"num_heads: expected a divisor of hidden_size={self.hidden_size}, got {self.num_heads}"
            )
        if self.wrist_camera and self.world != "LIBERO":
            raise ConfigError(
                f"wrist_camera: expected false with the camera {self.camera!r} of {self.world}, got true"
            )

    @property
    def cameras(self) -> tuple[PolicyCamera, ...]:
        """The cameras whose images are inputs."""
        return (self.camera, *((WRIST_CAMERA,) if self.wrist_camera else ()))

    @property
    def world(self) -> World:
        """The world that the policy plays in."""
        return world_of([self.camera])

    @property
    def action_range(self) -> ActionRange:
        """The actions that the bins cover."""
        low, high = (
            np.broadcast_to(np.asarray(each, dtype=np.float64), self.action_dim)
            for each in (self.action_low, self.action_high)
        )
        return ActionRange(low=low, high=high)


@functools.cache
def own_fields() -> dict[str, Any]:
    """The annotations, bounds included, of the fields that other configurations do not have."""
    return inspect.get_annotations(TinyVLAConfig, eval_str=True)


def _is_of_transformers(name: str) -> bool:
    """Whether every ``PreTrainedConfig`` takes a keyword."""
    attribute = getattr(PreTrainedConfig, name, len)
    return name.startswith("_") or name in _OF_TRANSFORMERS or not callable(attribute)


def _check_demonstrations(value: Any) -> None:
    if value is not None and not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
        raise ConfigError(f"demonstrations: expected null or a list of objects, got {value!r:.80}")


def _check_numbers(name: str, value: Any, count: int) -> None:
    """Raise unless ``value`` is one finite number or a list of ``count``."""
    listed = value if isinstance(value, list) else [value] * count
    numbers = [type(each) in (int, float) and math.isfinite(each) for each in listed]
    if len(numbers) != count or not all(numbers):
        raise ConfigError(
            f"{name}: expected a number, or a list of action_dim={count} numbers, got {value!r:.200}"
        )


def _check_range(actions: ActionRange) -> None:
    narrow = np.flatnonzero(~(actions.low < actions.high))
    if narrow.size:
        raise ConfigError(
            f"action_high: expected more than action_low in every dimension, got {actions.high[narrow[0]]:g} "
            f"and {actions.low[narrow[0]]:g} in dimension {narrow[0]}"
        )
