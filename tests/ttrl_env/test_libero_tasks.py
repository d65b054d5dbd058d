from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.contract.counting_engine import counting
from ttrl_env import libero_tasks, tasks
from ttrl_env.engines.native.task import locations
from ttrl_env.errors import MissingDependencyError, UnknownNameError
from ttrl_env.registration import env_id
from ttrl_env.suites import LIBERO_SUITES
from ttrl_env.vector_env import TTRLVectorEnv

ALL_TASKS = [(name, task_id) for name, suite in LIBERO_SUITES.items() for task_id in range(suite.num_tasks)]


def test_catalogue_has_130_libero_and_160_libero_pro_tasks() -> None:
    base = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
    assert sum(LIBERO_SUITES[name].num_tasks for name in base) == 130
    assert len(LIBERO_SUITES) == 5 + 16
    assert len(ALL_TASKS) == 130 + 160
    assert len({suite.gym_name for suite in LIBERO_SUITES.values()}) == 21


def test_catalogue_is_that_of_the_installed_libero() -> None:
    for suite in LIBERO_SUITES.values():
        assert libero_tasks._benchmark(suite.name).get_num_tasks() == suite.num_tasks


@pytest.mark.parametrize("suite", LIBERO_SUITES)
def test_every_task_resolves(suite: str) -> None:
    for task_id in range(LIBERO_SUITES[suite].num_tasks):
        task = libero_tasks.get_task(suite, task_id)
        assert task.bddl_file.is_file()
        assert len(task.instruction.split()) >= 3
        assert task.instruction == task.instruction.strip()
        assert "_" not in task.instruction
        assert "SCENE" not in task.instruction
        states = libero_tasks.init_states(suite, task_id)
        assert states.shape[0] == 50
        assert states.dtype == np.float64
        assert np.isfinite(states).all()


@pytest.mark.parametrize(
    ("name", "liberos"), [("libero_long", "libero_10"), ("libero_long_swap", "libero_10_swap")]
)
def test_libero_long_is_libero_10_wherever_a_suite_is_named(name: str, liberos: str) -> None:
    assert tasks.get_suite(name) is LIBERO_SUITES[liberos]
    assert libero_tasks.get_task(name, 3) == libero_tasks.get_task(liberos, 3)
    np.testing.assert_array_equal(libero_tasks.init_states(name, 3), libero_tasks.init_states(liberos, 3))
    assert env_id(name, 3) == env_id(liberos, 3)
    envs = TTRLVectorEnv(name, image_size=8, engine=counting())
    assert envs.suite.name == envs.engine.config.suite == liberos
    assert envs.max_steps == 520


def test_a_suite_that_resembles_libero_long_is_still_unknown() -> None:
    with pytest.raises(UnknownNameError, match="no such name 'libero_longer'"):
        tasks.get_suite("libero_longer")


def test_default_horizons_are_those_of_the_published_protocol() -> None:
    horizons = {name: LIBERO_SUITES[name].horizon for name in list(LIBERO_SUITES)[:5]}
    assert horizons == {
        "libero_spatial": 220,
        "libero_object": 280,
        "libero_goal": 300,
        "libero_10": 520,
        "libero_90": 400,
    }


def test_instruction_comes_from_the_file_name_and_for_reworded_suites_from_the_task_file() -> None:
    assert libero_tasks.get_task("libero_90", 0).instruction == "close the top drawer of the cabinet"
    original = libero_tasks.get_task("libero_goal", 7)
    reworded = libero_tasks.get_task("libero_goal_lan", 7)
    assert original.instruction == "turn on the stove"
    assert reworded.instruction != original.instruction
    assert reworded.instruction in " ".join(reworded.bddl_file.read_text().split())


def test_training_and_held_out_states_are_disjoint_and_complete() -> None:
    train = tasks.init_state_ids("libero_spatial", 0, "train")
    held_out = tasks.init_state_ids("libero_spatial", 0, "held_out")
    assert train == tuple(range(40))
    assert held_out == tuple(range(40, 50))
    assert tasks.init_state_ids("libero_spatial", 0, "all") == train + held_out
    assert tasks.init_state_ids("libero_spatial", 0, [7, 3]) == (7, 3)


def test_initial_states_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        libero_tasks.init_states("libero_spatial", 0)[0, 0] = 1.0


def test_unknown_names_are_refused_with_what_exists() -> None:
    with pytest.raises(
        UnknownNameError, match=r"no such name 'libero_spatail'.*Did you mean 'libero_spatial'"
    ):
        tasks.get_suite("libero_spatail")
    with pytest.raises(ValueError, match="libero_spatial has tasks 0 to 9, got 10"):
        libero_tasks.get_task("libero_spatial", 10)
    with pytest.raises(TypeError, match="task_id: expected an integer, got '0'"):
        libero_tasks.get_task("libero_spatial", "0")
    with pytest.raises(ValueError, match=r"initial states 0 to 49, got \[50\]"):
        tasks.init_state_ids("libero_spatial", 0, [3, 50])
    with pytest.raises(UnknownNameError, match=r"'held-out'.*Did you mean 'held_out'"):
        tasks.init_state_ids("libero_spatial", 0, "held-out")  # type: ignore[arg-type]


def test_missing_assets_are_reported_with_the_settings_that_name_them(tmp_path, monkeypatch) -> None:
    (tmp_path / "config.yaml").write_text(f"assets: {tmp_path / 'nowhere'}\n")
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"nowhere is not a folder.*config\.yaml: correct that"):
        libero_tasks.require_libero()


