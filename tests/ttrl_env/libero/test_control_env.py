"""Our ControlEnv and OffScreenRenderEnv against LIBERO's, and what ours do by themselves."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.ttrl_env.libero.episodes import arguments, assert_same, play, start_state
from tests.ttrl_env.stove import SUCCESS_STEPS, SUITE, TASK_ID
from ttrl_env import tasks
from ttrl_env.engines.interface import SETTLE_ACTION

pytestmark = pytest.mark.libero

AGENTVIEW, WRIST = "agentview_image", "robot0_eye_in_hand_image"

ONE_TASK_A_SUITE = [
    (SUITE, TASK_ID),  # a knob that turns by itself, past the burner's threshold
    ("libero_spatial", 4),  # a drawer opened by a sampler, an object in it, fixtures on sites
    ("libero_object", 3),
    ("libero_10", 8),  # a stove burning from the start
    ("libero_90", 35),  # a microwave
]


@pytest.mark.thorough
@pytest.mark.parametrize(("suite", "task_id"), ONE_TASK_A_SUITE)
def test_episodes_equal_libero_s(suite: str, task_id: int) -> None:
    from ttrl_env.libero import OffScreenRenderEnv, upstream

    theirs = play(upstream.OffScreenRenderEnv, suite, task_id, num_steps=12)
    assert_same(play(OffScreenRenderEnv, suite, task_id, num_steps=12), theirs)


@pytest.mark.all_tasks
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    "suite", ["libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90"]
)
def test_episodes_of_every_task_equal_libero_s(suite: str) -> None:
    from ttrl_env.libero import OffScreenRenderEnv, upstream

    for task_id in range(tasks.get_suite(suite).num_tasks):
        theirs = play(upstream.OffScreenRenderEnv, suite, task_id, num_steps=60)
        assert_same(play(OffScreenRenderEnv, suite, task_id, num_steps=60), theirs)


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    """Our environment of the stove, which tests reset as they need it."""
    from ttrl_env.libero import OffScreenRenderEnv

    env = OffScreenRenderEnv(**arguments())
    assert env.is_native
    yield env
    env.close()


def begin(env: Any, index: int = 0) -> Any:
    env.seed(0)
    env.reset()
    return env.set_init_state(start_state(index=index))


def test_success_is_reported_in_each_step_and_does_not_end_the_episode(env: Any) -> None:
    begin(env)
    for _ in SETTLE_ACTION[:1] * 10:
        env.step(SETTLE_ACTION)
    outcomes = [env.step(SETTLE_ACTION)[1:3] for _ in range(5)]
    failures = SUCCESS_STEPS[0] - 1
    assert outcomes == [(0.0, False)] * failures + [(1.0, True)] * (5 - failures)
    assert env.check_success()


def test_an_image_read_late_equals_one_read_at_once(env: Any) -> None:
    begin(env)
    at_once = [env.step(SETTLE_ACTION)[0][AGENTVIEW] for _ in range(3)]
    begin(env)
    kept = [env.step(SETTLE_ACTION)[0] for _ in range(3)]
    begin(env, index=2)  # fixtures and burners are others now
    for image, observation in zip(at_once, kept, strict=True):
        np.testing.assert_array_equal(observation[AGENTVIEW], image)


def test_images_that_nobody_reads_are_not_rendered(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env.libero import observation as module
    from ttrl_env.libero.painting import start_image

    rendered = []

    def noting(bundle: Any, sample: Any, camera: str, image_size: int) -> Any:
        rendered.append(camera)
        return start_image(bundle, sample, camera, image_size)

    monkeypatch.setattr(module, "start_image", noting)
    observation = begin(env)
    assert "agentview_image" in observation
    assert observation["object-state"].shape == (4 * 14,)
    assert list(observation)[:1] == ["robot0_joint_pos"]
    assert rendered == []
    assert observation[WRIST] is observation[WRIST]
    assert rendered == ["robot0_eye_in_hand"]


def test_an_observation_can_be_read_after_its_environment_was_closed() -> None:
    from ttrl_env.libero import OffScreenRenderEnv

    env = OffScreenRenderEnv(**arguments())
    kept, image = begin(env), begin(env)[AGENTVIEW]
    env.close()
    np.testing.assert_array_equal(kept[AGENTVIEW], image)


def test_observations_are_ordered_dictionaries(env: Any) -> None:
    observation = begin(env)
    expected = [(key, observation[key]) for key in observation.copy()]
    assert isinstance(observation, OrderedDict)
    made = [dict(begin(env)), {**begin(env)}, OrderedDict(begin(env)), begin(env) | {}, {} | begin(env)]
    made += [dict(begin(env).items()), dict(zip(begin(env), begin(env).values(), strict=True))]
    made += [copy.copy(begin(env)), copy.deepcopy(begin(env)), pickle.loads(pickle.dumps(begin(env)))]
    updated: dict[str, Any] = {}
    updated.update(begin(env))
    for each in (*made, updated):
        assert_same([("", dict(each))], [("", dict(expected))])
    assert type(pickle.loads(pickle.dumps(begin(env)))) is OrderedDict


def test_observations_can_be_changed_like_dictionaries(env: Any) -> None:
    observation = begin(env)
    image = begin(env)[WRIST]
    np.testing.assert_array_equal(observation.pop(WRIST), image)
    assert WRIST not in observation
    assert observation.pop(WRIST, None) is observation.get(WRIST) is None
    assert observation.setdefault("note", 1) == observation["note"] == 1
    last, value = observation.popitem()
    assert (last, value) == ("note", 1)
    assert observation.setdefault("robot0_eef_pos").shape == (3,)
    with pytest.raises(KeyError, match="nothing"):
        observation["nothing"]


def test_the_step_after_the_horizon_raises() -> None:
    from ttrl_env.libero import ControlEnv

    env = ControlEnv(**arguments(use_camera_obs=False, has_offscreen_renderer=False, horizon=2))
    observation = begin(env)
    assert not [key for key in observation if key.endswith("_image")]
    env.step(SETTLE_ACTION)
    env.step(SETTLE_ACTION)
    with pytest.raises(ValueError, match="executing action in terminated episode"):
        env.step(SETTLE_ACTION)
    env.reset()
    env.step(SETTLE_ACTION)
    env.close()


def test_an_action_of_another_length_is_refused(env: Any) -> None:
    begin(env)
    with pytest.raises(AssertionError, match="expected 7, got 6"):
        env.step([0.0] * 6)


def test_a_reset_whose_objects_overlap_is_tried_again(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env.libero.scene import Scene
    from ttrl_env.libero.upstream import RandomizationError

    attempts = []
    place_objects = Scene.place_objects

    def failing_twice(scene: Scene, site_xpos: Any) -> Any:
        attempts.append(1)
        if len(attempts) < 3:
            raise RandomizationError("Cannot place all objects ):")
        return place_objects(scene, site_xpos)

    monkeypatch.setattr(Scene, "place_objects", failing_twice)
    env.reset()
    assert len(attempts) == 3


def test_other_errors_of_a_reset_are_raised(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env.libero.scene import Scene

    def failing(scene: Scene, site_xpos: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Scene, "place_objects", failing)
    with pytest.raises(KeyboardInterrupt):
        env.reset()


def test_images_from_before_the_first_reset_are_refused() -> None:
    from ttrl_env.libero import OffScreenRenderEnv

    env = OffScreenRenderEnv(**arguments())
    observation = env.set_init_state(start_state())  # as RLinf once did
    assert observation["robot0_eef_pos"].shape == (3,)
    with pytest.raises(RuntimeError, match=r"agentview_image: .* call reset\(\) first"):
        observation[AGENTVIEW]
    env.close()


@pytest.mark.parametrize("path", ["sim.model", "robots[0].gripper", "robots[0].controller.kp", "env.model"])
def test_what_has_no_counterpart_is_refused_by_name(env: Any, path: str) -> None:
    with pytest.raises(AttributeError, match=path.replace("[", r"\[") + " is not covered"):
        eval(f"env.{path}", {"env": env})


def test_absolute_actions_are_refused(env: Any) -> None:
    env.robots[0].controller.use_delta = True
    with pytest.raises(NotImplementedError, match="absolute actions"):
        env.robots[0].controller.use_delta = False


def test_environments_of_one_task_share_its_model() -> None:
    from ttrl_env.libero import OffScreenRenderEnv

    envs = [OffScreenRenderEnv(**arguments()) for _ in range(2)]
    one, two = (env.env._shared for env in envs)
    assert one is two
    for env in envs:
        env.close()


def test_the_observations_of_the_reset_and_of_the_state_after_it_differ(env: Any) -> None:
    env.seed(0)
    first = env.reset()
    second = env.set_init_state(start_state())
    assert (first["object-state"] != second["object-state"]).any()
    np.testing.assert_array_equal(env.get_sim_state(), start_state())
