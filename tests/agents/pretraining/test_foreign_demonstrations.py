"""Demonstrations of others: what is wrong is said by file and demonstration, and nothing is guessed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import psutil
import pytest

from ttrl_env import libero_tasks
from ttrl_env.agents.pretraining import sources
from ttrl_env.agents.pretraining.config import load_pretrain_config
from ttrl_env.agents.pretraining.data import load_pairs
from ttrl_env.agents.pretraining.pretrain import new_policy
from ttrl_env.demonstrations import foreign_files
from ttrl_env.demonstrations.origins import describe
from ttrl_env.demonstrations.reading import find_files, measure_file, read_episodes, read_origins
from ttrl_env.errors import ConfigError

STEPS = 4
DEMO = "data/demo_1"

Edit = Callable[[h5py.File], None]


@pytest.fixture
def file(tmp_path) -> Path:
    """A file of two demonstrations as LIBERO publishes them."""
    path = tmp_path / "a_demo.hdf5"
    with h5py.File(path, "w") as opened:
        data = opened.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "put the bowl on the plate"})
        data.attrs["macros_image_convention"] = "opengl"
        for number in range(2):
            fill(data.create_group(f"demo_{number}"))
    return path


def fill(demo: h5py.Group) -> None:
    demo["actions"] = np.linspace(-1.0, 1.0, STEPS)[:, None] * np.ones(7)
    demo["obs/agentview_rgb"] = np.arange(STEPS, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (1, 8, 8, 3), dtype=np.uint8
    )
    demo["obs/ee_states"] = np.zeros((STEPS, 6))
    demo["obs/gripper_states"] = np.zeros((STEPS, 2))


def edit(path: Path, change: Edit) -> None:
    with h5py.File(path, "r+") as opened:
        change(opened)


def replaced(name: str, numbers) -> Edit:
    def change(opened: h5py.File) -> None:
        del opened[name]
        opened[name] = numbers

    return change


def changed(name: str, numbers: float) -> Edit:
    return lambda opened: opened[name].__setitem__((2, 1), numbers)


def attribute(part: str, name: str, value) -> Edit:
    return lambda opened: opened[part].attrs.__setitem__(name, value)


def read(path: Path):
    return list(read_episodes(path, ("agentview",)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            replaced(f"{DEMO}/obs/agentview_rgb", np.zeros((5, 8, 8, 3), np.uint8)),
            "4 actions and 5 of obs/agent",
        ),
        (replaced(f"{DEMO}/obs/ee_states", np.zeros((3, 6))), "4 actions and 3 of obs/ee_states"),
        (replaced(f"{DEMO}/obs/gripper_states", np.zeros((1, 2))), "4 actions and 1 of obs/gripper_states"),
        (replaced(f"{DEMO}/actions", np.zeros((5, 7))), "5 actions and 4 of obs/agentview_rgb"),
        (attribute(DEMO, "num_samples", 3), "4 actions and 3 of num_samples"),
        (attribute(DEMO, "num_samples", 4.5), "'num_samples': expected an integer"),
        (
            replaced(f"{DEMO}/obs/agentview_rgb", np.ones((4, 8, 8, 3), np.float32)),
            "expected uint8 .* float32",
        ),
        (replaced(f"{DEMO}/obs/agentview_rgb", np.ones((4, 8, 8, 3), np.int64)), "expected uint8 .* int64"),
        (
            replaced(f"{DEMO}/obs/agentview_rgb", np.ones((4, 3, 8, 8), np.uint8)),
            r"square images.*\[4, 3, 8, 8\]",
        ),
        (
            replaced(f"{DEMO}/obs/agentview_rgb", np.ones((4, 8, 8, 4), np.uint8)),
            r"square images.*\[4, 8, 8, 4\]",
        ),
        (replaced(f"{DEMO}/actions", np.zeros((4, 8))), r"expected \[steps, 7\], got \[4, 8\]"),
        (replaced(f"{DEMO}/actions", np.zeros((4, 7), np.int64)), "floating-point numbers, got int64"),
        (replaced(f"{DEMO}/actions", np.zeros((4, 7), complex)), "expected numbers, got complex128"),
        (replaced(f"{DEMO}/actions", np.array([b"left"] * 4)), "expected numbers, got"),
        (changed(f"{DEMO}/actions", np.nan), "from -1 to 1, got nan at step 2"),
        (changed(f"{DEMO}/actions", -1.5), "from -1 to 1, got -1.5 at step 2"),
        (changed(f"{DEMO}/obs/ee_states", np.inf), "finite numbers, got inf at step 2"),
        (changed(f"{DEMO}/obs/ee_states", 1e300), r"finite numbers, got 1e\+300 at step 2"),
        (lambda opened: opened[DEMO].__delitem__("obs"), "it has no 'obs'"),
        (lambda opened: opened["data"].move("demo_1", "demo_x"), "named demo_0, demo_1, .*'demo_x'"),
    ],
)
def test_a_demonstration_that_cannot_be_right_is_named(file, change, problem) -> None:
    edit(file, change)
    with pytest.raises(ConfigError, match=rf"a_demo\.hdf5: data.*{problem}") as error:
        read(file)
    assert "demo_1" in str(error.value) or "demo_x" in str(error.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (attribute("data", "macros_image_convention", "opencvv"), "macros_image_convention.*'opencvv'"),
        (
            attribute("data", "macros_image_convention", 5),
            "macros_image_convention': expected text, got int64",
        ),
        (attribute("data", "macros_image_convention", ["opencv"]), "macros_image_convention': expected text"),
        (
            attribute("data", "observations", "before"),
            "'observations': expected 'before_action'.*set pairing",
        ),
        (attribute("data", "problem_info", "{"), "'problem_info': expected JSON"),
        (attribute("data", "problem_info", "[" * 50_000), "'problem_info': expected JSON"),
        (attribute("data", "problem_info", '{"language_instruction": " "}'), "'problem_info': expected JSON"),
        (lambda opened: [opened["data"].__delitem__(f"demo_{n}") for n in (0, 1)], "holds no demonstration"),
    ],
)
def test_an_attribute_that_is_not_understood_is_named(file, change, problem) -> None:
    edit(file, change)
    with pytest.raises(ConfigError, match=rf"a_demo\.hdf5: data: .*{problem}"):
        read(file)


def test_a_known_pairing_makes_a_strange_attribute_harmless(file) -> None:
    edit(file, attribute("data", "observations", "before"))
    assert len(next(read_episodes(file, (), "before")).actions) == STEPS


def test_attributes_of_fixed_length_text_are_read(file) -> None:
    edit(file, lambda opened: opened[DEMO]["obs/agentview_rgb"].__setitem__((slice(None), 7), 200))
    edit(file, attribute("data", "macros_image_convention", np.bytes_(b"opencv")))
    assert (read(file)[1].observations["agentview_image"][:, 0] == 200).all()


def test_one_step_is_an_episode_if_its_observation_comes_before(file) -> None:
    for name, shape in (("actions", (1, 7)), ("obs/ee_states", (1, 6)), ("obs/gripper_states", (1, 2))):
        edit(file, replaced(f"{DEMO}/{name}", np.zeros(shape)))
    assert len(list(read_episodes(file, (), "before"))[1].actions) == 1
    with pytest.raises(ConfigError, match=r"demo_1: expected at least 2 steps .*, got 1"):
        list(read_episodes(file, ()))


class TestWhatIsNotInTheFile:
    """Nothing outside a file is read, and nothing that it only claims to hold."""

    @pytest.fixture
    def elsewhere(self, tmp_path) -> Path:
        path = tmp_path / "elsewhere"
        path.write_bytes(np.zeros((STEPS, 7)).tobytes())
        return path

    def refused(self, file: Path, change: Edit, problem: str) -> None:
        edit(file, change)
        with pytest.raises(
            ConfigError, match=rf"a_demo\.hdf5: {DEMO if 'demo_1/' in problem else 'data'}.*{problem}"
        ):
            read(file)

    def test_soft_links(self, file) -> None:
        def link(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            opened[f"{DEMO}/actions"] = h5py.SoftLink("/data/demo_0/actions")

        self.refused(file, link, "'actions' is a link to /data/demo_0/actions")

    @pytest.mark.parametrize("name", ["data/demo_1", "data/demo_1/obs", "data/demo_1/obs/ee_states", "data"])
    def test_external_links(self, file, tmp_path, name) -> None:
        (tmp_path / "other.hdf5").write_bytes(file.read_bytes())

        def link(opened: h5py.File) -> None:
            del opened[name]
            opened[name] = h5py.ExternalLink("other.hdf5", f"/{name}")

        edit(file, link)
        with pytest.raises(ConfigError, match=rf"a_demo\.hdf5: .*is a link to other\.hdf5:/{name}"):
            read(file)

    def test_raw_storage(self, file, elsewhere) -> None:
        def point(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            opened.create_dataset(f"{DEMO}/actions", (STEPS, 7), "f8", external=[(elsewhere, 0, STEPS * 56)])

        self.refused(file, point, "actions: its numbers are in another file, .*elsewhere")

    def test_virtual_datasets(self, file) -> None:
        def point(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            layout = h5py.VirtualLayout((STEPS, 7), "f8")
            layout[:] = h5py.VirtualSource("other.hdf5", "x", (STEPS, 7))
            opened.create_virtual_dataset(f"{DEMO}/actions", layout)

        self.refused(file, point, "actions: it is a virtual dataset")

    def test_references(self, file) -> None:
        def point(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            opened.create_dataset(f"{DEMO}/actions", (STEPS, 7), h5py.ref_dtype)

        self.refused(file, point, "actions: expected numbers")
        edit(file, lambda opened: opened["data"].attrs.__setitem__("problem_info", opened["data"].ref))
        self.refused(file, lambda opened: None, "'problem_info': expected text")

    @pytest.mark.parametrize("storage", [{}, {"chunks": (1, 256, 256, 3), "compression": "gzip"}])
    def test_arrays_that_were_never_written(self, file, storage) -> None:
        def claim(opened: h5py.File) -> None:
            del opened[f"{DEMO}/obs/agentview_rgb"]
            opened.create_dataset(f"{DEMO}/obs/agentview_rgb", (10**9, 256, 256, 3), "u1", **storage)

        self.refused(
            file, claim, r"agentview_rgb: it claims 1.97e\+05 GB, and parts of it were never written"
        )

    def test_chunks_that_are_missing(self, file) -> None:
        def claim(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            opened.create_dataset(f"{DEMO}/actions", (STEPS, 7), "f8", chunks=(1, 7))[:3] = 0.5

        self.refused(file, claim, "actions: .*parts of it were never written")

    def test_chunks_that_unpack_to_more_than_their_numbers(self, file, monkeypatch) -> None:
        monkeypatch.setattr(foreign_files, "_HARMLESS", 0)

        def pack(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            actions = opened.create_dataset(
                f"{DEMO}/actions", (STEPS, 7), "f8", chunks=(STEPS, 7), compression=9
            )
            actions.id.write_direct_chunk((0, 0), zlib.compress(bytes(unpacked)))

        unpacked = STEPS * 7 * 8
        edit(file, pack)
        assert len(read(file)) == 2
        unpacked = 10**6
        self.refused(file, pack, "actions: a packed chunk of .* bytes holds more than its 228 bytes")

    def test_unknown_compression(self, file) -> None:
        def pack(opened: h5py.File) -> None:
            del opened[f"{DEMO}/actions"]
            opened.create_dataset(f"{DEMO}/actions", data=np.zeros((STEPS, 7)), scaleoffset=3)

        self.refused(file, pack, "actions: it is packed with filter 6")


def test_what_a_file_takes_is_known_before_it_is_read(file) -> None:
    size = measure_file(file, ("agentview",))
    assert size.num_steps == 2 * STEPS
    assert size.largest_episode_bytes == STEPS * (8 * 8 * 3 + 8 * (7 + 6 + 2))


def test_more_than_fits_into_memory_is_refused_before_it_is_read(file, tmp_path, monkeypatch) -> None:
    config = load_pretrain_config([f"data=[{file}]", "policy.image_size=16"])
    for number in range(2):
        edit(file, replaced(f"data/demo_{number}/obs/agentview_rgb", np.zeros((STEPS, 16, 16, 3), np.uint8)))
    monkeypatch.setattr(sources, "read_episodes", None)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(
        ConfigError, match=r"data: reading 8 steps needs about .* GB of memory, and 1e-06 GB are"
    ):
        load_pairs(config, sources.find_sources(config.data), new_policy(config), print)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "begins with b'<!DOCTYP'"),
    ],
)
def test_what_is_no_hdf5_file_is_named(tmp_path, content, problem) -> None:
    path = tmp_path / "a_demo.hdf5"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"a_demo\.hdf5: .*{problem}"):
        read(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_a_file_that_was_cut_off_is_named(file, share) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConfigError, match=r"a_demo\.hdf5: .*damaged or incomplete"):
        read(file)


def test_damage_inside_is_named(file) -> None:
    def pack(opened: h5py.File) -> None:
        del opened[f"{DEMO}/actions"]
        opened.create_dataset(f"{DEMO}/actions", data=np.zeros((STEPS, 7)), compression="gzip")

    edit(file, pack)
    with h5py.File(file) as opened:
        chunk = opened[f"{DEMO}/actions"].id.get_chunk_info(0)
    with file.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(bytes(chunk.size))
    with pytest.raises(ConfigError, match=rf"a_demo\.hdf5: {DEMO}/actions cannot be read: .*copy it again"):
        read(file)


def test_folders_and_pipes_are_no_files(tmp_path) -> None:
    (tmp_path / "a_demo.hdf5").mkdir()
    os.mkfifo(tmp_path / "b_demo.hdf5")
    for path, kind in zip(find_files([tmp_path]), ("folder", "device"), strict=True):
        with pytest.raises(ConfigError, match=f"{path.name}: expected an HDF5 file, got a {kind}"):
            read(path)


def test_each_path_has_files_and_each_file_is_named_once(file, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no \.hdf5 file in .*empty"):
        find_files([file, tmp_path / "empty"])
    (tmp_path / "again.hdf5").symlink_to(file)
    for twice in ([file, tmp_path], [file, tmp_path / "again.hdf5"], [tmp_path]):
        with pytest.raises(ConfigError, match=r"_demo\.hdf5 is named twice|again\.hdf5 is named twice"):
            find_files(twice)


def test_folders_are_searched_for_files_and_lerobots_datasets(file, tmp_path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no \.hdf5 file and no LeRobotDataset in .*empty"):
        sources.find_sources([tmp_path / "empty"])
    for name in ("b", "c/d"):
        (tmp_path / name / "meta").mkdir(parents=True)
        (tmp_path / name / "meta/info.json").touch()
    monkeypatch.setattr(sources, "open_tasks", lambda folder: [SimpleNamespace(name=str(folder))] * 2)
    expected = [str(file), *2 * [str(tmp_path / "b")], *2 * [str(tmp_path / "c/d")]]
    assert [source.name for source in sources.find_sources([tmp_path])] == expected
    assert [source.name for source in sources.find_sources([tmp_path / "b"])] == 2 * [str(tmp_path / "b")]
    with pytest.raises(ConfigError, match="b is named twice"):
        sources.find_sources([tmp_path / "b", tmp_path])


def test_an_empty_name_is_not_the_working_directory(file, monkeypatch) -> None:
    monkeypatch.chdir(file.parent)
    assert [path.name for path in find_files(["."])] == [file.name]
    with pytest.raises(ConfigError, match=r"data: expected names of files or folders, got \[''\]"):
        find_files([""])


def test_every_file_is_checked_before_the_first_is_read(file, tmp_path, monkeypatch) -> None:
    (tmp_path / "b_demo.hdf5").write_bytes(file.read_bytes())
    config = load_pretrain_config([f"data=[{tmp_path}]", "policy.image_size=16"])
    edit(file, replaced("data/demo_0/obs/agentview_rgb", np.zeros((STEPS, 16, 16, 3), np.uint8)))
    edit(file, replaced("data/demo_1/obs/agentview_rgb", np.zeros((STEPS, 32, 32, 3), np.uint8)))
    monkeypatch.setattr(sources, "read_episodes", None)
    with pytest.raises(ConfigError, match=r"policy\.image_size: .* to 16 pixels .* got 8 in .*b_demo\.hdf5"):
        load_pairs(config, sources.find_sources(config.data), new_policy(config), print)
    edit(
        tmp_path / "b_demo.hdf5", lambda opened: opened["data/demo_1/obs"].move("agentview_rgb", "other_rgb")
    )
    with pytest.raises(ConfigError, match=r"b_demo\.hdf5: data/demo_1: it has no obs/agentview_rgb"):
        load_pairs(config, sources.find_sources(config.data), new_policy(config), print)


@pytest.mark.libero
class TestRegeneratedFiles:
    """Files of OpenVLA's ``regenerate_libero_dataset.py``: no attributes, observations before actions."""

    @pytest.fixture
    def regenerated(self, file) -> Path:
        edit(file, lambda opened: opened["data"].attrs.clear())
        return file.rename(file.with_name(f"{libero_tasks.get_task('libero_10', 3).name}_demo.hdf5"))

    def test_are_read_by_their_name(self, regenerated) -> None:
        episode = read(regenerated)[0]
        assert episode.instruction == libero_tasks.get_task("libero_10", 3).instruction
        assert len(episode.actions) == STEPS
        assert episode.observations["agentview_image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]

    def test_are_described_by_their_name(self, regenerated) -> None:
        (described,) = describe(read_origins(regenerated))
        task = libero_tasks.get_task("libero_10", 3)
        assert (described["suite"], described["task"]) == ("libero_10", task.name)

    def test_of_another_name_are_told_what_to_do(self, regenerated) -> None:
        other = regenerated.rename(regenerated.with_name("mine.hdf5"))
        with pytest.raises(
            ConfigError, match=r"mine\.hdf5 has no attributes.*_demo\.hdf5, or write .*problem_info"
        ):
            read(other)