def test_missing_libero_is_reported_with_the_install_line(monkeypatch) -> None:
    libero_tasks._libero.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ttrl-env\[libero\]'"):
        libero_tasks.require_libero()
    monkeypatch.undo()
    libero_tasks._libero.cache_clear()


@pytest.mark.libero
@pytest.mark.all_tasks
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("suite", "task_id"), ALL_TASKS)
def test_every_task_constructs_and_steps(suite: str, task_id: int) -> None:
    _construct_and_step(suite, task_id)


@pytest.mark.libero
@pytest.mark.thorough  # the README's loop plays a task of LIBERO-PRO
@pytest.mark.parametrize(("suite", "task_id"), [("libero_object_swap", 3)])
def test_sampled_tasks_construct_and_step(suite: str, task_id: int) -> None:
    _construct_and_step(suite, task_id)


def _construct_and_step(suite: str, task_id: int) -> None:
    from ttrl_env.single_env import LiberoEnv

    env = LiberoEnv(suite, task_id, image_size=64, cameras=("agentview", "robot0_eye_in_hand"))
    observation, _ = env.reset(seed=0)
    assert observation["agentview_image"].std() > 10
    assert observation["robot0_eye_in_hand_image"].std() > 10
    for _ in range(2):
        observation, _, _, truncated, info = env.step(np.full(7, 0.1))
    assert env.observation_space.contains(observation)
    assert not truncated, info["failure"]
    env.close()


PYPIS_LIBERO = """
import os, yaml
libero_config_path = os.environ.get("LIBERO_CONFIG_PATH", os.path.expanduser("~/.libero"))
config_file = os.path.join(libero_config_path, "config.yaml")
def get_libero_path(key):
    with open(config_file) as file:
        return yaml.safe_load(file)[key]
if not os.path.exists(libero_config_path):
    os.makedirs(libero_config_path)
if not os.path.exists(config_file):
    root = os.path.dirname(os.path.abspath(__file__))
    if input("Do you want to specify a custom path for the dataset folder? (Y/N): ").lower() == "y":
        raise AssertionError("answered yes")
    with open(config_file, "w") as file:
        yaml.safe_dump({key: root + "/" + key for key in ("bddl_files", "init_states", "assets")}, file)
"""

PLAY_PYPIS_LIBERO = """
from pathlib import Path
from ttrl_env import libero_tasks, tasks
from ttrl_env.errors import MissingDependencyError
libero_tasks.require_libero()  # asks nothing
config = Path(libero_tasks._libero().config_file)
for stale in ("bddl_files: /gone", "- 3", "bddl_files: 3", "a: ["):
    config.write_text(stale)
    try:
        libero_tasks.require_libero()
    except MissingDependencyError as error:
        assert str(config) in str(error), error
        assert "delete it if it is stale" in str(error), error
    else:
        raise AssertionError(stale)
print("ok")
"""


def run_with_libero_at(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code for which the folder's ``libero`` is the one that is installed; nobody answers questions."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "LIBERO_CONFIG_PATH": str(folder / "settings"),
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_pypis_libero_is_not_waited_for_and_its_stale_settings_are_named(tmp_path: Path) -> None:
    package = tmp_path / "libero" / "libero"
    for folder in ("bddl_files", "init_states", "assets", "benchmark"):
        (package / folder).mkdir(parents=True)
    (tmp_path / "libero" / "__init__.py").touch()
    (package / "__init__.py").write_text(PYPIS_LIBERO)
    (package / "benchmark" / "__init__.py").touch()
    done = run_with_libero_at(tmp_path, PLAY_PYPIS_LIBERO)
    assert done.stdout == "ok\n", done.stderr


def test_assets_that_libero_fetches_itself_are_found_where_it_puts_them(tmp_path: Path) -> None:
    package, fetched = tmp_path / "libero" / "libero", tmp_path / "hub"
    for folder in (*(package / name for name in ("bddl_files", "init_states", "benchmark")), fetched):
        folder.mkdir(parents=True)
    for name in ("libero/__init__.py", "libero/libero/benchmark/__init__.py"):
        (tmp_path / name).touch()
    hf_libero = f"{PYPIS_LIBERO}\ndef get_assets_path():\n    return {str(fetched)!r}\n"
    (package / "__init__.py").write_text(hf_libero)
    code = "from ttrl_env.libero_tasks import *; require_libero(); print(folder_of('assets'))"
    done = run_with_libero_at(tmp_path, code)
    assert done.stdout == f"{fetched}\n", done.stderr


def test_a_folder_that_is_only_called_libero_is_named(tmp_path: Path) -> None:
    (tmp_path / "libero").mkdir()
    (tmp_path / "libero" / "__init__.py").touch()
    done = run_with_libero_at(tmp_path, "from ttrl_env import libero_tasks; libero_tasks.require_libero()")
    assert "MissingDependencyError: LIBERO cannot be imported (No module named" in done.stderr
    assert str(tmp_path / "libero") in done.stderr


def test_stale_settings_of_libero_are_named_by_whatever_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("init_states: /gone\nbddl_files: /gone\n")
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    for read in (libero_tasks.init_states, libero_tasks.get_task):
        read.cache_clear()
        with pytest.raises(MissingDependencyError, match=r"/gone is not a folder.*config\.yaml.*stale"):
            read("libero_goal", 3)


def test_a_libero_of_no_known_distribution_has_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "LIBERO_DISTRIBUTIONS", ("libero-of-nobody",))
    locations._versions.cache_clear()
    assert locations._versions()["libero"] == "of no known distribution"
    locations._versions.cache_clear()
