"""Demonstrations on disk: recording, going on, LIBERO's layout, reading."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from ttrl_env import libero_tasks
from ttrl_env.agents import cli
from ttrl_env.demonstrations import hdf5, recording
from ttrl_env.demonstrations.origins import describe
from ttrl_env.demonstrations.playing import Trajectory
from ttrl_env.demonstrations.reading import find_files, read_episodes, read_origins
from ttrl_env.demonstrations.recording import RecordingSettings, record_dataset
from ttrl_env.errors import ConfigError
from ttrl_env.libero_version import installed_mujoco, stamp
from ttrl_env.machine.folder_lock import folder_lock

pytestmark = pytest.mark.slow

CAMERAS = ("agentview", "robot0_eye_in_hand")
SETTINGS = RecordingSettings(image_size=8)


def made_up(seed: int, steps: int = 5) -> Trajectory:
    """A trajectory of random numbers."""
    rng = np.random.default_rng(seed)
    quats = rng.standard_normal((steps, 4))
    return Trajectory(
        success=True,
        actions=list(rng.uniform(-1, 1, (steps, 7)).astype(np.float32)),
        executed_actions=list(rng.uniform(-1, 1, (steps, 7))),
        states=list(rng.standard_normal((steps, 12))),
        eef_pos=list(rng.standard_normal((steps, 3))),
        eef_quat=list(quats / np.linalg.norm(quats, axis=1, keepdims=True)),
        gripper_qpos=list(rng.standard_normal((steps, 2))),
        joint_pos=list(rng.standard_normal((steps, 7))),
        images={camera: list(rng.integers(0, 255, (steps, 8, 8, 3), dtype=np.uint8)) for camera in CAMERAS},
    )


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Attempts made, instead of simulating them; every third one fails."""
    made: list[int] = []

    def attempt(bundle, task, parts, settings, thread, *, attempt, init_state) -> None:
        made.append(attempt)
        if attempt % 3 == 2:
            parts.fail(attempt)
            return
        attributes = {"attempt": attempt, "init_state_id": init_state, "init_state": np.zeros(12)}
        hdf5.write_episode(parts.file(attempt), made_up(attempt), attributes)

    monkeypatch.setattr(recording, "_attempt", attempt)
    monkeypatch.setattr(recording, "load_bundle", lambda task: None)
    monkeypatch.setattr(recording, "make_expert", lambda task: None)
    return made


def record(folder, episodes=5, settings=SETTINGS, **kwargs):
    return record_dataset(libero_tasks.get_task("libero_object", 0), folder, episodes, settings, **kwargs)


def test_the_file_has_liberos_layout(tmp_path, attempts) -> None:
    path = record(tmp_path, 2)
    assert path.name == "pick_up_the_alphabet_soup_and_place_it_in_the_basket_demo.hdf5"
    with h5py.File(path) as file:
        data = file["data"]
        assert set(data) == {"demo_0", "demo_1"}
        assert json.loads(data.attrs["problem_info"])["language_instruction"].startswith(
            "pick up the alphabet"
        )
        assert json.loads(data.attrs["env_args"])["problem_name"] == "libero_floor_manipulation"
        assert data.attrs["macros_image_convention"] == "opengl"
        assert data.attrs["bddl_file_name"].endswith("in_the_basket.bddl")
        assert "(:goal" in data.attrs["bddl_file_content"]
        assert (data.attrs["num_demos"], data.attrs["total"]) == (2, 10)
        demo = data["demo_0"]
        assert demo.attrs["num_samples"] == 5
        assert demo["actions"].shape == (5, 7)
        assert demo["states"].shape == (5, 12)
        assert demo["robot_states"].shape == (5, 9)
        assert demo["dones"][()].tolist() == demo["rewards"][()].tolist() == [0, 0, 0, 0, 1]
        shapes = {key: array.shape[1:] for key, array in demo["obs"].items()}
    images = dict.fromkeys(("agentview_rgb", "eye_in_hand_rgb"), (8, 8, 3))
    states = {"ee_states": (6,), "ee_pos": (3,), "ee_ori": (3,), "gripper_states": (2,), "joint_states": (7,)}
    assert shapes == {**images, **states}


