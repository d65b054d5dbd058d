"""The driven LIBERO environment against LIBERO driven the published way, bit for bit.

The reference is built afresh, seeded, reset once (which rebuilds its model) and renders every camera at
every step. Ours restores instead of rebuilding, and renders only what is returned.
"""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.ttrl_env.stove import SUCCESS_STEPS, SUITE, TASK_ID
from ttrl_env import libero_tasks
from ttrl_env.engines.interface import SETTLE_ACTION, EngineConfig
from ttrl_env.errors import ConfigError

pytestmark = pytest.mark.libero

CAMERAS = ("agentview", "robot0_eye_in_hand")


@dataclass
class Reference:
    """What LIBERO returned after settling (first) and after each action."""

    states: list[NDArray] = field(default_factory=list)
    observations: list[dict[str, NDArray]] = field(default_factory=list)
    site_rgba: list[NDArray] = field(default_factory=list)
    success: list[bool] = field(default_factory=list)
    body_pos: NDArray | None = None
    body_quat: NDArray | None = None


def drive_libero(suite: str, task_id: int, init_state_id: int, actions: NDArray, seed: int) -> Reference:
    """An episode as SimpleVLA-RL's protocol runs it: build, seed, reset, initial state, settle, act."""
    from libero.libero.envs import OffScreenRenderEnv

    np.random.seed(seed)  # what LIBERO samples while it is built must not matter
    with contextlib.redirect_stdout(io.StringIO()):
        env = OffScreenRenderEnv(
            bddl_file_name=str(libero_tasks.get_task(suite, task_id).bddl_file),
            camera_names=list(CAMERAS),
            camera_heights=64,
            camera_widths=64,
        )
    env.seed(0)
    env.reset()
    observation = env.set_init_state(libero_tasks.init_states(suite, task_id)[init_state_id])
    for _ in range(10):
        observation, _, done, _ = env.step(list(SETTLE_ACTION))
    reference = Reference(
        body_pos=np.array(env.sim.model.body_pos), body_quat=np.array(env.sim.model.body_quat)
    )
    for action in (None, *actions):
        if action is not None:
            observation, _, done, _ = env.step(action)
        reference.states.append(env.get_sim_state())
        reference.observations.append({key: np.array(value) for key, value in observation.items()})
        reference.site_rgba.append(np.array(env.sim.model.site_rgba))
        reference.success.append(bool(done))
    env.close()
    gc.collect()  # its GL contexts sit in reference cycles; free them while GL is up
    return reference


@contextlib.contextmanager
def simulation_of(suite: str, task_id: int, **config: Any) -> Iterator[Any]:
    from ttrl_env.engines.libero.environment import LiberoSimulation

    np.random.seed(99)
    config = {"suite": suite, "num_rows": 1, "image_size": 64, "cameras": CAMERAS, **config}
    simulation = LiberoSimulation(libero_tasks.get_task(suite, task_id), EngineConfig(**config))
    yield simulation
    simulation.close()


def actions_towards_the_table(num_steps: int) -> NDArray:
    """Random, but downwards, so that the arm touches what stands there."""
    actions = np.random.default_rng(0).uniform(-1, 1, (num_steps, 7))
    actions[:, 2] -= 0.6
    return actions


def assert_same_observation(simulation: Any, reference: dict[str, NDArray]) -> None:
    assert {f"{camera}_image" for camera in CAMERAS} < set(simulation.observation)
    for key, value in simulation.observation.items():
        np.testing.assert_array_equal(value, reference[key], err_msg=key)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("suite", "task_id"),
    [
        ("libero_spatial", 4),  # a drawer opened by a sampler, an object in it, fixtures on sites
        ("libero_10", 8),  # a stove burning from the start
    ],
)
def test_restoring_resets_equal_libero_s_rebuilding_ones(suite: str, task_id: int) -> None:
    actions = actions_towards_the_table(12)
    reference = drive_libero(suite, task_id, 3, actions, seed=1)
    with simulation_of(suite, task_id) as simulation:
        for _ in range(2):
            simulation.reset(3)
            state = simulation.state()
            np.testing.assert_array_equal(state.body_pos, reference.body_pos)
            np.testing.assert_array_equal(state.body_quat, reference.body_quat)
            np.testing.assert_array_equal(
                np.concatenate([[state.time], state.qpos, state.qvel]), reference.states[0]
            )
            assert_same_observation(simulation, reference.observations[0])
            for start in range(0, 12, 4):  # the images between are never rendered
                assert simulation.step(actions[start : start + 4], 99) == (4, False, None)
                state = simulation.state()
                np.testing.assert_array_equal(
                    state.qpos, reference.states[start + 4][1 : 1 + len(state.qpos)]
                )
                np.testing.assert_array_equal(state.qvel, reference.states[start + 4][1 + len(state.qpos) :])
                assert_same_observation(simulation, reference.observations[start + 4])
            simulation.reset(1)  # leave something behind for the next reset to clear
            simulation.step(actions[::-1], 7)


