"""How many cores are used where affinity or control groups leave fewer than there are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ttrl_env.machine import control_groups, cores


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A node of 128 cores without limits; returns the root of its control groups."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(128)))
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "_OWN", tmp_path / "own")
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def join(node: Path, line: str) -> None:
    (node.parent / "own").write_text(f"{line}\n")


def test_without_limits_all_cores_are_usable(node: Path) -> None:
    assert cores.usable_cores() == 128
    join(node, "0::/")
    (node / "cpu.max").write_text("max 100000\n")
    assert cores.usable_cores() == 128


def test_affinity_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert cores.usable_cores() == 8


@pytest.mark.parametrize(("quota", "usable"), [("400000", 4), ("150000", 2), ("10000", 1)])
def test_a_containers_limit_counts(node: Path, quota: str, usable: int) -> None:
    join(node, "0::/")
    (node / "cpu.max").write_text(f"{quota} 100000\n")
    assert cores.usable_cores() == usable


def test_the_limit_of_a_group_above_counts(node: Path) -> None:
    join(node, "0::/slurm/job_1/step_0")
    (node / "slurm/job_1/step_0").mkdir(parents=True)
    (node / "slurm/job_1/cpu.max").write_text("600000 100000\n")
    (node / "slurm/job_1/step_0/cpu.max").write_text("max 100000\n")
    assert cores.usable_cores() == 6


def test_limits_of_the_first_version_of_control_groups_count(node: Path) -> None:
    join(node, "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc")
    group = node / "cpu,cpuacct" / "docker/abc"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("300000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.usable_cores() == 3
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores.usable_cores() == 128


def test_everything_that_counts_cores_counts_the_usable_ones() -> None:
    root = Path(__file__).parents[3]
    counting_all = [
        file.name
        for folder in ("ttrl_env", "agents", "kernels")
        for file in (root / folder).rglob("*.py")
        if "cpu_count" in file.read_text()
    ]
    assert sorted(counting_all) == ["cores.py", "doctor.py"]  # the doctor says both
