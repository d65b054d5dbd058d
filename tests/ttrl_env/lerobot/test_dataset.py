"""What is refused before a LeRobotDataset is begun; LeRobot itself is not needed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ttrl_env.errors import ConfigError, MissingDependencyError
from ttrl_env.lerobot.dataset import write_dataset


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files with images of different sizes."""
    paths = [tmp_path / f"{size}_demo.hdf5" for size in (8, 16)]
    for path, size in zip(paths, (8, 16), strict=True):
        with h5py.File(path, "w") as file:
            file["data/demo_0/actions"] = np.zeros((3, 7))
            file["data/demo_0/obs/ee_states"] = np.zeros((3, 6))
            file["data/demo_0/obs/gripper_states"] = np.zeros((3, 2))
            file["data/demo_0/obs/agentview_rgb"] = np.zeros((3, size, size, 3), np.uint8)
            file["data"].attrs["problem_info"] = '{"language_instruction": "wait"}'
    return paths


def test_images_of_several_sizes_and_folders_that_exist_are_refused(files, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"one size, got files with \[8, 16\]"):
        write_dataset(files, tmp_path / "new", "me/data", cameras=("agentview",))
    with pytest.raises(ConfigError, match="does not exist yet, got"):
        write_dataset(files[:1], tmp_path, "me/data", cameras=("agentview",))


def test_without_lerobot_the_error_says_how_to_install_it(files, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot.datasets.lerobot_dataset", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lerobot\[dataset\]>=0.6'"):
        write_dataset(files[:1], tmp_path / "new", "me/data", cameras=("agentview",))
    assert not (tmp_path / "new").exists()


def test_the_environment_type_says_how_to_install_lerobot(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot", None)
    monkeypatch.delitem(sys.modules, "ttrl_env.lerobot.env_config", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs Python 3\.12 or newer"):
        importlib.import_module("ttrl_env.lerobot.env_config")
