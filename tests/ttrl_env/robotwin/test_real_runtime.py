"""RoboTwin's real runtime plays its box tasks: ``make test-robotwin``, with the interpreter that has it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

import ttrl_env  # noqa: F401  registers the environments
from benchmarks import robotwin_direct
from tests.ttrl_env.robotwin.altered_simulation import STEP_LIMIT, UNSTEADY_SEED
from tests.ttrl_env.robotwin.asset_pack import write_asset_pack
from ttrl_env.robotwin.catalogue import task_id_of
from ttrl_env.robotwin.config import RoboTwinCamera, RoboTwinConfig
from ttrl_env.robotwin.engine import RoboTwinEngine
from ttrl_env.robotwin.processes import RUNTIME, Played, find_python
from ttrl_env.robotwin.vector_env import RoboTwinVectorEnv

pytestmark = [pytest.mark.robotwin, pytest.mark.timeout(1200)]

TASKS = ("stack_blocks_two", "blocks_ranking_rgb", "handover_block")

ALTERED = Played(
    factory="altered_simulation:AlteredSimulation",
    distributions=RUNTIME.distributions,
    pythons=RUNTIME.pythons,
    folder=str(Path(__file__).parent),
)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_asset_pack(tmp_path_factory.mktemp("assets")))


@pytest.fixture(scope="module")
def two_workers(assets: str) -> Iterator[RoboTwinEngine]:
    """Two rows of a group, each in a process of its own, with everything randomised and all cameras."""
    cameras: tuple[RoboTwinCamera, ...] = ("head_camera", "left_camera", "right_camera")
    engine = RoboTwinEngine(
        RoboTwinConfig(num_rows=2, group_size=2, num_workers=2, assets=assets, cameras=cameras)
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def altered(assets: str) -> Iterator[RoboTwinEngine]:
    """One row of the simulation that makes success, limits and unsteadiness happen."""
    config = RoboTwinConfig(num_rows=1, num_workers=1, assets=assets, image_height=48, image_width=64)
    engine = RoboTwinEngine(config, played=ALTERED)
    yield engine
    engine.close()


def seen(engine: RoboTwinEngine) -> dict[str, NDArray[Any]]:
    return {key: array.copy() for key, array in engine.observations.items()}


def small_moves(engine: RoboTwinEngine, steps: int) -> NDArray[np.float64]:
    """Targets that move every arm joint a little from where it is, ``[rows, steps, 14]``; grippers stay."""
    growth = np.linspace(0.01, 0.05, steps)[:, None] * np.cos(np.arange(14.0))
    growth[:, [6, 13]] = 0.0
    return engine.observations["joint_state"][:, None] + growth


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_two_workers_start_and_play_alike_to_the_bit(two_workers: RoboTwinEngine, task: str) -> None:
    engine = two_workers
    engine.reset([0, 1], [task_id_of(task)] * 2, [3, 3])  # unequal digests raise
    first = seen(engine)
    assert engine.instructions[0] == engine.instructions[1] != ""
    assert engine.state(0) == engine.state(1)
    for key, array in first.items():
        np.testing.assert_array_equal(array[0], array[1], err_msg=key)
    assert first["head_camera_image"].std() > 10  # something is drawn

    actions = small_moves(engine, 3)
    result = engine.step([0, 1], actions, [3, 3])
    assert result.executed_steps.tolist() == [3, 3]
    assert not result.success.any()
    assert result.failure == [None, None]
    assert engine.state(0) == engine.state(1)
    for key, array in seen(engine).items():
        np.testing.assert_array_equal(array[0], array[1], err_msg=key)
        assert not np.array_equal(array, first[key]), key
    np.testing.assert_allclose(engine.observations["joint_state"], actions[:, -1], atol=1e-6)

    engine.reset([1], [task_id_of(task)], [3])
    for key, array in seen(engine).items():
        np.testing.assert_array_equal(array[1], first[key][1], err_msg=f"{key} after a second reset")


def test_a_worker_plays_what_the_runtime_plays(two_workers: RoboTwinEngine, assets: str) -> None:
    engine, task = two_workers, TASKS[0]
    engine.reset([0], [task_id_of(task)], [5])
    actions = small_moves(engine, 4)[:1]
    lines = [json.dumps(actions[0].tolist())]
    command = [find_python(None), "-I", robotwin_direct.__file__, assets, task, "demo_randomized", "100005"]
    told = subprocess.run(
        command,
        input="\n".join(lines) + "\n",
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        check=True,
    ).stdout
    answers = [json.loads(line) for line in told.splitlines()]

    assert engine.seeds[0] == 100_005
    for answer in answers:
        state = engine.state(0)
        assert state.qpos == answer["qpos"]
        assert set(map(tuple, state.object_poses.values())) <= set(map(tuple, answer["poses"]))
        assert engine.observations["joint_state"][0].tolist() == answer["joints"]
        image = engine.observations["head_camera_image"][0]
        assert hashlib.sha256(image.tobytes()).hexdigest() == answer["image"]
        engine.step([0], actions, [4])


@pytest.mark.parametrize("task", TASKS)
def test_success_is_reported_at_the_action_that_reaches_the_goal(altered: RoboTwinEngine, task: str) -> None:
    altered.reset([0], [task_id_of(task)], [1])
    result = altered.step([0], small_moves(altered, 5), [2])
    assert (result.executed_steps[0], result.success[0], result.failure[0]) == (2, False, None)
    altered.reset([0], [task_id_of(task)], [1])
    result = altered.step([0], small_moves(altered, 5), [5])
    assert (result.executed_steps[0], result.success[0], result.failure[0]) == (3, True, None)


def test_the_runtimes_own_limit_ends_the_row_as_a_failure(altered: RoboTwinEngine) -> None:
    altered.reset([0], [task_id_of(TASKS[0])], [1])
    for _ in range(STEP_LIMIT // 2):
        assert altered.step([0], small_moves(altered, 2), [2]).failure == [None]
    result = altered.step([0], small_moves(altered, 2), [2])
    assert result.executed_steps[0] == 0
    assert result.failure == [f"the runtime's limit of {STEP_LIMIT} steps"]


def test_a_seed_whose_objects_do_not_come_to_rest_is_passed_over(altered: RoboTwinEngine) -> None:
    altered.reset([0], [task_id_of(TASKS[0])], [UNSTEADY_SEED - 100_000])
    assert altered.seeds[0] == UNSTEADY_SEED + 100


def test_the_environment_rewards_a_group_that_succeeds(assets: str) -> None:
    envs = gym.make_vec(
        f"ttrl_env/RoboTwin-{TASKS[0]}-v0",
        num_envs=2,
        n_samples=2,
        chunk_steps=5,
        assets=assets,
        image_height=48,
        image_width=64,
        num_workers=1,
        autoreset_mode="disabled",
        engine=partial(RoboTwinEngine, played=ALTERED),
    )
    assert isinstance(envs, RoboTwinVectorEnv)
    observations, infos = envs.reset(seed=0)
    assert infos["seed"][0] == infos["seed"][1]
    assert (infos["seed"] % 100 == infos["init_state_id"] % 100).all()
    np.testing.assert_array_equal(observations["head_camera_image"][0], observations["head_camera_image"][1])

    still = np.repeat(observations["joint_state"][:, None], 5, axis=1)
    assert envs.action_space.contains(still)
    still[:, :, [0, 7]] += 0.01  # each action moves one joint a little further, which takes the least time
    _, rewards, terminations, truncations, infos = envs.step(still)
    assert terminations.tolist() == [True, True]
    assert truncations.tolist() == [False, False]
    assert infos["finish_step"].tolist() == [3, 3]
    np.testing.assert_allclose(rewards, 1 / (1 + 3 / envs.max_steps))
    envs.close()


def test_rows_of_one_worker_do_not_share_their_random_numbers(assets: str) -> None:
    """In the scenes of these two seeds lights change at random at every step of the simulation."""
    engine = RoboTwinEngine(
        RoboTwinConfig(num_rows=2, num_workers=1, assets=assets, image_height=48, image_width=64)
    )
    task = task_id_of(TASKS[0])
    engine.reset([0, 1], [task, task], [19, 47])
    beside = engine.step([0, 1], small_moves(engine, 2), [2, 2])
    images = seen(engine)["head_camera_image"]
    engine.reset([0], [task], [19])
    alone = engine.step([0], small_moves(engine, 2)[:1], [2])
    assert beside.executed_steps[0] == alone.executed_steps[0]
    np.testing.assert_array_equal(seen(engine)["head_camera_image"][0], images[0])
    engine.close()
