"""The device that a configuration names."""

from __future__ import annotations

import torch

from ttrl_env.errors import ConfigError


def choose_device(name: str, argument: str = "policy.device") -> torch.device:
    """``"auto"`` is a GPU if there is one; an unusable name raises :class:`ConfigError`.

    ``argument`` is the key that ``name`` was given by, for the error.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{argument}: {name!r} cannot be used here: {error}") from error
    return device
