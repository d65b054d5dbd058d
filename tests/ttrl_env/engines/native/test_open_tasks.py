from __future__ import annotations

import gc
import importlib

import pytest

from ttrl_env.engines.native import open_tasks


@pytest.mark.parametrize("collecting", [True, False])
def test_the_import_of_what_simulates_leaves_the_garbage_collector_as_it_was(
    collecting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[bool] = []
    monkeypatch.setattr(importlib, "import_module", lambda name: during.append(gc.isenabled()))
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        open_tasks._import_simulation()
        assert during == [False]
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if before else gc.disable)()
