"""How much memory counts as free where a container or a job is given less than the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttrl_env.machine import control_groups, memory


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The root of the control groups; the process is in one of a job."""
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(control_groups, "_OWN", tmp_path / "own")
    (tmp_path / "own").write_text("0::/slurm/job_1\n")
    (tmp_path / "cgroup/slurm/job_1").mkdir(parents=True)
    return tmp_path / "cgroup"


def test_without_a_limit_the_machines_free_memory_counts(root: Path) -> None:
    (root / "memory.max").write_text("max\n")
    assert memory.free_memory() > 1_000_000


@pytest.mark.parametrize("group", ["", "slurm", "slurm/job_1"])
def test_the_limit_of_every_group_above_counts(root: Path, group: str) -> None:
    (root / group / "memory.max").write_text("1000000\n")
    assert memory.free_memory() == 1_000_000


def test_limits_of_the_first_version_of_control_groups_count(root: Path) -> None:
    (root.parent / "own").write_text("4:cpu,cpuacct:/\n3:memory:/docker/abc\n")
    group = root / "memory/docker/abc"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("1000000\n")
    assert memory.free_memory() == 1_000_000
