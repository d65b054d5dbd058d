"""The cache of compiled tasks: what is trusted, what is compiled again, what is shared."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from tests.ttrl_env.engines.reference import libero_simulation
from ttrl_env import libero_tasks
from ttrl_env.agents import cli
from ttrl_env.engines.native.task import cache, compiler, files, locations
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.cache import load_bundle
from ttrl_env.engines.native.task.files import read_archive, write_archive, write_bundle
from ttrl_env.engines.native.task.locations import CacheWarning, bundle_key, clear_cache
from ttrl_env.errors import EnvironmentDiedError, NoCacheError, UnsupportedTaskError
from ttrl_env.machine.cache_folder import cache_folder

pytestmark = pytest.mark.libero

TASK = ("libero_object", 0)


@pytest.fixture(scope="module")
def simulation() -> Iterator[Any]:
    """LIBERO's environment of the task."""
    with libero_simulation(*TASK) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def compiled(simulation: Any) -> TaskBundle:
    """A bundle compiled through LIBERO."""
    simulation.restore()
    return compiler.bundle_of(simulation.domain)


@pytest.fixture
def compilations(compiled: TaskBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """An empty cache, and the list of compilations; each gives the bundle above, as LIBERO would."""
    done: list[Any] = []

    def compile_once(task: libero_tasks.LiberoTask, fixture_seed: int) -> TaskBundle:
        done.append((task.task_id, fixture_seed))
        return compiled

    monkeypatch.setenv("TTRL_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "compile_bundle", compile_once)
    cache._OPEN.clear()
    locations.warn_once.cache_clear()
    yield done
    cache._OPEN.clear()
    shutil.rmtree(tmp_path)


def load() -> TaskBundle:
    """A bundle as a new process would find it."""
    cache._OPEN.clear()
    return load_bundle(libero_tasks.get_task(*TASK))


def load_twice() -> None:
    load()
    load()


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


def test_a_task_is_compiled_without_opengl_and_to_the_same_bytes(
    compiled: TaskBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robosuite.environments.base.MjRenderContextOffscreen", None)
    blind = compiler.compile_bundle(libero_tasks.get_task(*TASK), fixture_seed=0)
    places = tmp_path / "seen" / "task", tmp_path / "blind" / "task"  # a bundle holds its folder's name
    for place, bundle in zip(places, (compiled, blind), strict=True):
        write_bundle(place, bundle)
    names = [sorted(file.name for file in place.iterdir()) for place in places]
    assert names[0] == names[1]
    for name in names[0]:
        assert (places[0] / name).read_bytes() == (places[1] / name).read_bytes(), name
    shutil.rmtree(tmp_path)


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
    assert len(compilations) == 9
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
    assert values is not None
    del values["mujoco_version"]
    write_archive(place / "bundle.npz", values)
    load()
    assert len(compilations) == 3


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts what Linux maps")
def test_a_bundle_that_nobody_has_any_more_leaves_no_file_open(compilations: list, tmp_path: Path) -> None:
    load()
    gc.collect()
    opened = load()
    assert open_files(tmp_path) == (0, 0)  # a mapped file that is truncated ends the process
    opened.textures.let_go()
    assert opened.textures.pixels.any()
    del opened
    gc.collect()
    assert open_files(tmp_path) == (0, 0)


def open_files(folder: Path) -> tuple[int, int]:
    """How many files of a folder this process has mapped, and how many it has open."""
    maps = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    descriptors = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    mapped, opened = (sum(str(folder) in name for name in names) for names in (maps, descriptors))
    return mapped, opened


def test_textures_changed_while_their_task_is_open_are_an_error(compilations: list) -> None:
    load()
    opened = load()
    expected = opened.textures.pixels.copy()
    opened.textures.let_go()
    np.testing.assert_array_equal(opened.textures.pixels, expected)
    assert opened.textures._lent() is None  # nobody has them now
    assert opened.place is not None
    (file,) = opened.place.glob("*.rgb")
    os.truncate(file, 100)
    with pytest.raises(EnvironmentDiedError, match=r"\.rgb: changed or deleted while its task was open"):
        opened.textures.fields()


def test_threads_share_the_textures_that_they_need_at_the_same_time(compilations: list) -> None:
    load()
    opened = load()
    opened.textures.let_go()
    one = opened.textures.fields()["tex_data"]
    assert opened.textures.fields()["tex_data"] is one


def test_another_tasks_files_in_a_bundles_folder_are_compiled_again(compilations: list) -> None:
    load()
    (place,) = (cache_folder() / "bundles").iterdir()
    other = libero_tasks.get_task("libero_object", 1)
    shutil.copytree(place, locations.bundle_folder(other))
    assert cache.find_bundle(other) is None
    load_bundle(other)
    assert compilations == [(0, 0), (1, 0)]
    assert cache.find_bundle(other) is not None


def test_a_task_that_another_process_compiles_is_waited_for_and_then_read(
    compilations: list, compiled: TaskBundle, tmp_path: Path
) -> None:
    place = locations.bundle_folder(libero_tasks.get_task(*TASK))
    (tmp_path / "locks").mkdir()
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / "locks" / f"{place.name}.lock"):  # its files exclude threads too
            opened = pool.submit(load)
            with pytest.raises(FuturesTimeoutError):
                opened.result(timeout=0.3)
            write_bundle(place, compiled)
        assert opened.result(timeout=60).place == place
    assert compilations == []


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.EROFS])
def test_a_task_is_compiled_where_no_lock_is_to_be_had(
    compilations: list, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def no_lock(self: FileLock) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(FileLock, "_acquire", no_lock)
    load_twice()
    assert len(compilations) == 1


def test_a_cache_that_cannot_be_written_is_done_without(
    compilations: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("TTRL_CACHE", str(file))
    with pytest.warns(CacheWarning) as said:
        load_twice()
    assert "file/bundles cannot be written to (Not a directory); make room" in str(said[0].message)
    assert len(said) == 1
    assert len(compilations) == 2


def test_without_a_home_there_is_no_cache(compilations: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TTRL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(NoCacheError, match=r"no cache folder .*; set TTRL_CACHE to one"):
        cache_folder()
    with pytest.warns(CacheWarning, match="set TTRL_CACHE to one") as said:
        assert load() is not None
    assert len(said) == 1
    assert cli.main(["cache"]) == 2


def test_a_disk_that_fills_up_leaves_nothing_behind(
    compilations: list, compiled: TaskBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "probe", compiled)
    limit = max(file.stat().st_size for file in (tmp_path / "probe").iterdir()) - 1
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))  # the larger file does not fit
    try:
        with pytest.warns(CacheWarning, match="File too large"):
            assert load() is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    (place,) = (tmp_path / "bundles").iterdir()
    assert list(place.iterdir()) == []


def test_what_killed_writers_leave_is_no_task_and_goes_with_the_next_write(
    compilations: list, capsys: pytest.CaptureFixture
) -> None:
    place = locations.bundle_folder(libero_tasks.get_task(*TASK))
    (place / "writing-of-an-older-version").mkdir(parents=True)
    (place / "writing-of-an-older-version" / "model.mjb").write_bytes(b"half")
    child = os.fork()
    if child == 0:
        with files._replacing(place / "model.mjb") as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(place.iterdir())) == 2
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0 compiled tasks, 0.0 GB")
    with files._replacing(place / "somebody") as file:  # who is still writing
        load()
        assert os.path.exists(file.name)
    assert not [path for path in place.iterdir() if path.name.startswith("writing-")]
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("1 compiled tasks")


