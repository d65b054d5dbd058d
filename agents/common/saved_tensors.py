"""What ``torch.save`` wrote, which may have been damaged since."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from ttrl_env.errors import CheckpointError

DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    pickle.UnpicklingError,
)
"""What reading a truncated or altered file raises, and taking a state of another shape from it."""


def load_saved(file: Path, remedy: str, *, mapped: bool = False) -> dict[str, Any]:
    """The dictionary of tensors and plain values in a file; nothing in it is run.

    Args:
        file: what ``torch.save`` wrote.
        remedy: what to do about one that is damaged, for the error.
        mapped: map the file instead of reading it, where only parts are needed.

    Raises:
        CheckpointError: it is missing, truncated, empty or altered.
    """
    try:
        content = torch.load(file, map_location="cpu", mmap=mapped, weights_only=True)
    except DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{file} cannot be read: it is missing or damaged ({reason}); {remedy}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a dictionary, got {type(content).__name__}; {remedy}")
    return content
