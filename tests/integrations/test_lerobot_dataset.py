"""LeRobot reads the datasets that are made of demonstration files, and ``ttrl pretrain`` reads LeRobot's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ttrl_env import libero_tasks
from ttrl_env.agents import cli
from ttrl_env.demonstrations.origins import Origin
from ttrl_env.demonstrations.reading import read_episodes
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import ConfigError
from ttrl_env.lerobot.dataset import write_dataset
from ttrl_env.lerobot.origins import ORIGINS
from ttrl_env.lerobot.reading import open_tasks

pytest.importorskip("lerobot.datasets", reason="LeRobot is not installed", exc_type=ImportError)
pytestmark = pytest.mark.integrations

from lerobot.datasets.lerobot_dataset import LeRobotDataset

SIZE = 64
CAMERAS: tuple[CameraName, ...] = ("agentview", "robot0_eye_in_hand")
TASKS = [libero_tasks.get_task("libero_goal", task_id) for task_id in (7, 8)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two tasks, each of two episodes of three and four steps, described as by ``ttrl record``."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("files")
    paths = []
    for number, task in enumerate(TASKS):
        path = folder / f"{number}_demo.hdf5"
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["problem_info"] = json.dumps({"language_instruction": task.instruction})
            data.attrs["observations"] = "before_action"
            data.attrs["bddl_file_name"] = f"libero_goal/{task.name}.bddl"
            data.attrs["recording"] = json.dumps({"mujoco": "3.3.2"})
            for episode, steps in enumerate((3, 4)):
                demo = data.create_group(f"demo_{episode}")
                demo.attrs["init_state_id"] = 10 * number + episode
                demo["actions"] = rng.uniform(-1, 1, (steps, 7))
                demo["obs/ee_states"] = rng.normal(size=(steps, 6))
                demo["obs/gripper_states"] = rng.normal(size=(steps, 2))
                for camera in ("agentview_rgb", "eye_in_hand_rgb"):
                    demo[f"obs/{camera}"] = rng.integers(0, 255, (steps, SIZE, SIZE, 3), dtype=np.uint8)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def dataset(files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as a dataset of exact images."""
    folder = tmp_path_factory.mktemp("datasets") / "goal"
    return write_dataset([files[0].parent], folder, "me/goal", use_videos=False)


@pytest.fixture
def copied(dataset, tmp_path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(dataset, tmp_path / "copy"))


def edited(file: Path, copy: Path) -> h5py.File:
    """A copy of a file, open for changes."""
    shutil.copy(file, copy)
    return h5py.File(copy, "r+")


@pytest.mark.parametrize("use_videos", [False, True])
def test_lerobot_reads_every_step(files, tmp_path, use_videos) -> None:
    folder = write_dataset([files[0].parent], tmp_path / "new", "me/libero", use_videos=use_videos)
    dataset = LeRobotDataset("me/libero", root=folder)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (4, 14, 20)
    episodes = [episode for file in files for episode in read_episodes(file, CAMERAS)]
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


def test_a_dataset_gives_the_episodes_that_it_was_made_of(files, dataset) -> None:
    for file, task in zip(files, open_tasks(dataset), strict=True):
        size = task.measure(CAMERAS)
        assert (size.num_episodes, size.num_steps, [*size.image_sizes]) == (2, 7, [SIZE])
        for read, expected in zip(task.read(CAMERAS), read_episodes(file, CAMERAS), strict=True):
            assert read.instruction == expected.instruction
            assert list(read.observations) == list(expected.observations)
            np.testing.assert_array_equal(read.actions, expected.actions)
            for key, values in expected.observations.items():
                tolerance = 0.0 if key.endswith("_image") else 1e-6
                np.testing.assert_allclose(read.observations[key], values, atol=tolerance, rtol=tolerance)


