"""SubprocVectorEnv and DummyVectorEnv over our environments, against single ones and against LIBERO's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.ttrl_env.libero.episodes import (
    arguments,
    assert_same,
    in_a_fresh_process,
    play_libero_s_vector,
    play_vector,
    start_state,
)
from ttrl_env.engines.interface import SETTLE_ACTION

pytestmark = pytest.mark.libero

NUM_ENVS = 3


@functools.cache
def states() -> list[Any]:
    return [start_state(index=index) for index in range(NUM_ENVS)]


def make() -> Any:
    from ttrl_env.libero import OffScreenRenderEnv

    return OffScreenRenderEnv(**arguments())


@pytest.fixture(scope="module")
def envs() -> Iterator[Any]:
    from ttrl_env.libero import SubprocVectorEnv

    envs = SubprocVectorEnv([make] * NUM_ENVS)
    yield envs
    envs.close()


@pytest.mark.thorough
def test_a_vector_environment_equals_libero_s_processes() -> None:
    from ttrl_env.libero import SubprocVectorEnv, upstream

    two = states()[:2]  # LIBERO builds each of its environments several times
    envs = SubprocVectorEnv([make] * len(two))
    assert isinstance(envs, upstream.SubprocVectorEnv)
    assert_same(play_vector(envs, two), in_a_fresh_process(play_libero_s_vector, two))
    envs.close()


def test_each_environment_has_a_generator_of_its_own(envs: Any) -> None:
    envs.seed(5)
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    together = envs.reset()
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)
    for index, observation in enumerate(together):
        single = make()
        single.seed(5 + index)
        np.testing.assert_array_equal(single.reset()["object-state"], observation["object-state"])
        single.close()


def test_a_dummy_vector_environment_draws_from_the_common_generator() -> None:
    from ttrl_env.libero import DummyVectorEnv

    envs = DummyVectorEnv([make] * 2)
    envs.seed([1, 2])  # the second is what stays
    together = envs.reset()
    single = make()
    single.seed(2)
    for observation in together:
        # the resets of the two share one generator: the second goes on where the first stopped
        np.testing.assert_array_equal(single.reset()["object-state"], observation["object-state"])
    assert (together[0]["object-state"] != together[1]["object-state"]).any()
    envs.close()
    single.close()


def test_what_a_step_returns_is_stacked_as_by_libero(envs: Any) -> None:
    envs.reset()
    envs.set_init_state(states())
    observations, rewards, dones, infos = envs.step(np.tile(SETTLE_ACTION, (NUM_ENVS, 1)))
    assert (observations.dtype, observations.shape) == (np.dtype(object), (NUM_ENVS,))
    assert (rewards.dtype, dones.dtype) == (np.dtype(np.float64), np.dtype(bool))
    assert [info["env_id"] for info in infos] == [0, 1, 2]


def test_some_environments_can_be_addressed_by_id(envs: Any) -> None:
    envs.reset()
    envs.set_init_state(states())
    before = envs.get_sim_state()
    envs.step(np.tile(SETTLE_ACTION, (1, 1)), id=[1])
    after = envs.get_sim_state()
    assert [bool((one != other).any()) for one, other in zip(before, after, strict=True)] == [
        False,
        True,
        False,
    ]
    assert envs.set_init_state([states()[0]], id=2).shape == (1,)


def test_environments_step_at_the_same_time(envs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step waits for all environments only after each has begun."""
    from ttrl_env.libero.vector_envs import ThreadWorker

    log: list[str] = []

    def noting(method: Callable, name: str) -> Callable:
        def call(*arguments: Any, **keywords: Any) -> Any:
            log.append(name)
            return method(*arguments, **keywords)

        return call

    envs.reset()
    monkeypatch.setattr(ThreadWorker, "recv", noting(ThreadWorker.recv, "recv"))
    monkeypatch.setattr(ThreadWorker, "send", noting(ThreadWorker.send, "send"))
    envs.step(np.zeros((NUM_ENVS, 7)))
    assert log == ["send"] * NUM_ENVS + ["recv"] * NUM_ENVS


def test_the_rest_of_the_images_is_rendered_once_two_have_been_read(
    envs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttrl_env.libero import observation as module
    from ttrl_env.libero.painting import start_image

    rendered: list[str] = []

    def noting(bundle: Any, sample: Any, camera: str, image_size: int) -> Any:
        rendered.append(camera)
        return start_image(bundle, sample, camera, image_size)

    monkeypatch.setattr(module, "start_image", noting)
    first = envs.reset()
    images = [first[0]["agentview_image"]]
    assert len(rendered) == 1
    images.append(first[1]["agentview_image"])
    assert len(rendered) == NUM_ENVS
    second = envs.set_init_state(states())
    second[0]["agentview_image"]  # as all were wanted the last time, all are rendered now
    assert len(rendered) == 2 * NUM_ENVS
    third = envs.set_init_state(states())
    third[0]["agentview_image"]  # the last time only one was read
    assert len(rendered) == 2 * NUM_ENVS + 1
    assert set(rendered) == {"agentview"}


def test_waiting_for_some_environments_returns_those_that_are_ready() -> None:
    from ttrl_env.libero import SubprocVectorEnv

    envs = SubprocVectorEnv([make] * 2, wait_num=1)
    envs.reset()
    seen: set[int] = set()
    infos = envs.step(np.zeros((2, 7)))[3]
    seen.update(info["env_id"] for info in infos)
    while len(seen) < 2:
        seen.update(info["env_id"] for info in envs.step(None)[3])
    assert seen == {0, 1}
    envs.close()


def test_environments_that_are_not_covered_run_in_libero_s_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from ttrl_env.libero import FallbackWarning, OffScreenRenderEnv, SubprocVectorEnv, upstream

    started: list[int] = []
    monkeypatch.setattr(
        upstream.SubprocVectorEnv, "__init__", lambda self, env_fns, **kwargs: started.append(len(env_fns))
    )
    deep = [lambda: OffScreenRenderEnv(**arguments(camera_depths=True))] * 2
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    with pytest.warns(FallbackWarning, match="camera_depths=True"):
        SubprocVectorEnv([make, *deep])
    assert started == [3]
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)


def test_an_environment_s_error_is_raised_in_the_caller(envs: Any) -> None:
    envs.reset()
    with pytest.raises(AssertionError, match="expected 7, got 5"):
        envs.step(np.zeros((NUM_ENVS, 5)))
    envs.reset()
    envs.step(np.zeros((NUM_ENVS, 7)))
