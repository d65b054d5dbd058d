"""`ttrl robotwin check`: what is missing for playing, and what to do. Stand-ins answer as interpreters do."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.ttrl_env.robotwin.stand_ins import WHOLE, interpreter
from ttrl_env.errors import MissingDependencyError, TTRLError
from ttrl_env.robotwin import engine
from ttrl_env.robotwin.assets import ASSETS_VARIABLE, RUNTIME_VARIABLE
from ttrl_env.robotwin.catalogue import TASKS
from ttrl_env.robotwin.checkup import checks
from ttrl_env.robotwin.config import RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.processes import Played


@pytest.fixture(autouse=True)
def _no_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ASSETS_VARIABLE, raising=False)
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)


def _check(
    python: Path | str, assets: Path | str | None = None, tasks: tuple[str, ...] = ()
) -> dict[str, str]:
    """What each check said; a failed one's text begins with its error."""
    said = {}
    for name, check in checks(str(python), None if assets is None else str(assets), tasks):
        try:
            said[name] = check()
        except TTRLError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def _assets(root: Path, *objects: str) -> Path:
    """A folder of assets with a robot, textures, clutter and the named objects, all empty."""
    robot = root / "assets/embodiments/aloha-agilex"
    robot.mkdir(parents=True)
    (robot / "config.yml").touch()
    for name in ("seen", "unseen"):
        (root / "assets/background_texture" / name).mkdir(parents=True)
        (root / "assets/background_texture" / name / "0.png").touch()
    for name in ("objaverse", *objects):
        (root / "assets/objects" / name).mkdir(parents=True)
    for name in ("objaverse/list.json", "same.json"):
        (root / "assets/objects" / name).touch()
    return root


def _python(tmp_path: Path, **changes: Any) -> Path:
    return interpreter(tmp_path / "python", {**deepcopy(WHOLE), **changes})


def test_nothing_is_missing(tmp_path) -> None:
    every = {name for task in TASKS for name in task.objects}
    said = _check(_python(tmp_path), _assets(tmp_path, *every))
    assert list(said) == ["interpreter", "runtime", "Vulkan", "robot", "objects", "demo_randomized"]
    assert said["interpreter"] == f"Python 3.11.9, {tmp_path}/python"
    assert said["runtime"].startswith("rlinf-robotwin-runtime 0.1.3, sapien 3.0.3")
    assert said["Vulkan"].startswith("llvmpipe (LLVM 19); it draws on the processor")
    assert said["objects"] == "those of all fifty tasks"
    assert not any("Error" in text for text in said.values())


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_what_is_no_python_leaves_the_assets_to_be_checked(python, tmp_path) -> None:
    said = _check(python, _assets(tmp_path), ("stack_blocks_two",))
    assert list(said) == ["interpreter", "robot", "objects", "demo_randomized"]
    assert said["interpreter"].startswith(f"MissingDependencyError: {python} ")