def test_images_of_videos_are_turned_back(files, tmp_path) -> None:
    with edited(files[0], tmp_path / "half_demo.hdf5") as file:
        for demo in file["data"].values():
            for camera in ("agentview_rgb", "eye_in_hand_rgb"):
                demo[f"obs/{camera}"][:, : SIZE // 2] = 200
                demo[f"obs/{camera}"][:, SIZE // 2 :] = 50
    (task,) = open_tasks(write_dataset([tmp_path / "half_demo.hdf5"], tmp_path / "videos", "me/videos"))
    for episode in task.read(CAMERAS):
        for camera in CAMERAS:
            image = episode.observations[f"{camera}_image"]
            assert image.dtype == np.uint8
            np.testing.assert_allclose(image[:, 8], 200, atol=8)
            np.testing.assert_allclose(image[:, -8], 50, atol=8)


def test_a_dataset_says_where_its_episodes_come_from(dataset) -> None:
    _, second = open_tasks(dataset)
    assert second.origins(max_episodes=1) == [Origin("libero_goal", TASKS[1].name, "3.3.2", 10)]


def test_a_published_dataset_is_known_by_its_instructions(copied) -> None:
    (copied / ORIGINS).unlink()
    first, second = open_tasks(copied)
    assert first.origins(1) == [Origin("libero_goal", TASKS[0].name)]
    assert second.origins() == [Origin("libero_goal", TASKS[1].name)] * 2


def test_a_policy_is_the_same_from_the_files_and_from_their_dataset(files, dataset, tmp_path) -> None:
    tiny = ["steps=4", "validate_every=2", "batch_size=4", "max_episodes=1", "validation_fraction=0"]
    tiny += ["policy.image_size=16", "policy.hidden_size=16", "policy.num_layers=1"]
    runs = {tmp_path / "of_files": files[0].parent, tmp_path / "of_dataset": dataset.parent}
    for run, data in runs.items():
        assert cli.main(["pretrain", f"data=[{data}]", f"output_dir={run}", *tiny]) == 0
    losses = [(run / "metrics.jsonl").read_text() for run in runs]
    assert losses[0] == losses[1]
    described = [json.loads((run / "policy/config.json").read_text())["demonstrations"] for run in runs]
    assert described[0] == described[1]
    assert [entry["init_state_ids"] for entry in described[1]] == [[0], [10]]


def test_incomplete_and_damaged_datasets_are_named_and_nothing_is_fetched(copied) -> None:
    (data,) = (copied / "data").rglob("*.parquet")
    task, _ = open_tasks(copied)
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ConfigError, match=rf"data: {copied}: LeRobot cannot read it: "):
        list(task.read(CAMERAS))
    data.unlink()
    with pytest.raises(ConfigError, match=r"episode 0: it has no data/chunk-000/file-000\.parquet; copy"):
        task.measure(CAMERAS)
    (copied / "meta/tasks.parquet").unlink()
    with pytest.raises(ConfigError, match=rf"data: {copied}: LeRobot cannot read it: "):
        open_tasks(copied)


def test_numbers_out_of_range_and_lost_steps_are_named_by_episode(copied) -> None:
    (data,) = (copied / "data").rglob("*.parquet")
    table = pytest.importorskip("pandas").read_parquet(data)
    table.loc[5, "action"][1] = 1.5
    table.to_parquet(data, index=False)
    task, _ = open_tasks(copied)
    with pytest.raises(ConfigError, match=r"episode 1: action: expected numbers .* got 1\.5 at step 2"):
        list(task.read(CAMERAS))
    table.drop(index=1).to_parquet(data, index=False)
    with pytest.raises(ConfigError, match=r"episode 0: expected steps 0 to 2 in order, got \[0, 2\]"):
        list(task.read(CAMERAS))


def test_another_convention_of_the_gripper_is_not_taken_for_liberos(files, tmp_path) -> None:
    with edited(files[0], tmp_path / "gripper_demo.hdf5") as file:
        for demo in file["data"].values():
            demo["actions"][:, 6] = np.arange(len(demo["actions"])) % 2
    folder = write_dataset([tmp_path / "gripper_demo.hdf5"], tmp_path / "new", "me/new", use_videos=False)
    (task,) = open_tasks(folder)
    with pytest.raises(ConfigError, match=r"episode 0: action: .* -1 \(open\) to 1 .*, got only 0 and 1"):
        list(task.read(CAMERAS))


def test_the_command_converts_and_writes_over_nothing(files, tmp_path, capsys) -> None:
    command = ["convert", str(files[0].parent), str(tmp_path / "new"), "use_videos=false"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/new  ")
    assert len(open_tasks(tmp_path / "new")) == 2
    assert cli.main(command) == 2
    assert "output_dir: expected a folder that does not exist yet" in capsys.readouterr().err


INTERRUPTED = """
import os, signal, sys
from ttrl_env.agents.cli import main
from ttrl_env.lerobot import dataset
add_episode = dataset._add_episode
def interrupted(*arguments):
    add_episode(*arguments)
    os.kill(os.getpid(), signal.SIGTERM)
dataset._add_episode = interrupted
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupted_conversion_leaves_nothing(files, tmp_path) -> None:
    arguments = ["convert", str(files[0]), str(tmp_path / "new"), "use_videos=false"]
    command = [sys.executable, "-c", INTERRUPTED, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 130, ran.stderr
    assert "Stopping after this episode" in ran.stderr
    assert list(tmp_path.iterdir()) == []