def test_libero_itself_reads_the_file(tmp_path, attempts, capsys) -> None:
    from libero.libero.utils.dataset_utils import get_dataset_info

    get_dataset_info(str(record(tmp_path, 3)))
    assert "total trajectories: 3" in capsys.readouterr().out


def test_what_is_written_is_read_back(tmp_path, attempts) -> None:
    episodes = list(read_episodes(record(tmp_path, 2), CAMERAS))
    for episode, expected in zip(episodes, (made_up(0), made_up(1)), strict=True):
        assert episode.instruction == "pick up the alphabet soup and place it in the basket"
        assert np.array_equal(episode.actions, expected.actions)
        for camera in CAMERAS:
            assert np.array_equal(episode.observations[f"{camera}_image"], expected.images[camera])
        assert np.allclose(episode.observations["robot0_eef_pos"], expected.eef_pos)
        assert np.allclose(episode.observations["robot0_gripper_qpos"], expected.gripper_qpos)
        same = np.abs(np.sum(episode.observations["robot0_eef_quat"] * expected.eef_quat, axis=1))
        assert np.allclose(same, 1.0)  # up to the sign


def test_only_successful_attempts_are_kept_in_order(tmp_path, attempts) -> None:
    path = record(tmp_path, 4, num_workers=1)
    assert attempts == [0, 1, 2, 3, 4]
    with h5py.File(path) as file:
        assert [int(file[f"data/demo_{n}"].attrs["attempt"]) for n in range(4)] == [0, 1, 3, 4]


def test_an_interrupted_recording_goes_on_where_it_stopped(tmp_path, attempts) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, 4, num_workers=1, progress=interrupt)
    assert find_nothing(tmp_path)
    before = len(attempts)
    record(tmp_path, 4, num_workers=1)
    assert sorted(attempts) == [0, 1, 2, 3, 4]
    assert before == 2
    assert not list(tmp_path.rglob("*.parts"))


def test_episodes_are_added_to_a_finished_file(tmp_path, attempts) -> None:
    path = record(tmp_path, 2)
    first = path.read_bytes()
    record(tmp_path, 2)
    assert path.read_bytes() == first
    attempts.clear()
    record(tmp_path, 4)
    assert 0 not in attempts
    assert 1 not in attempts
    assert [
        np.array_equal(e.actions, made_up(n).actions)
        for n, e in zip((0, 1, 3, 4), read_episodes(path, ()), strict=True)
    ] == [True] * 4


def test_other_settings_do_not_mix(tmp_path, attempts) -> None:
    record(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"noise=0.1 \(asked for: 0.3\)"):
        record(tmp_path, 4, RecordingSettings(image_size=8, noise=0.3))


def test_episodes_of_two_worlds_do_not_mix(tmp_path, attempts, monkeypatch) -> None:
    record(tmp_path, 2)
    monkeypatch.setattr(recording, "installed_mujoco", lambda: "99.1.0")
    with pytest.raises(ConfigError, match=rf"mujoco='{installed_mujoco()}' \(asked for: '99.1.0'\)"):
        record(tmp_path, 3)


def test_attempts_of_two_worlds_do_not_mix(tmp_path, attempts, monkeypatch) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, 2, progress=interrupt)
    monkeypatch.setattr(recording, "installed_mujoco", lambda: "99.1.0")
    with pytest.raises(ConfigError, match=r"\(asked for: '99.1.0'\)"):
        record(tmp_path, 2)