def test_a_driver_that_ends_the_process_is_told_with_its_words(tmp_path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'vk: broken driver' >&2\nkill -SEGV $$\n")
    script.chmod(0o755)
    assert "ended with -11 before it had said what it has: vk: broken driver" in _check(script)["interpreter"]


def test_the_wrong_python_is_refused(tmp_path) -> None:
    said = _check(_python(tmp_path, python="3.13.1"))
    assert "UnsupportedVersionError: RoboTwin's runtime needs Python 3.10 or 3.11" in said["interpreter"]
    assert "is 3.13.1. `ttrl robotwin setup` makes" in said["interpreter"]


def test_a_missing_runtime_is_named(tmp_path) -> None:
    versions = {"rlinf-robotwin-runtime": None, "sapien": None, "numpy": "2.4.0"}
    said = _check(_python(tmp_path, versions=versions, vulkan={"error": "ModuleNotFoundError: sapien"}))
    assert "has no rlinf-robotwin-runtime, sapien. `ttrl robotwin setup`" in said["runtime"]
    assert "no device to draw with (ModuleNotFoundError: sapien)" in said["Vulkan"]


def test_a_runtime_that_cannot_be_imported_is_told_with_its_error(tmp_path) -> None:
    said = _check(_python(tmp_path, import_error="ImportError: libGL.so.1"))
    assert "cannot be imported: ImportError: libGL.so.1. `ttrl robotwin setup`" in said["runtime"]


def test_no_vulkan_device_names_the_packages(tmp_path) -> None:
    said = _check(_python(tmp_path, vulkan={"error": "RuntimeError: failed to find a rendering device"}))
    assert "(RuntimeError: failed to find a rendering device)" in said["Vulkan"]
    for advice in ("NVIDIA's own", "Mesa 25", "mesa-vulkan-drivers", "bookworm-backports", "22.3 is too old"):
        assert advice in said["Vulkan"]


def test_without_assets_it_says_where_to_get_them_and_how_large_they_are(tmp_path) -> None:
    said = _check(_python(tmp_path))
    assert list(said)[-1] == "robot"
    for part in ("env.robotwin.assets", ASSETS_VARIABLE, "TianxingChen/RoboTwin2.0", "objects.zip (3.7 GB)"):
        assert part in said["robot"]
    assert f"`{tmp_path}/robotwin-download-assets --output FOLDER`" in said["robot"]


def test_either_variable_names_the_assets(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, str(_assets(tmp_path / "runtime")))
    assert _check(_python(tmp_path))["robot"].startswith(str(tmp_path / "runtime"))
    monkeypatch.setenv(ASSETS_VARIABLE, str(tmp_path / "gone"))
    assert f"{ASSETS_VARIABLE}: expected a folder with " in _check(_python(tmp_path))["robot"]


def test_the_folder_above_assets_is_asked_for(tmp_path) -> None:
    root = _assets(tmp_path / "pack")
    assert f"Name the folder above it, {root}" in _check(_python(tmp_path), root / "assets")["robot"]


def test_missing_objects_are_named_with_the_tasks_that_need_none(tmp_path) -> None:
    root = _assets(tmp_path / "pack", "001_bottle")
    said = _check(_python(tmp_path), root)["objects"]
    assert f"{root}/assets/objects has no 002_bowl, 003_plate" in said
    assert "001_bottle" not in said
    playable = said.partition("without them: ")[2]
    assert {"stack_blocks_two", "handover_block", "shake_bottle"} <= set(playable.split(", "))
    assert "turn_switch" not in playable


def test_tasks_whose_objects_are_there_can_be_asked_for(tmp_path) -> None:
    root = _assets(tmp_path / "pack", "001_bottle")
    tasks = ("stack_blocks_two", "shake_bottle")
    assert _check(_python(tmp_path), root, tasks)["objects"] == "those of stack_blocks_two, shake_bottle"


def test_what_demo_randomized_lacks_is_named(tmp_path) -> None:
    root = _assets(tmp_path / "pack")
    (root / "assets/background_texture/unseen/0.png").unlink()
    (root / "assets/objects/same.json").unlink()
    said = _check(_python(tmp_path), root)["demo_randomized"]
    assert (
        f"{root} has no assets/background_texture/unseen, assets/objects/same.json, which task_config="
        in said
    )


def _start(python: Path, assets: Path, task_config: str = "demo_randomized") -> None:
    """Make an engine of a stand-in; it would not get further than its workers."""
    config = RoboTwinConfig(num_rows=1, python=str(python), assets=str(assets), task_config=task_config)
    RoboTwinEngine(config, played=Played(factory="", distributions=(), pythons=("3.11",), needs_assets=True))


def test_an_engine_starts_no_worker_without_assets_or_vulkan_device(tmp_path, monkeypatch) -> None:
    def start(config: RoboTwinConfig, *others: Any) -> None:
        raise RuntimeError(f"started with {config.assets}")

    monkeypatch.setattr(engine, "Workers", start)
    root = _assets(tmp_path / "pack")
    with pytest.raises(
        MissingDependencyError, match=r"^assets: expected a folder with .*objects.zip \(3.7 GB"
    ):
        _start(_python(tmp_path), tmp_path / "nothing")
    with pytest.raises(MissingDependencyError, match=r"no device to draw with \(none\).*mesa-vulkan-drivers"):
        _start(_python(tmp_path, vulkan={"error": "none"}), root)
    (root / "assets/objects/same.json").unlink()
    with pytest.raises(MissingDependencyError, match=r"same.json, which task_config=demo_randomized draws"):
        _start(_python(tmp_path), root)
    with pytest.raises(RuntimeError, match=f"started with {root}"):
        _start(_python(tmp_path), root, "demo_clean")
