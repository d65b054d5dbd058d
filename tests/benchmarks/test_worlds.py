"""The scan of worlds: what is compared, what is kept of earlier scans, and what the documents say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.worlds import __main__ as scan
from benchmarks.worlds.compare import compare
from benchmarks.worlds.play import PlayedScene, _write, read, scene_file
from ttrl_env import tasks
from ttrl_env.published_scenes import published_scene


@pytest.fixture
def played() -> PlayedScene:
    scene = published_scene("libero_spatial", 5)
    images = np.random.default_rng(0).integers(40, 200, (2, 256, 256, 3), dtype=np.uint8)
    return PlayedScene(scene=scene, images=images)


def test_distances_angles_and_colours_are_told_apart(played: PlayedScene) -> None:
    same = compare(played, played)
    assert (same["distance_mm"], same["agentview"]["mean_difference"]) == (0.0, 0.0)
    pos = played.scene.pos.copy()
    pos[3, 2] += 0.01
    images = played.images.copy()
    images[1] -= 30
    scene = replace(played.scene, pos=pos)
    other = compare(played, PlayedScene(scene=scene, images=images))
    assert other["moved_most"] == played.scene.names[3].removesuffix("_main")
    assert other["distance_mm"] == pytest.approx(10.0, abs=1e-3)
    assert other["robot0_eye_in_hand"]["mean_change"] == -30.0
    assert other["agentview"]["mean_change"] == 0.0


def test_a_scene_is_read_back_whole(played: PlayedScene, tmp_path: Path) -> None:
    assert read(tmp_path, "libero_spatial", 5) is None
    _write(scene_file(tmp_path, "libero_spatial", 5), played)
    again = read(tmp_path, "libero_spatial", 5)
    assert again is not None
    assert compare(played, again)["distance_mm"] == 0.0
    assert again.scene.names == played.scene.names
    assert [file.suffix for file in tmp_path.iterdir()] == [".npz"]


def test_comparisons_add_up_over_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "RESULTS_FILE", tmp_path / "worlds.jsonl")
    lines = [
        {"mujoco": version, "suite": "libero_goal", "task_id": task_id, "distance_mm": 1.0}
        for version in ("4.0.0", "2.3.7")
        for task_id in (1, 0)
    ]
    scan.merge(lines[:2])
    scan.merge(lines[2:])
    merged = scan.merge([{**lines[0], "distance_mm": 2.0}])
    assert [(each["mujoco"], each["task_id"]) for each in merged] == [
        ("2.3.7", 0),
        ("2.3.7", 1),
        ("4.0.0", 0),
        ("4.0.0", 1),
    ]
    assert merged[-1]["distance_mm"] == 2.0
    assert scan.read_results() == merged


def test_the_golden_file_waits_for_every_task(played: PlayedScene, tmp_path: Path, capsys) -> None:
    _write(scene_file(tmp_path, "libero_spatial", 5), played)
    assert scan._write_golden(tmp_path) == 1
    assert "--golden: 289 tasks are not played, libero_spatial 0 is one" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["newest", "3.3.2"])
def test_a_version_that_cannot_be_compared_is_refused(version: str, capsys) -> None:
    with pytest.raises(SystemExit):
        scan.main(["--versions", version])
    assert (
        f"expected a version of MuJoCo other than 3.3.2, such as 4.0.0, got '{version}'"
        in capsys.readouterr().err
    )


def test_the_newest_version_was_compared_on_every_task() -> None:
    compared = {
        (each["suite"], each["task_id"]) for each in scan.read_results() if each["mujoco"] == scan.NEWEST
    }
    assert compared == {
        (name, task) for name, suite in tasks.LIBERO_SUITES.items() for task in range(suite.num_tasks)
    }
