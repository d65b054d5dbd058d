"""A cache of machine code that is full or damaged costs time and nothing else."""

from __future__ import annotations

import contextlib
import resource
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest

from ttrl_env.machine.compiled import CompiledCode


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CompiledCode:
    """Compiled functions with a cache folder of their own."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return CompiledCode("kernels", tmp_path, [])


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def add(x: Any) -> Any:
    return x + 1


def double(x: Any) -> Any:
    return 2 * x


def test_on_a_full_disk_compiled_functions_work_uncached_and_say_so_once(
    code: CompiledCode, tmp_path: Path
) -> None:
    def results() -> list[int]:
        compiled = [code.njit()(add), code.njit()(double), code.cfunc("int64(int64)")(add).ctypes]
        return [function(3) for function in compiled]

    with (
        full_disk(),
        pytest.warns(RuntimeWarning, match="cannot be kept .*File too large.*TTRL_CACHE") as told,
    ):
        assert results() == [4, 6, 4]
    assert len(told) == 1
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_cache_that_was_cut_off_is_written_again(code: CompiledCode, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code.njit()(add)(3) == 4
        kept = {file: file.read_bytes() for file in tmp_path.rglob("*.nb?")}
        assert len(kept) == 2
        for file, content in kept.items():
            for damaged in (b"", content[: len(content) // 2], bytes(len(content))):
                file.write_bytes(damaged)
                assert code.njit()(add)(3) == 4
                assert code.njit()(add)(3) == 4
                again = code.njit()(add)
                again(3)
                assert sum(again.stats.cache_hits.values()) == 1  # from the cache
