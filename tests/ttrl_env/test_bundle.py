"""The cache of compiled tasks: what is trusted, what is compiled again, what is shared."""

from __future__ import annotations

import dataclasses
import gc
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttrl_env import bundle, bundle_compiler, tasks
from ttrl_env.bundle import TaskBundle, bundle_key, cache_folder, clear_cache, load_bundle
from ttrl_env.bundle_files import read_archive, write_archive, write_bundle

pytestmark = pytest.mark.libero

TASK = ("libero_object", 0)


@pytest.fixture(scope="module")
def compiled() -> TaskBundle:
    """A bundle compiled through LIBERO."""
    return bundle_compiler.compile_bundle(tasks.get_task(*TASK), fixture_seed=0)


@pytest.fixture
def compilations(compiled: TaskBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """An empty cache, and the list of compilations; each gives the bundle above, as LIBERO would."""
    done: list[Any] = []

    def compile_once(task: tasks.Task, fixture_seed: int) -> TaskBundle:
        done.append((task.task_id, fixture_seed))
        return compiled

    monkeypatch.setenv("TTRL_CACHE", str(tmp_path))
    monkeypatch.setattr(bundle_compiler, "compile_bundle", compile_once)
    bundle._OPEN.clear()
    yield done
    bundle._OPEN.clear()
    shutil.rmtree(tmp_path)


def load() -> TaskBundle:
    """A bundle as a new process would find it."""
    bundle._OPEN.clear()
    return load_bundle(tasks.get_task(*TASK))


def assert_same(one: Any, other: Any) -> None:
    """Named tuples of arrays, nested, equal in value and type."""
    if hasattr(one, "_asdict"):
        assert type(one) is type(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other)


def test_a_cached_bundle_is_the_compiled_one(compiled: TaskBundle, compilations: list) -> None:
    load()
    opened = load()
    assert compilations == [(0, 0)]
    assert_same(opened.arrays, compiled.arrays)
    assert_same(opened.arm_at_reset, compiled.arm_at_reset)
    np.testing.assert_array_equal(opened.state_at_reset, compiled.state_at_reset)
    np.testing.assert_array_equal(opened.burner_alpha, compiled.burner_alpha)
    for name in ("body_pos", "body_quat", "geom_size", "mesh_vert", "mat_texid", "site_rgba"):
        np.testing.assert_array_equal(getattr(opened.model, name), getattr(compiled.model, name))
    assert_same(opened.model_layout, compiled.model_layout)
    assert_same(opened.textures.layout, compiled.textures.layout)
    np.testing.assert_array_equal(opened.textures.pixels, compiled.textures.pixels)
    check_nothing_is_left_behind()


def check_nothing_is_left_behind() -> None:
    (place,) = (cache_folder() / "bundles").iterdir()
    assert sorted(file.suffix for file in place.iterdir()) == [".mjb", ".npz", ".rgb"]


def test_damaged_and_foreign_files_are_compiled_again(compilations: list) -> None:
    load()
    (place,) = (cache_folder() / "bundles").iterdir()
    (model,), (textures,) = place.glob("*.mjb"), place.glob("*.rgb")
    archive = place / "bundle.npz"
    for count, (path, damage) in enumerate(
        [
            (model, lambda data: data[: len(data) // 2]),
            (model, lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]),
            (textures, lambda data: data[: len(data) // 2]),
            (textures, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
            (textures, lambda data: b""),
            (archive, lambda data: data[:-10]),
            (archive, lambda data: b"something else altogether"),
            (archive, lambda data: b""),
        ]
    ):
        path.write_bytes(damage(path.read_bytes()))
        load()
        assert len(compilations) == 2 + count
        load()
        assert len(compilations) == 2 + count
    for count, path in enumerate((model, textures)):
        path.unlink()
        load()
        assert len(compilations) == 10 + count


def test_a_bundle_of_another_version_is_compiled_again(compilations: list, compiled: TaskBundle) -> None:
    load()
    (place,) = (cache_folder() / "bundles").iterdir()
    write_bundle(place, dataclasses.replace(compiled, mujoco_version="99.1.0"))
    load()
    assert len(compilations) == 2
    values = read_archive(place / "bundle.npz")
    del values["mujoco_version"]
    write_archive(place / "bundle.npz", values)
    load()
    assert len(compilations) == 3


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts what Linux maps")
def test_a_bundle_that_nobody_has_any_more_leaves_no_file_open(compilations: list, tmp_path: Path) -> None:
    load()
    gc.collect()
    opened = load()
    assert open_files(tmp_path) == (1, 1)  # the textures, for threads that may yet draw them
    opened.textures.let_go()
    assert opened.textures.pixels.any()
    del opened
    gc.collect()
    assert open_files(tmp_path) == (0, 0)


def open_files(folder: Path) -> tuple[int, int]:
    """How many files of a folder this process has mapped, and how many it has open."""
    maps = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    descriptors = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return tuple(sum(str(folder) in name for name in names) for names in (maps, descriptors))


def test_the_key_changes_with_whatever_changes_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tasks.get_task(*TASK), tasks.get_task("libero_object", 1)
    keys = {bundle_key(one, 0), bundle_key(one, 1), bundle_key(other, 0)}
    versions = bundle._versions()
    for name in versions:
        with monkeypatch.context() as changed:
            changed.setattr(bundle, "_versions", lambda name=name: {**versions, name: "0.0"})
            keys.add(bundle_key(one, 0))
    monkeypatch.setattr(bundle, "FORMAT_VERSION", 0)
    keys.add(bundle_key(one, 0))
    assert len(keys) == 3 + len(versions) + 1


def test_environments_of_a_process_share_a_bundle_until_none_is_left(compilations: list) -> None:
    load()
    first = load()  # from the files: nobody else holds this one
    assert load_bundle(tasks.get_task(*TASK)) is first
    del first
    gc.collect()
    assert not bundle._OPEN
    assert load_bundle(tasks.get_task(*TASK)) is not None
    assert len(compilations) == 1


def test_readers_see_whole_archives_whoever_writes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "archive.npz"
    write_archive(path, {"a": np.zeros(50_000), "b": np.zeros(50_000)})

    def write(number: int) -> None:
        for _ in range(10):
            write_archive(path, {"a": np.full(50_000, number), "b": np.full(50_000, number)})

    seen = set()
    with ThreadPoolExecutor(3) as writers:
        done = [writers.submit(write, number) for number in (1, 2, 3)]
        while not all(future.done() for future in done):
            values = read_archive(path)
            assert values is not None
            assert np.unique([values["a"], values["b"]]).size == 1
            seen.add(int(values["a"][0]))
    assert len(seen) > 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_cache_is_cleared(compilations: list) -> None:
    load()
    assert clear_cache() == 1
    assert clear_cache() == 0
    load()
    assert len(compilations) == 2
