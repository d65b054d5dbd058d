"""The code of ``docs/integrations.md`` on an engine whose episodes succeed at step 3, or never."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.counting_engine import counting
from ttrl_env import vector_env
from ttrl_env.engines.interface import EngineConfig, SimulationEngine

PAGE = Path(__file__).parents[2] / "docs/integrations.md"


@pytest.fixture
def run_page(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Runs the block of the page that imports a library, and returns its variables."""

    def make_engine(choice: Any, config: EngineConfig) -> SimulationEngine:
        rows = range(0, config.num_rows, 2)  # the others go to the horizon
        return counting(success_at=dict.fromkeys(rows, 3))(config)

    def run(library: str) -> dict[str, Any]:
        blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
        (block,) = (each for each in blocks if f"from {library}" in each)
        variables: dict[str, Any] = {}
        exec(block, variables)
        return variables

    monkeypatch.setattr(vector_env, "make_engine", make_engine)
    return run
