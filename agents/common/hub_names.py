"""Names of repositories on the Hugging Face hub."""

from __future__ import annotations

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ttrl_env.errors import ConfigError


def check_repo_name(key: str, name: str) -> None:
    """Raise :class:`ConfigError`, naming ``key``, unless ``name`` is ``owner/name`` as the hub allows."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"{key}: expected owner/name, got {name!r}: {error}") from error
    if "/" not in name:
        raise ConfigError(f"{key}: expected owner/name, got {name!r}: name its owner too")
