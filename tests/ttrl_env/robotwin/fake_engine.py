"""RoboTwin's engine with :mod:`tests.ttrl_env.robotwin.fake_simulation` in its workers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.processes import Played

FAKE = Played(
    factory="fake_simulation:FakeSimulation",
    distributions=("numpy",),
    pythons=(f"{sys.version_info.major}.{sys.version_info.minor}",),
    folder=str(Path(__file__).parent),
)


def fake_engine(config: RoboTwinConfig) -> RoboTwinEngine:
    """The engine of ``config``, played by this interpreter unless it names another."""
    return RoboTwinEngine(replace(config, python=config.python or sys.executable), played=FAKE)


def behave(folder: Path, **behaviour: Any) -> None:
    """Have the simulations whose ``assets`` are ``folder`` behave so from their next call on."""
    (folder / "behaviour.json").write_text(json.dumps(behaviour))
