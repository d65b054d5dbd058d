"""The configured device, and PyTorch's number of CPU threads."""

from __future__ import annotations

import os

import torch

from ttrl_env.errors import ConfigError
from ttrl_env.machine.cores import usable_cores


def choose_device(name: str, argument: str = "policy.device") -> torch.device:
    """The device of that name; ``"auto"`` is a GPU if there is one, else the CPU.

    Raises :class:`ConfigError`, which names the key ``argument``, if the device cannot be used.
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
    """Limit PyTorch's threads to the number of cores that this process may use.

    PyTorch considers affinity, but not the limits of containers. A number that the user sets in
    ``OMP_NUM_THREADS`` takes precedence.
    """
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > usable_cores():
        torch.set_num_threads(usable_cores())
