"""The README's Python blocks run; of a loop, the first pass."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ttrl_env.libero_version import PUBLISHED_MUJOCO

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_readme_has_a_loop() -> None:
    assert any("collect_rollout" in block for block in BLOCKS)


@pytest.mark.libero
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_runs(block, tmp_path) -> None:
    once = re.sub(r"^(for \w+ in range)\(\d+\):", r"\1(1):", block, flags=re.M)  # a pass takes half a minute
    done = subprocess.run(
        [sys.executable, "-c", once], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readme_opens_with_the_demo_s_recorded_result() -> None:
    recorded = json.loads((README.parent / "benchmarks/results/demo.json").read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8").replace("**", "")
    for mode in ("sampled", "greedy"):
        cells = []
        for when in ("before", "after"):
            totals = recorded[when][mode]
            low, high = (round(100 * limit) for limit in totals["success_rate_interval_95"])
            cells.append(f"{100 * totals['success_rate']:.0f} % [{low}, {high}]")
        assert f"{totals['num_episodes']} episodes | {cells[0]} | {cells[1]} |" in text
    assert f"| episodes of training | | {recorded['training_episodes']} |" in text
    assert recorded["world"] == {"mujoco": PUBLISHED_MUJOCO, "published": True}
