"""The device that a configuration names, and how many threads compute on a CPU."""

from __future__ import annotations

import os

import torch

from ttrl_env.errors import ConfigError
from ttrl_env.machine.cores import usable_cores


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


def use_usable_cores() -> None:
    """Have PyTorch compute with no more threads than this process may use cores.

    PyTorch knows of affinity, but not of the limits of containers. ``OMP_NUM_THREADS`` is the user's word.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())
