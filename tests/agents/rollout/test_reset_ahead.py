"""The next episodes begin while the policy is updated, and are those that would have begun afterwards."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.agents.reach import ReachEngine
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.rollout.reset_ahead import ResetAhead
from ttrl_env.agents.training.train import train
from ttrl_env.errors import EnvironmentDiedError
from ttrl_env.vector_env import TTRLVectorEnv

OPTIONS = {"task_ids": [3], "init_state_ids": [7]}


class Engine(ReachEngine):
    """Notes what it was asked for, and in which thread."""

    any_thread = True
    resets: list[tuple[str, list[int], list[int]]]

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        self.resets = [*getattr(self, "resets", [])]
        self.resets.append((threading.current_thread().name, list(task_ids), list(init_state_ids)))
        super().reset(rows, task_ids, init_state_ids)


class FailingEngine(Engine):
    """Its simulations die in the first reset."""

    def reset(self, rows: Sequence[int], task_ids: Sequence[int], init_state_ids: Sequence[int]) -> None:
        raise EnvironmentDiedError("the simulation of libero_spatial task 3 was killed")


class OneThreadEngine(Engine):
    """As an engine whose OpenGL context belongs to the thread that made it."""

    any_thread = False


def make_env(engine: type[ReachEngine] = Engine) -> TTRLVectorEnv:
    settings: dict[str, Any] = {"image_size": 16, "autoreset_mode": "disabled", "seed": 0}
    return TTRLVectorEnv("libero_spatial", [0], 2, engine=engine, **settings)


def test_a_begun_reset_is_taken_up_once() -> None:
    env, plain = ResetAhead(make_env()), make_env()
    expected, expected_infos = plain.reset(options=OPTIONS)
    env.begin(OPTIONS)
    got, infos = env.reset(options=dict(OPTIONS))
    np.testing.assert_equal(got, expected)
    np.testing.assert_equal(infos, expected_infos)
    assert infos["task_id"].tolist() == [3, 3]
    env.reset(options=OPTIONS)
    threads = [thread for thread, *_ in env.engine.resets]
    assert len(threads) == 2
    assert threads[0].startswith("reset-ahead")
    assert threads[1] == threading.current_thread().name
    env.close()


@pytest.mark.parametrize(
    "asked", [{"options": {**OPTIONS, "init_state_ids": [8]}}, {"options": OPTIONS, "seed": 3}, {}]
)
def test_a_begun_reset_that_is_not_asked_for_is_not_played(asked: dict[str, Any]) -> None:
    env, plain = ResetAhead(make_env()), make_env()
    plain.reset(options=OPTIONS)
    expected, expected_infos = plain.reset(**asked)
    env.begin(OPTIONS)
    got, infos = env.reset(**asked)
    np.testing.assert_equal(got, expected)
    np.testing.assert_equal(infos, expected_infos)
    assert len(env.engine.resets) == 2
    env.close()


def test_its_errors_are_raised_where_its_result_is_asked_for() -> None:
    env = ResetAhead(make_env(FailingEngine))
    env.begin(OPTIONS)
    with pytest.raises(EnvironmentDiedError, match="was killed"):
        env.reset(options=OPTIONS)
    env.close()


def test_closing_waits_for_what_was_begun() -> None:
    env = ResetAhead(make_env())
    env.begin(OPTIONS)
    env.close()
    assert len(env.engine.resets) == 1
    assert env.engine.closed
    env.close()


@pytest.mark.parametrize("engine", [Engine, OneThreadEngine])
def test_training_begins_the_next_episodes_early_except_before_an_evaluation(engine, tmp_path) -> None:
    made: list[Engine] = []

    def make(config: Any) -> Engine:
        made.append(engine(config))
        return made[-1]

    overrides = ("test_time_rl=true", "iterations=4", "eval.every=2", "eval.episodes_per_task=1")
    small = ("env.n_samples=2", "env.image_size=16", "policy.image_size=16", "policy.hidden_size=32")
    config = load_config(TrainConfig, [*overrides, *small, f"output_dir={tmp_path}"])
    train(config, Display(Console(quiet=True)), make)
    early = [thread.startswith("reset-ahead") for thread, *_ in made[0].resets]
    evaluation = [False] * ((len(early) - 4) // 3)
    two_iterations = [False, engine.any_thread]
    assert early == [*evaluation, *two_iterations, *evaluation, *two_iterations, *evaluation]