def test_an_interrupted_recording_ends_as_an_uninterrupted_one(tmp_path, attempts) -> None:
    whole = record(tmp_path / "whole", 5).read_bytes()
    for stop in range(5):

        def interrupt(done: int, total: int, stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            record(tmp_path / str(stop), 5, num_workers=1, progress=interrupt)
        assert record(tmp_path / str(stop), 5).read_bytes() == whole


@pytest.mark.parametrize("damage", [0, 0.5, 0.99])
def test_an_attempt_that_cannot_be_read_is_made_again(tmp_path, attempts, damage) -> None:
    whole = record(tmp_path / "whole", 4).read_bytes()
    part = interrupted(tmp_path / "broken", 3) / "attempt_000001.hdf5"
    part.write_bytes(part.read_bytes()[: int(damage * part.stat().st_size)])
    attempts.clear()
    assert record(tmp_path / "broken", 4).read_bytes() == whole
    assert sorted(attempts) == [1, 4]


def _noting(calls: list[str], name: str) -> Callable[..., None]:
    """A function of ``os`` that leaves its name in ``calls``."""
    real = getattr(os, name)

    def note(*arguments: Any) -> None:
        calls.append(name)
        real(*arguments)

    return note


def test_an_attempt_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, _noting(calls, name))
    hdf5.write_episode(tmp_path / "attempt.hdf5", made_up(0), {"attempt": 0})
    assert calls == ["fsync", "replace"]


def test_what_a_killed_recording_left_behind_goes_with_the_next(tmp_path, attempts) -> None:
    path = record(tmp_path, 2)
    content = path.read_bytes()
    leftover = path.with_suffix(".parts") / "attempt_000000.hdf5"  # killed after the file was complete
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    assert record(tmp_path, 2).read_bytes() == content
    assert not leftover.parent.exists()
    notes = leftover.with_name("notes.txt")
    notes.parent.mkdir()
    notes.write_text("mine")
    record(tmp_path, 2)
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]


def test_two_recordings_of_one_file_at_once_are_refused(tmp_path, attempts) -> None:
    path = recording.dataset_file(tmp_path, libero_tasks.get_task("libero_object", 0))
    with folder_lock(path.with_suffix(".parts"), "output_dir"):
        with pytest.raises(
            ConfigError, match=r"output_dir: another process is writing to .*basket_demo.parts"
        ):
            record(tmp_path, 1)
        record_dataset(libero_tasks.get_task("libero_object", 1), tmp_path, 1, SETTINGS)
    record(tmp_path, 1)


class TestFullDisk:
    """No file may become larger than a limit, which is what a full disk looks like to who writes."""

    def test_an_attempt_that_cannot_be_written_names_its_file(self, tmp_path, attempts) -> None:
        with largest_file(20_000), pytest.raises(OSError, match=r"File too large.*attempt_000000\.hdf5"):
            record(tmp_path, 2, num_workers=1)
        assert not list(tmp_path.rglob("*attempt*"))
        assert record(tmp_path, 2).read_bytes() == record(tmp_path / "whole", 2).read_bytes()

    def test_a_finished_file_that_cannot_be_written_keeps_its_attempts(self, tmp_path, attempts) -> None:
        whole = record(tmp_path / "whole", 4).read_bytes()
        attempts.clear()
        with largest_file(len(whole) - 1), pytest.raises(OSError, match=r"File too large.*_demo\.hdf5"):
            record(tmp_path / "full", 4)
        made = list(attempts)
        assert record(tmp_path / "full", 4).read_bytes() == whole
        assert attempts == made

    def test_the_command_says_which_file(self, tmp_path, attempts, capsys) -> None:
        with largest_file(20_000):
            arguments = ["libero_object", "task_ids=[0]", "episodes=1", f"output_dir={tmp_path}"]
            assert cli.main(["record", *arguments]) == 1
        assert "attempt_000000.hdf5: File too large" in capsys.readouterr().err

    def test_a_finished_file_that_does_not_fit_into_memory_is_refused(self, tmp_path, attempts, monkeypatch):
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
        with pytest.raises(ConfigError, match=r"episodes: putting .*_demo\.hdf5 together needs about"):
            record(tmp_path, 2)
        monkeypatch.undo()


