"""Damaged or hostile files in place of those of ``torch.save``: an error that names them; no code runs."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ttrl_env.agents.common.saved_tensors import load_saved
from ttrl_env.errors import CheckpointError


class _Hostile:
    """What a pickle may do."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("code of a file was run",)


def _saved(content: Any, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"optimizer": _Hostile()}, protocol=2),
        _saved({"optimizer": _Hostile()}),
        _saved({"optimizer": _Hostile()}, _use_new_zipfile_serialization=False),
    ],
    ids=["pickle", "torch.save", "torch.save of old"],
)
def test_a_function_that_a_file_names_is_not_called_and_not_advised(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "agent.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_saved(file, "go on from another")
    assert str(error.value).startswith(f"{file} cannot be read: it is damaged or not ours: ")
    assert str(error.value).endswith("; go on from another")
    assert "weights_only" not in str(error.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_ends_anywhere_is_named(tmp_path: Path) -> None:
    state = {"name": ["x" * 300, 2**80, 2.5]}
    file = tmp_path / "agent.pt"
    for whole in (
        pickle.dumps(state, protocol=2),
        _saved(state),
        _saved(state, _use_new_zipfile_serialization=False),
    ):
        for length in range(0, len(whole), max(1, len(whole) // 100)):
            file.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=r"agent\.pt cannot be read: "):
                load_saved(file, "go on from another")
