"""The shape of a TinyVLA, as a Hugging Face configuration that refuses values no TinyVLA can have."""

from __future__ import annotations

import functools
import inspect
from typing import Annotated, Any

from transformers import PreTrainedConfig

from ttrl_env.agents.config.bounds import MultipleOf, at_least, check_value
from ttrl_env.agents.config.choices import CHUNK_STEPS, TINY_VLA
from ttrl_env.agents.policies.sizes import LARGEST_DEPTH, LARGEST_WIDTH
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import ConfigError, unknown_name

WRIST_CAMERA: CameraName = "robot0_eye_in_hand"

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

    camera: CameraName = "agentview"
    """The camera whose image is an input (observation key ``<camera>_image``)."""
    image_size: Annotated[int, MultipleOf(16, 4096, "the encoder halves images four times")] = 64
    """Height and width to which images are averaged down, pixels; a multiple of 16."""
    chunk_steps: Annotated[int, at_least(1, 1024)] = CHUNK_STEPS
    """Actions decoded from one observation and executed open loop."""
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
    """Whether the wrist camera's image is an input too, with an encoder of its own."""
    proprioception: bool = False
    """Whether the end effector's pose and the positions of the fingers are inputs too."""
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
            if name != "demonstrations":
                check_value(name, getattr(self, name), hint)
        _check_demonstrations(self.demonstrations)
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"num_heads: expected a divisor of hidden_size={self.hidden_size}, got {self.num_heads}"
            )

    @property
    def cameras(self) -> tuple[CameraName, ...]:
        """The cameras whose images are inputs."""
        return (self.camera, *((WRIST_CAMERA,) if self.wrist_camera else ()))


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
