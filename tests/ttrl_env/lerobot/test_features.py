"""What is checked of a LeRobotDataset before LeRobot reads it; LeRobot itself is not needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import ConfigError, MissingDependencyError
from ttrl_env.lerobot.features import check_features, features, find_datasets
from ttrl_env.lerobot.reading import open_tasks

CAMERAS: tuple[CameraName, ...] = ("agentview", "robot0_eye_in_hand")


def declare(folder: Path, **changes: Any) -> Path:
    """A dataset's ``info.json``; ``changes`` replace a feature, or remove it if ``None``."""
    declared = {**features(CAMERAS, 64, use_videos=True), **changes}
    write(folder, {"codebase_version": "v3.0", "features": {k: v for k, v in declared.items() if v}})
    return folder


def write(folder: Path, info: Any) -> None:
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta/info.json").write_text(info if isinstance(info, str) else json.dumps(info))


def changed(key: str, **change: Any) -> dict[str, Any]:
    return {key: {**json.loads(json.dumps(features(CAMERAS, 64, use_videos=True)))[key], **change}}


def test_the_image_size_is_that_of_the_asked_for_cameras(tmp_path) -> None:
    assert check_features(declare(tmp_path), CAMERAS) == 64
    first = changed("observation.images.image", dtype="image", shape=[3, 32, 32])
    assert check_features(declare(tmp_path, **first), ("agentview",)) == 32  # channels first, as some declare
    with pytest.raises(ConfigError, match=r"images of one size, got \[32, 64\]"):
        check_features(tmp_path, CAMERAS)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"observation.images.image2": None},
            r"has no observation\.images\.image2 \(images\); got observation\.images\.image, obs",
        ),
        ({"observation.state": None}, r"has no observation\.state \(the state\)"),
        (changed("observation.state", shape=[9]), r"observation\.state: expected shape \[8\], got \[9\]"),
        (changed("action", shape=[14]), r"action: expected shape \[7\], got \[14\]"),
        (changed("action", dtype="int64"), "action: expected dtype float32 or float64, got 'int64'"),
        (changed("observation.images.image", shape=[48, 64, 3]), r"square images, .*got \[48, 64, 3\]"),
        (changed("observation.images.image", shape="big"), "square images, .*got 'big'"),
        (changed("observation.images.image", dtype="float32"), "expected dtype image or video"),
    ],
)
def test_features_that_are_not_liberos_are_named(tmp_path, changes, problem) -> None:
    with pytest.raises(ConfigError, match=rf"data: {tmp_path}: .*{problem}"):
        check_features(declare(tmp_path, **changes), CAMERAS)


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"codebase_version": "v2.1", "features": {}}, r"format v3, got codebase_version 'v2\.1' .*convert"),
        ({"features": {}}, "format v3, got codebase_version None"),
        ([], "format v3, got codebase_version None"),
        ({"codebase_version": "v3.0", "features": ["action"]}, r"object of features .*, got \['action'\]"),
        ("{", r"meta/info\.json cannot be read: .*copy the dataset again"),
    ],
)
def test_other_formats_are_refused(tmp_path, info, problem) -> None:
    write(tmp_path, info)
    with pytest.raises(ConfigError, match=rf"data: {tmp_path}: .*{problem}"):
        open_tasks(tmp_path)


def test_datasets_are_found_by_their_description(tmp_path) -> None:
    expected = [declare(tmp_path / name) for name in ("a", "b/c")]
    assert find_datasets(tmp_path) == expected
    assert find_datasets(expected[0]) == [expected[0]]
    (tmp_path / "empty").mkdir()
    assert find_datasets(tmp_path / "empty") == []


def test_without_lerobot_the_error_says_how_to_install_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot.datasets.lerobot_dataset", None)
    with pytest.raises(MissingDependencyError, match=r"reading a LeRobotDataset needs LeRobot 0\.6"):
        open_tasks(declare(tmp_path))
