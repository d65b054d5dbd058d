"""Compiled code where it cannot be kept: a package, a home or a cache that cannot be written."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core import caching

from ttrl_env import compiled


def double(number: Any) -> Any:
    return 2 * number


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba finds neither the package's folder nor the home's, only one that it is given."""
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    compiled._folder.cache_clear()


def test_what_is_compiled_goes_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path))
    assert compiled.njit(nogil=True)(double)(21) == 42
    assert list(tmp_path.rglob("*double*.nbc"))
    assert numba.config.CACHE_DIR == ""


@pytest.mark.parametrize("named", [False, True])
def test_without_a_cache_it_is_compiled_anew_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path / "file") if named else "")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert compiled.njit(nogil=True)(double)(21) == 42
        assert compiled.cfunc("float64(float64)")(double).ctypes(21.0) == 42
    assert [str(warning.message).split(": every")[0].rpartition(", and ")[2] for warning in said] == [
        f"TTRL_CACHE={tmp_path / 'file'}: Not a directory" if named else "TTRL_CACHE is not set"
    ]
