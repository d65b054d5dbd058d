"""How many threads compute where fewer cores may be used than PyTorch believes."""

from __future__ import annotations

import pytest
import torch

from ttrl_env.agents.distributed import devices


@pytest.mark.parametrize(("usable", "users_word", "expected"), [(8, None, 8), (128, None, 64), (8, "64", 64)])
def test_pytorch_takes_no_more_threads_than_there_are_usable_cores(
    monkeypatch: pytest.MonkeyPatch, usable: int, users_word: str | None, expected: int
) -> None:
    threads = [64]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(devices, "usable_cores", lambda: usable)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if users_word is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", users_word)
    devices.use_usable_cores()
    assert threads[-1] == expected
