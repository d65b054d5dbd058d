"""Checks ``text_config`` of a checkpoint's ``config.json``: the supported arguments of its Llama.

``LlamaConfig`` accepts any argument, including names of attention kernels on the hub. Only the supported ones
are therefore passed to it. Options that no published OpenVLA uses, and that would change the result, are
refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ttrl_env.agents.policies.sizes import LARGEST_DEPTH, LARGEST_WIDTH, is_size


def check_text_config(text: dict[str, Any]) -> dict[str, Any]:
    """The supported arguments of ``transformers.LlamaConfig`` in ``text``, unchanged.

    Raises:
        ValueError: a value is not supported; names the key, what was expected and what came.
    """
    if text.get("attention_dropout", 0) or text.get("tie_word_embeddings", False):
        raise ValueError(
            f": expected no attention_dropout and untied embeddings, as published, got {text!r:.500}"
        )
    if text.get("quantization_config"):
        raise ValueError(f".quantization_config: expected none, got {text['quantization_config']!r:.200}")
    for key, (expected, fits) in _KEYS.items():
        if key in text and not fits(text[key]):
            raise ValueError(f".{key}: expected {expected}, got {text[key]!r:.200}")
    if "vocab_size" not in text:
        raise ValueError(".vocab_size: expected an int (32064 as published), got None")
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if not 0 <= (text.get(key) or 0) < text["vocab_size"]:
            raise ValueError(f".{key}: expected an id below vocab_size={text['vocab_size']}, got {text[key]}")
    arguments = {key: text[key] for key in _KEYS if key in text}
    heads, width = arguments.get("num_attention_heads", 32), arguments.get("hidden_size", 4096)
    kv_heads = arguments.get("num_key_value_heads") or heads
    if heads % kv_heads or (width % heads and not arguments.get("head_dim")):
        raise ValueError(
            f".num_attention_heads: expected a divisor of hidden_size={width} and a multiple of "
            f"num_key_value_heads={kv_heads}, got {heads}"
        )
    return arguments


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_plain_rope(value: Any) -> bool:
    """Whether rotary positions are not scaled; no published OpenVLA scales them."""
    if not isinstance(value, dict):
        return value is None
    kinds = [value.get(key, "default") for key in ("rope_type", "type")]
    known = {*value} <= {"rope_type", "type", "rope_theta"}
    return known and kinds == ["default"] * 2 and _is_positive(value.get("rope_theta", 1))


_SIZE = (f"an int from 1 to {LARGEST_WIDTH}", is_size)
_ID = ("the id of a token", lambda value: type(value) is int)
_SWITCH = ("true or false", lambda value: isinstance(value, bool))
_NUMBER = ("a number above 0", _is_positive)
_ROPE = ("no scaling (null, or rope_type default)", _is_plain_rope)

_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "vocab_size": ("an int (32064 as published)", is_size),
    "hidden_size": _SIZE,
    "intermediate_size": _SIZE,
    "num_hidden_layers": (
        f"an int from 1 to {LARGEST_DEPTH}",
        lambda value: is_size(value, LARGEST_DEPTH),
    ),
    "num_attention_heads": _SIZE,
    "num_key_value_heads": (f"null or {_SIZE[0]}", lambda value: value is None or is_size(value)),
    "head_dim": (f"null or {_SIZE[0]}", lambda value: value is None or is_size(value)),
    "hidden_act": ("'silu'", lambda value: value == "silu"),
    "max_position_embeddings": _SIZE,
    "rms_norm_eps": _NUMBER,
    "rope_theta": _NUMBER,
    "rope_scaling": _ROPE,
    "rope_parameters": _ROPE,
    "attention_bias": _SWITCH,
    "mlp_bias": _SWITCH,
    "bos_token_id": _ID,
    "eos_token_id": _ID,
    "pad_token_id": ("null or the id of a token", lambda value: value is None or type(value) is int),
}
