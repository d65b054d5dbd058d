"""Reading the checkpoints of a user's ``transformers`` class as strictly as the package's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from ttrl_env.agents.common.checkpoint_files import read_own_json
from ttrl_env.agents.policies.conformance import check_policy_class
from ttrl_env.agents.policies.stored_weights import fill_module, weight_files
from ttrl_env.errors import CheckpointError, PolicyError


def from_pretrained(kind: str, policy_class: type) -> Callable[[Path], Any]:
    """A loader of the policies of a class, every tensor of whose ``state_dict`` must be in the checkpoint.

    Raises:
        PolicyError: it is no ``PreTrainedModel`` with a configuration of that kind, or lacks a method.
    """
    if not issubclass(policy_class, PreTrainedModel):
        raise PolicyError(
            f"policy: expected a transformers.PreTrainedModel or a function load(folder), got the "
            f"class {policy_class.__name__}; give a function that makes one of a folder"
        )
    config_class = policy_class.config_class
    model_type = getattr(config_class, "model_type", None)
    if config_class is None or model_type != kind:
        raise PolicyError(
            f"policy: expected {policy_class.__name__}.config_class with model_type = {kind!r}, which its "
            f"checkpoints are known by, got {model_type!r}"
        )
    check_policy_class(policy_class)

    def load(folder: Path) -> Any:
        content = read_own_json(folder, "config.json")
        names = _own_fields(config_class)
        try:
            policy = policy_class(config_class(**{name: content[name] for name in names & content.keys()}))
        except (TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"policy.path: {folder / 'config.json'} does not describe a {policy_class.__name__}: {error}"
            ) from error
        fill_module(policy, weight_files(folder), _likely_causes)
        return policy.eval()

    return load


def _own_fields(config_class: type[PreTrainedConfig]) -> set[str]:
    """Names of what a configuration adds to ``transformers``' own, which may name code to be downloaded."""
    own = [each for each in config_class.__mro__ if issubclass(each, PreTrainedConfig)]
    return {
        name
        for each in own[: own.index(PreTrainedConfig)]
        for name in (*inspect.get_annotations(each), *_parameters(each))
    }


def _parameters(config_class: type[PreTrainedConfig]) -> set[str]:
    """Names that the ``__init__`` of a configuration adds to ``transformers``' own."""
    named, given = (
        {each.name for each in inspect.signature(cls.__init__).parameters.values() if each.kind in _NAMED}
        for cls in (config_class, PreTrainedConfig)
    )
    return named - given


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _likely_causes(missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str]) -> list[str]:
    return ["a config.json or weights of another checkpoint, or a class that was changed since"]
