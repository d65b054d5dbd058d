"""Reads files that ``torch.save`` wrote, and reports damaged ones."""

from __future__ import annotations

import pickle
import re
import struct
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
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
)
"""Exceptions of reading a truncated or altered file, and of loading a state of another shape from it."""


def load_saved(file: Path, remedy: str, *, mapped: bool = False) -> dict[str, Any]:
    """Load a dictionary of tensors and plain values; no code in the file is executed.

    Args:
        file: a file that ``torch.save`` wrote.
        remedy: what to do about a damaged file; the end of the error message.
        mapped: memory-map the file instead of reading all of it.

    Raises:
        CheckpointError: the file is missing, truncated, empty or altered.
    """
    try:
        content = torch.load(file, map_location="cpu", mmap=mapped, weights_only=True)
    except DAMAGED as error:
        raise CheckpointError(f"{file} cannot be read: {_reason(error)}; {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a dictionary, got {type(content).__name__}; {remedy}")
    return content


def _reason(error: Exception) -> str:
    """What is wrong with a file. PyTorch's own words for pickles advise to run the code in them."""
    text = str(error) or type(error).__name__
    if not isinstance(error, pickle.UnpicklingError):
        return f"it is missing or damaged ({text.splitlines()[0]})"
    foreign = re.search(r"GLOBAL ([\w.]+)", text)
    if foreign:
        return f"it is damaged or not ours: it names {foreign[1]}, which is not run"
    return "it is damaged or not ours: it is no file of tensors and plain values"