@pytest.mark.usefixtures("turning_stove")
def test_success_inside_a_chunk_is_seen_and_drawn_as_libero_does() -> None:
    actions = 0.2 * actions_towards_the_table(8)
    reference = drive_libero(SUITE, TASK_ID, 1, actions, seed=2)
    assert reference.success.index(True) == SUCCESS_STEPS[1] == 6
    with simulation_of(SUITE, TASK_ID) as simulation:
        for _ in range(2):
            simulation.reset(0)
            assert simulation.step(actions, 99) == (SUCCESS_STEPS[0], True, None)
            simulation.reset(2)
            assert simulation.step(actions, 99) == (8, False, None)
            simulation.reset(1)
            assert simulation.step(actions[:4], 99) == (4, False, None)
            assert_same_observation(simulation, reference.observations[4])
            assert simulation.step(actions[4:], 99) == (2, True, None)  # success at 6 of 8, images at 6 too
            assert_same_observation(simulation, reference.observations[6])
            np.testing.assert_array_equal(
                simulation._env.sim.model.site_rgba, reference.site_rgba[6]
            )  # burner
            simulation.step(actions[6:7], 99)  # rendering late must not have disturbed the simulation
            np.testing.assert_array_equal(
                simulation.state().qpos, reference.states[7][1 : 1 + len(simulation.state().qpos)]
            )
            assert_same_observation(simulation, reference.observations[7])


def test_details_of_a_simulation() -> None:
    with simulation_of("libero_object", 0, cameras=("agentview",)) as simulation:
        check_the_callers_random_numbers_are_left_alone(simulation)
        check_max_steps_cuts_a_chunk(simulation)
        check_divergence_ends_the_chunk_with_the_last_sound_observation(simulation)
        check_an_initial_state_of_the_wrong_length_is_refused(simulation)
        check_a_failing_reset_raises(simulation)
        check_a_seed_without_places_for_the_objects_is_refused(simulation)


def check_the_callers_random_numbers_are_left_alone(simulation: Any) -> None:
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    simulation.reset(0)
    np.testing.assert_array_equal(np.random.random(3), expected)


def check_max_steps_cuts_a_chunk(simulation: Any) -> None:
    simulation.reset(0)
    before = simulation.state().time
    assert simulation.step(np.zeros((8, 7)), 3) == (3, False, None)
    assert simulation.state().time - before == pytest.approx(3 / 20)


def check_divergence_ends_the_chunk_with_the_last_sound_observation(simulation: Any) -> None:
    simulation.reset(0)
    sound = {key: value.copy() for key, value in simulation.observation.items()}
    simulation._env.sim.data.qvel[:] = 1e11
    executed, success, failure = simulation.step(np.zeros((8, 7)), 99)
    assert executed == 1
    assert not success
    assert "diverged" in failure
    for key, value in simulation.observation.items():
        np.testing.assert_array_equal(value, sound[key])
    simulation.reset(0)
    assert simulation.step(np.zeros((2, 7)), 99) == (2, False, None)
    for key, value in sound.items():
        assert np.isfinite(simulation.observation[key]).all()
        assert value.shape == simulation.observation[key].shape


def check_an_initial_state_of_the_wrong_length_is_refused(simulation: Any) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(libero_tasks, "init_states", lambda suite, task_id: np.zeros((50, 500)))
        with pytest.raises(ValueError, match=r"initial states have 500 numbers, its model needs 1 \+"):
            simulation.reset(0)


def check_a_failing_reset_raises(simulation: Any) -> None:
    def fail() -> None:
        raise OSError("no such luck")

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(simulation.domain, "reset", fail)
        with pytest.raises(OSError, match="no such luck"):
            simulation.reset(0)


def check_a_seed_without_places_for_the_objects_is_refused(simulation: Any) -> None:
    from robosuite.utils.errors import RandomizationError

    def fail() -> None:
        raise RandomizationError("no place is left")

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(simulation.domain, "reset", fail)
        with pytest.raises(ConfigError, match=r"fixture_seed: with 0, .* overlap in all of 100"):
            simulation.reset(0)