def test_clearing_follows_no_links_and_leaves_what_is_no_bundle(compilations: list, tmp_path: Path) -> None:
    load()
    bundles = tmp_path / "bundles"
    (place,) = bundles.iterdir()
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    (bundles / f"libero_goal-0-{16 * '0'}").symlink_to(tmp_path / "missing")
    (bundles / "thesis").mkdir()
    (bundles / "notes.txt").write_text("mine")
    assert clear_cache() == 1
    assert sorted(path.name for path in bundles.iterdir()) == ["notes.txt", "thesis"]
    assert (elsewhere / "bundle.npz").exists()


def test_the_key_changes_with_what_is_in_the_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = libero_tasks.get_task(*TASK)
    assets = tmp_path / "assets"
    (assets / "bowl").mkdir(parents=True)
    xml, mesh = assets / "bowl" / "bowl.xml", assets / "bowl" / "bowl.stl"
    xml.write_text("<geom mass='0.1'/>")
    mesh.write_bytes(b"vertices")
    os.utime(mesh, (1, 1))
    keys = {bundle_key(task, 0)}
    (tmp_path / "config.yaml").write_text(f"assets: {assets}\n")
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    keys.add(bundle_key(task, 0))
    times = xml.stat()
    xml.write_text("<geom mass='0.2'/>")
    os.utime(xml, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    keys.add(bundle_key(task, 0))
    mesh.write_bytes(b"moved on")
    keys.add(bundle_key(task, 0))
    mesh.rename(assets / "bowl" / "other.stl")
    keys.add(last := bundle_key(task, 0))
    assert len(keys) == 5
    assets.rename(tmp_path / "moved")
    (tmp_path / "config.yaml").write_text(f"assets: {tmp_path / 'moved'}\n")
    assert bundle_key(task, 0) == last


def test_assets_that_changed_after_libero_was_imported_are_refused(
    simulation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "config.yaml").write_text(f"assets: {tmp_path / 'assets'}\n")
    compiler.bundle_of(simulation.domain)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    with pytest.raises(UnsupportedTaskError, match=r"not in LIBERO's assets .*start a new process"):
        compiler.bundle_of(simulation.domain)


def test_the_key_changes_with_whatever_changes_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = libero_tasks.get_task(*TASK), libero_tasks.get_task("libero_object", 1)
    keys = {bundle_key(one, 0), bundle_key(one, 1), bundle_key(other, 0)}
    versions = locations._versions()
    for name in versions:
        with monkeypatch.context() as changed:
            changed.setattr(locations, "_versions", lambda name=name: {**versions, name: "0.0"})
            keys.add(bundle_key(one, 0))
    monkeypatch.setattr(locations, "FORMAT_VERSION", 0)
    keys.add(bundle_key(one, 0))
    assert len(keys) == 3 + len(versions) + 1


def test_environments_of_a_process_share_a_bundle_until_none_is_left(compilations: list) -> None:
    load()
    first = load()  # from the files: nobody else holds this one
    assert load_bundle(libero_tasks.get_task(*TASK)) is first
    del first
    gc.collect()
    assert not cache._OPEN
    assert load_bundle(libero_tasks.get_task(*TASK)) is not None
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
