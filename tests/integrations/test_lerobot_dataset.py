"""LeRobot reads the datasets that are made of demonstration files."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from ttrl_env.demonstrations.reading import read_episodes
from ttrl_env.lerobot.dataset import write_dataset

pytest.importorskip("lerobot.datasets", reason="LeRobot is not installed", exc_type=ImportError)
pytestmark = pytest.mark.integrations

from lerobot.datasets.lerobot_dataset import LeRobotDataset

SIZE = 64
INSTRUCTIONS = ("put the bowl on the plate", "open the drawer")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tasks, each of two episodes of three and four steps."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for number, instruction in enumerate(INSTRUCTIONS):
        path = folder / f"{number}_demo.hdf5"
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["problem_info"] = json.dumps({"language_instruction": instruction})
            data.attrs["observations"] = "before_action"
            for episode, steps in enumerate((3, 4)):
                demo = data.create_group(f"demo_{episode}")
                demo["actions"] = rng.uniform(-1, 1, (steps, 7))
                demo["obs/ee_states"] = rng.normal(size=(steps, 6))
                demo["obs/gripper_states"] = rng.normal(size=(steps, 2))
                for camera in ("agentview_rgb", "eye_in_hand_rgb"):
                    demo[f"obs/{camera}"] = rng.integers(0, 255, (steps, SIZE, SIZE, 3), dtype=np.uint8)
        paths.append(path)
    return paths


@pytest.mark.parametrize("use_videos", [False, True])
def test_lerobot_reads_every_step(files, tmp_path, use_videos) -> None:
    folder = write_dataset([files[0].parent], tmp_path / "new", "me/libero", use_videos=use_videos)
    dataset = LeRobotDataset("me/libero", root=folder)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (4, 14, 20)
    cameras = ("agentview", "robot0_eye_in_hand")
    episodes = [episode for file in files for episode in read_episodes(file, cameras)]
    expected = [(episode, step) for episode in episodes for step in range(len(episode.actions))]
    for index, (episode, step) in enumerate(expected):
        frame = dataset[index]
        assert frame["task"] == episode.instruction
        np.testing.assert_array_equal(frame["action"], episode.actions[step])
        np.testing.assert_array_equal(
            frame["observation.state"][:3], episode.observations["robot0_eef_pos"][step].astype(np.float32)
        )
        assert frame["observation.images.image2"].shape == (3, SIZE, SIZE)
        if not use_videos:
            image = episode.observations["agentview_image"][step, ::-1, ::-1]
            np.testing.assert_array_equal(
                np.rint(frame["observation.images.image"].numpy() * 255), image.transpose(2, 0, 1)
            )
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
