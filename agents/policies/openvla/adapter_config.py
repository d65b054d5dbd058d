"""Reads ``adapter_config.json`` as data: supported options of LoRA, and all others only if they are off.

``peft`` has many variants of LoRA, each switched on by an option of this file. A variant that is not
implemented here is refused instead of being read as plain LoRA. Options that name code are never passed to
``peft``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from peft import LoraConfig

from ttrl_env.agents.common.checkpoint_files import read_own_json, unexpected_value
from ttrl_env.agents.policies.finding import is_repo_id
from ttrl_env.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"

_SAYS_NOTHING_OF_THE_WEIGHTS = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "runtime_config",
    "task_type",
)

_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Values of ``init_lora_weights`` that keep the base unchanged; PiSSA, OLoRA, CorDA and LoftQ change it."""

_MODULE = re.compile(r"[\w.]+")

_LARGEST_RANK = 2**16


def read_adapter_config(folder: Path) -> LoraConfig:
    """Read the LoRA configuration of the adapter in ``folder``.

    Raises:
        CheckpointError: the file cannot be read, an option has an invalid value, or an option that is not
            implemented here is on.
    """
    content = read_own_json(folder, ADAPTER_CONFIG)
    file = folder / ADAPTER_CONFIG
    if content.get("peft_type") != "LORA":
        raise unexpected_value(file, "peft_type", "'LORA'", content.get("peft_type"))
    _refuse_variants(file, content)
    required = ("r", "lora_alpha", "target_modules")
    for name, (expected, fits) in _OPTIONS.items():
        if name in (required if name not in content else (name,)) and not fits(content.get(name)):
            raise unexpected_value(file, name, expected, content.get(name))
    options = {name: content[name] for name in _OPTIONS if name in content}
    options["lora_dropout"] = 0.0  # the same inputs must give the same distribution in rollout and update
    return LoraConfig(**options)


def base_of(folder: Path) -> str:
    """The checkpoint that the adapter in ``folder`` belongs to: a path, or a repository and its revision."""
    content = read_own_json(folder, ADAPTER_CONFIG)
    file, base, revision = (
        folder / ADAPTER_CONFIG,
        content.get("base_model_name_or_path"),
        content.get("revision"),
    )
    if not base:
        raise CheckpointError(
            f"policy.path: {file} does not name its base; set base_model_name_or_path in it"
        )
    for name, value in (("base_model_name_or_path", base), ("revision", revision or "")):
        if not isinstance(value, str):
            raise unexpected_value(file, name, "a string", value)
    return f"{base}@{revision}" if revision and "@" not in base and is_repo_id(base) else base


def _refuse_variants(file: Path, content: dict[str, Any]) -> None:
    """Raise unless every unsupported option is off or has ``peft``'s default value."""
    defaults = {
        field.name: field.default_factory() if field.default_factory is not MISSING else field.default
        for field in fields(LoraConfig)
    }
    on = [
        f"{name}={value!r:.60}"
        for name, value in sorted(content.items())
        if name not in (*_OPTIONS, *_SAYS_NOTHING_OF_THE_WEIGHTS)
        and value not in (None, False, "", [], {}, defaults.get(name))
    ]
    start = content.get("init_lora_weights", True)
    if not isinstance(start, bool) and start not in _PLAIN_STARTS:
        on.append(f"init_lora_weights={start!r:.60}")
    if on:
        raise _not_implemented(file, on)


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST_RANK


def _is_alpha(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _is_dropout(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _are_modules(value: Any) -> bool:
    """Whether a value is a list of module names. Patterns are refused: a hostile one could match for ever."""
    return isinstance(value, list) and all(
        isinstance(name, str) and _MODULE.fullmatch(name) for name in value
    )


def _are_layers(value: Any) -> bool:
    return value is None or all(
        type(layer) is int for layer in (value if isinstance(value, list) else [value])
    )


def _by_module(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and _are_modules([*value]) and all(map(fits, value.values()))


_OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "r": (f"an integer from 1 to {_LARGEST_RANK}", _is_rank),
    "lora_alpha": ("a number above 0", _is_alpha),
    "lora_dropout": ("a number from 0 to below 1", _is_dropout),
    "target_modules": (
        "a list of names of modules (a regular expression is not read: list what it means)",
        lambda value: _are_modules(value) and len(value) > 0,
    ),
    "exclude_modules": (
        "null or a list of names of modules",
        lambda value: value is None or _are_modules(value),
    ),
    "use_rslora": ("true or false", lambda value: isinstance(value, bool)),
    "rank_pattern": ("an object of ranks by names of modules", _by_module(_is_rank)),
    "alpha_pattern": ("an object of numbers above 0 by names of modules", _by_module(_is_alpha)),
    "layers_to_transform": ("null, an integer or a list of them", _are_layers),
    "layers_pattern": (
        "null, a name or a list of them",
        lambda value: value is None or _are_modules(value if isinstance(value, list) else [value]),
    ),
    "init_lora_weights": ("a start that leaves the base as it is", lambda value: True),
}
"""The supported options, which select modules, ranks and scales; each with its valid values and a test."""


def _not_implemented(file: Path, options: list[str]) -> CheckpointError:
    return CheckpointError(
        f"policy.path: {file}: {', '.join(options)}: not implemented here, where an adapter is plain LoRA on "
        f"linear layers. Merge it into its base with peft (merge_and_unload) and load the result"
    )
