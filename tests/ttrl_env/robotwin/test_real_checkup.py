"""`ttrl robotwin check` of the real interpreter: ``make test-robotwin``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ttrl_env.robotwin.asset_pack import write_asset_pack
from ttrl_env.agents.cli import main

pytestmark = pytest.mark.robotwin


def test_the_box_tasks_lack_nothing(tmp_path: Path, capsys) -> None:
    assets = f"assets={write_asset_pack(tmp_path)}"
    assert main(["robotwin", "check", assets, "tasks=[stack_blocks_two,handover_block]"]) == 0
    said = capsys.readouterr().out
    assert "runtime: rlinf-robotwin-runtime 0.1.3, sapien 3.0.3" in said
    assert main(["robotwin", "check", assets]) == 1
    (failed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
    assert failed.endswith(
        "blocks_ranking_rgb, blocks_ranking_size, handover_block, stack_blocks_three, stack_blocks_two"
    )


def test_without_a_driver_there_is_no_device(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/no/such/driver.json")
    assert main(["robotwin", "check"]) == 1
    assert "FAILED  Vulkan: no device to draw with (RuntimeError: failed" in capsys.readouterr().out