def test_gives_up_on_an_expert_that_keeps_failing(tmp_path, attempts, monkeypatch) -> None:
    def fail(bundle, task, parts, settings, thread, *, attempt, init_state) -> None:
        parts.fail(attempt)

    monkeypatch.setattr(recording, "_attempt", fail)
    with pytest.raises(RuntimeError, match=r"solved 0 of 12 attempts.*max_steps=200.*4 episodes"):
        record(tmp_path, 4)


def test_only_train_states_are_played(tmp_path, attempts) -> None:
    with h5py.File(record(tmp_path, 40), "r") as file:
        states = [int(demo.attrs["init_state_id"]) for demo in file["data"].values()]
    assert set(states) <= set(range(40))
    assert len(set(states)) > 20


def test_progress_reaches_the_number_asked_for(tmp_path, attempts) -> None:
    calls: list[tuple[int, int]] = []
    record(tmp_path, 3, progress=lambda *call: calls.append(call))
    assert calls[0] == (0, 3)
    assert calls[-1] == (3, 3)


@pytest.mark.libero
def test_records_a_real_episode_with_shifted_objects(tmp_path) -> None:
    settings = RecordingSettings(image_size=16, cameras=("agentview",), shift=0.01, max_steps=120)
    path = record(tmp_path, 1, settings, num_workers=1)
    [episode] = read_episodes(path, ("agentview",))
    images = episode.observations["agentview_image"]
    assert images.shape == (len(episode.actions), 16, 16, 3)
    assert images.std() > 10
    with h5py.File(path) as file:
        demo = file["data/demo_0"]
        shipped = libero_tasks.init_states("libero_object", 0)[int(demo.attrs["init_state_id"])]
        moved = np.abs(demo.attrs["init_state"] - shipped)
        assert 0.0 < moved.max() <= 0.01
        assert int(demo.attrs["init_state_id"]) < 40  # a train state
        noise = demo["executed_actions"][()][:, :6] - demo["actions"][()][:, :6]
    assert 0.05 < noise.std() < 0.15


class TestPublishedFiles:
    """Files as LIBERO's ``create_dataset.py`` writes them."""

    def test_pairs_each_observation_with_the_next_action(self, tmp_path) -> None:
        [episode] = read_episodes(published(tmp_path / "a_demo.hdf5"), ("agentview",))
        assert episode.instruction == "put the bowl on the plate"
        assert episode.observations["agentview_image"][:, 0, 0, 0].tolist() == [10, 20, 30]
        assert episode.actions[:, 0].tolist() == pytest.approx([0.2, 0.3, 0.4])

    def test_can_be_told_otherwise(self, tmp_path) -> None:
        [episode] = read_episodes(published(tmp_path / "a_demo.hdf5"), ("agentview",), "before")
        assert len(episode.actions) == 4
        assert episode.actions[0, 0] == pytest.approx(0.1)

    def test_upright_images_are_turned_over(self, tmp_path) -> None:
        path = published(tmp_path / "a_demo.hdf5", convention="opencv")
        [episode] = read_episodes(path, ("agentview",), "before")
        assert episode.observations["agentview_image"][0, -1, 0, 0] == 10

    def test_orders_episodes_by_number(self, tmp_path) -> None:
        path = published(tmp_path / "a_demo.hdf5", episodes=11)
        starts = [episode.observations["robot0_eef_pos"][0, 0] for episode in read_episodes(path, ())]
        assert starts == list(range(11))

    def test_a_missing_camera_is_named(self, tmp_path) -> None:
        with pytest.raises(ConfigError, match="no obs/eye_in_hand_rgb"):
            list(read_episodes(published(tmp_path / "a_demo.hdf5"), CAMERAS))

    def test_another_layout_is_refused(self, tmp_path) -> None:
        with h5py.File(tmp_path / "other.hdf5", "w") as file:
            file["x"] = np.zeros(3)
        with pytest.raises(ConfigError, match="not in LIBERO's layout"):
            list(read_episodes(tmp_path / "other.hdf5", ()))


