"""One cache of compiled tasks for all tests of the environments."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="package")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own: bundles of other code must not be trusted here."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("cache")
        monkeypatch.setenv("TTRL_CACHE", str(folder))
        yield folder
    shutil.rmtree(folder)  # hundreds of megabytes a task
