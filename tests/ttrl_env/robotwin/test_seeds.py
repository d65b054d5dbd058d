"""Seeds of initial states, and where unstable ones are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttrl_env.robotwin.catalogue import NUM_INIT_STATES
from ttrl_env.robotwin.seeds import STRIDE, UnstableSeeds, candidate_seeds

CONDITIONS = {"python": "3.11.7"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_two_states_share_a_seed() -> None:
    assert STRIDE == NUM_INIT_STATES
    seeds = [seed for state in range(NUM_INIT_STATES) for seed in candidate_seeds(state)]
    assert len(set(seeds)) == len(seeds) == 20 * NUM_INIT_STATES
    assert list(candidate_seeds(99)[:2]) == [100_099, 100_199]


def test_seeds_are_remembered_for_their_task_and_conditions(cache: Path) -> None:
    UnstableSeeds(CONDITIONS).add("open_laptop", 100_001)
    seeds = UnstableSeeds(dict(CONDITIONS))
    seeds.add("open_laptop", 100_001)  # not twice
    assert seeds.first_stable("open_laptop", 1) == 100_101
    assert seeds.first_stable("shake_bottle", 1) == 100_001
    assert UnstableSeeds({"python": "3.10.1"}).first_stable("open_laptop", 1) == 100_001
    (file,) = (cache / "robotwin").iterdir()
    assert file.read_text() == "open_laptop 100001\n"


def test_spoilt_lines_are_left_out(cache: Path) -> None:
    UnstableSeeds(CONDITIONS).add("open_laptop", 100_001)
    (file,) = (cache / "robotwin").iterdir()
    file.write_bytes(b"\xff\x00\nopen_laptop\nopen_laptop 1000\nopen_laptop 100001\nopen_la")
    assert UnstableSeeds(CONDITIONS).first_stable("open_laptop", 1) == 100_101


def test_without_a_cache_folder_seeds_are_remembered_by_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TTRL_CACHE", str(tmp_path / "file"))
    seeds = UnstableSeeds(CONDITIONS)
    seeds.add("open_laptop", 100_001)
    assert seeds.first_stable("open_laptop", 1) == 100_101
    assert UnstableSeeds(CONDITIONS).first_stable("open_laptop", 1) == 100_001