def test_files_are_found_in_folders(tmp_path) -> None:
    (tmp_path / "suite").mkdir()
    wanted = [published(tmp_path / "suite" / name) for name in ("a_demo.hdf5", "b_demo.hdf5")]
    (tmp_path / "c.parts").mkdir()
    published(tmp_path / "c.parts" / "attempt_000000.hdf5")
    assert find_files([tmp_path]) == wanted
    assert find_files([wanted[1]]) == [wanted[1]]
    with pytest.raises(ConfigError, match=r"no \.hdf5 file"):
        find_files([tmp_path / "elsewhere"])


NOOPS = (0, 3)
"""Steps of each recorded episode that :func:`regenerated` leaves out."""


@pytest.mark.libero
def test_files_that_openvla_regenerates_hold_the_same_episodes(tmp_path, attempts) -> None:
    recorded = record(tmp_path / "ours", 3)
    with h5py.File(recorded, "r+") as file:
        for demo in file["data"].values():
            demo["actions"][NOOPS, :6] = 0.0
            demo["actions"][:, 6] = [-1, -1, 1, 1, -1]  # step 3 leaves it as step 2 did
    foreign = regenerated(recorded, tmp_path / "libero_object_no_noops", failed="demo_1")
    kept = [step for step in range(5) if step not in NOOPS]
    ours, theirs = (list(read_episodes(path, CAMERAS)) for path in (recorded, foreign))
    assert len(theirs) == 2
    for expected, got in zip([ours[0], ours[2]], theirs, strict=True):
        assert got.instruction == expected.instruction
        np.testing.assert_array_equal(got.actions, expected.actions[kept])
        for key, array in expected.observations.items():
            np.testing.assert_array_equal(got.observations[key], array[kept])
    (described,) = describe(read_origins(foreign))
    assert (described["suite"], described["num_episodes"]) == ("libero_object", 2)


def regenerated(recording, folder, failed):
    """The file that OpenVLA's ``regenerate_libero_dataset.py`` makes of such episodes.

    It has no attributes and no compression. Episodes that fail are missing, and so are no-ops: steps that
    move nothing and leave the gripper as the last kept step did. The first observation is the one before the
    first action. All numbers are float64.
    """
    folder.mkdir()
    path = folder / recording.name
    with h5py.File(recording) as ours, h5py.File(path, "w") as file:
        for name, demo in ours["data"].items():
            if name == failed:
                continue
            kept, gripper = [], None
            for step, action in enumerate(demo["actions"][()]):
                still = np.linalg.norm(action[:6]) < 1e-4
                if not (still and (gripper is None or action[6] == gripper)):
                    kept.append(step)
                    gripper = action[6]
            last = np.zeros(len(kept), dtype=np.uint8)
            last[-1] = 1
            group = file.create_group(f"data/{name}")
            for key in ("actions", "states", "robot_states"):
                group[key] = demo[key][()][kept].astype(np.float64)
            group["rewards"] = group["dones"] = last
            for key, array in demo["obs"].items():
                group[f"obs/{key}"] = array[()][kept]
    return path


def published(path, convention="opengl", episodes=1):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": list('"put the bowl on the plate"')})
        data.attrs["macros_image_convention"] = convention
        for number in range(episodes):
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = np.full((4, 7), np.arange(1, 5)[:, None] / 10)
            images = np.zeros((4, 8, 8, 3), dtype=np.uint8)
            images[:, 0] = np.arange(10, 50, 10)[:, None, None]
            demo["obs/agentview_rgb"] = images
            demo["obs/ee_states"] = np.full((4, 6), float(number))
            demo["obs/gripper_states"] = np.zeros((4, 2))
    return path


def interrupted(folder, episodes):
    """The attempts of a recording of four that stopped at so many."""

    def interrupt(done: int, total: int) -> None:
        if done == episodes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(folder, 4, num_workers=1, progress=interrupt)
    [parts] = folder.rglob("*.parts")
    return parts


@contextmanager
def largest_file(num_bytes: int):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def find_nothing(folder) -> bool:
    return not [path for path in folder.rglob("*_demo.hdf5") if ".parts" not in str(path)]


class TestCommandLine:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["libero_objekt"], "libero_object"),
            (["libero_object", "task_ids=[11]"], "task_ids: libero_object has tasks 0 to 9, got 11"),
            (["libero_object", "task_ids=[3,0,3]"], "task_ids: expected each task once, got [3, 0, 3]"),
            (["libero_object", "task_ids=[-1]"], "task_ids: libero_object has tasks 0 to 9, got -1"),
            (["libero_object", "episodes=0"], "episodes: expected an integer of at least 1"),
            (["libero_object", "episodes=1000000"], "episodes: expected an integer of at most 10000"),
            (["libero_object", "noise=-1"], "noise: expected a number from 0 to 1"),
            (["libero_object", "noise=nan"], "noise: expected a number from 0 to 1"),
            (["libero_object", "shift=inf"], "shift: expected a number from 0 to 1"),
            (["libero_object", "cameras=[agentview,agentview]"], "cameras: expected each camera once"),
            (["libero_object", "cameras=[agentviw]"], "Did you mean 'agentview'"),
            (["libero_object", "image_size=0"], "image_size: expected an integer of at least 1"),
            (
                ["libero_object", "image_size=16000"],
                "16000: the images of num_workers=2 episodes of max_steps",
            ),
            (["libero_object", "max_steps=0"], "max_steps: expected an integer of at least 1"),
            (["libero_object", "num_workers=0"], "num_workers: expected an integer of at least 1"),
            (["libero_object", "seed=-1"], "seed: expected an integer of at least 0"),
            (["libero_object", f"seed={2**64}"], "seed: expected an integer of at most"),
            (["libero_object", "output_dir=/dev/null"], "output_dir: expected a folder"),
            (["libero_object", "output_dir=/dev/null/x"], "output_dir: expected a folder"),
            (["libero_object", "report=x.json"], "report: it goes with check=true"),
            (["libero_object", "check=true", "report=/dev/null/x.json"], "report: expected a folder"),
            (["libero_object", "check=true", "report=."], "report: expected a file"),
            (
                ["libero_goal"],
                "task_ids: no scripted expert for libero_goal 0, 3; ask for the others: 'task_ids=[1,2,4",
            ),
        ],
    )
    def test_a_mistake_is_named(self, arguments, message, capsys) -> None:
        assert cli.main(["record", *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_an_expert_that_fails_too_often_is_no_crash(
        self, tmp_path, attempts, monkeypatch, capsys
    ) -> None:
        monkeypatch.setattr(
            recording,
            "_attempt",
            lambda bundle, task, parts, settings, thread, *, attempt, **_: parts.fail(attempt),
        )
        arguments = ["libero_object", "task_ids=[0]", "episodes=1", "max_steps=1"]
        assert cli.main(["record", *arguments, f"output_dir={tmp_path}"]) == 2
        assert "solved 0 of 3 attempts, each within max_steps=1" in capsys.readouterr().err

    def test_records_every_task_asked_for(self, tmp_path, attempts, capsys) -> None:
        arguments = ["libero_object", "task_ids=[0,1]", "episodes=1", f"output_dir={tmp_path}"]
        assert cli.main(["record", *arguments]) == 0
        assert len(find_files([tmp_path])) == 2
        assert "pick_up_the_cream_cheese" in capsys.readouterr().out

    @pytest.mark.libero
    def test_check_reports_rates_and_tasks_without_an_expert(self, tmp_path, capsys) -> None:
        report = tmp_path / "report.json"
        arguments = ["libero_goal", "task_ids=[0]", "check=true", f"report={report}"]
        assert cli.main(["record", *arguments]) == 0
        assert "no expert" in capsys.readouterr().out
        assert json.loads(report.read_text(encoding="utf-8")) == [
            {"suite": "libero_goal", "task_id": 0, "expert": False, **stamp()}
        ]
