"""LIBERO in Ray actors that are killed while it plays: episodes equal the native engine's, bit for bit."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ttrl_env.stove import STOVE, TASK_ID
from ttrl_env.engines.interface import EngineConfig, SimState, SimulationEngine
from ttrl_env.engines.make_engine import EngineChoice
from ttrl_env.engines.ray_actors.engine import RayEngine
from ttrl_env.engines.ray_actors.simulator import Simulator
from ttrl_env.engines.ray_options import RayOptions
from ttrl_env.vector_env import TTRLVectorEnv

pytestmark = [pytest.mark.libero, pytest.mark.slow]

CHUNKS, LONGEST_STEP_SECONDS = 4, 0.3


@pytest.fixture
def actors(ray_cluster: Any, turning_stove: None, tmp_path: Path) -> Iterator[RayEngine]:
    """An engine of one actor, with the spinning knobs and a cache of its own, which is empty."""
    env_vars = {
        "LIBERO_CONFIG_PATH": os.environ["LIBERO_CONFIG_PATH"],
        "TTRL_CACHE": str(tmp_path / "cache"),
    }
    config = EngineConfig(
        suite=STOVE["suite"],
        num_rows=STOVE["n_samples"],
        image_size=STOVE["image_size"],
        num_workers=1,
        group_size=STOVE["n_samples"],
        ray=RayOptions(threads_per_actor=2, env_vars=env_vars),
    )
    engine = RayEngine(config)
    yield engine
    engine.close()


@pytest.mark.usefixtures("turning_stove")
def test_a_replay_in_one_chunk_leads_to_the_same_bits(native_stove_engine: Any) -> None:
    engine = native_stove_engine(
        EngineConfig(suite=STOVE["suite"], num_rows=3, image_size=64, num_workers=2, group_size=3)
    )
    simulator = Simulator(engine.config, lambda config: engine)
    start = ([0, 1, 2], [TASK_ID] * 3, [0, 1, 2])
    simulator.reset(*start)
    executed: list[list[np.ndarray]] = [[], [], []]
    playing = [0, 1, 2]
    for chunk in np.random.default_rng(0).uniform(-1, 1, (CHUNKS, 3, 2, 7)):
        outcomes, _ = simulator.step(playing, list(chunk[playing]), [2] * len(playing))
        for row, (steps, _, _) in zip(playing, outcomes, strict=True):
            executed[row].append(chunk[row, :steps])
        playing = [row for row, (_, success, _) in zip(playing, outcomes, strict=True) if not success]
    assert len(playing) == 1  # the others have turned the stove on
    seen = {key: array.copy() for key, array in engine.observations.items()}
    states = [_parts(engine.state(row)) for row in range(3)]
    steps, replayed = simulator.replay(*start, [np.concatenate(chunks) for chunks in executed])
    assert steps == [sum(map(len, chunks)) for chunks in executed]
    np.testing.assert_equal(replayed, seen)
    np.testing.assert_equal([_parts(engine.state(row)) for row in range(3)], states)


@pytest.mark.thorough
@pytest.mark.parametrize("kills", [2, 20])
def test_episodes_whose_actors_are_killed_at_random_moments_end_as_undisturbed_ones(
    kills: int, actors: RayEngine, native_stove_engine: EngineChoice, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"moments of seed {seed}")
    undisturbed = play(native_stove_engine, kills)
    disturbed = play(lambda config: actors, kills, random.Random(seed))
    assert any(episode["terminated"].any() for episode in undisturbed)
    np.testing.assert_equal(disturbed, undisturbed)
    assert actors.total_restarts >= 3 * kills // 2  # an actor may die when its episode is over
    bundles = list((tmp_path / "cache" / "bundles").glob("*/model-*"))
    assert len(bundles) == 1
    assert bundles[0].read_bytes() == next(_drivers_bundle(bundles[0])).read_bytes()


def _drivers_bundle(copied: Path) -> Iterator[Path]:
    """The file of this process's cache with the name of one that an actor was brought."""
    return Path(os.environ["TTRL_CACHE"]).glob(f"bundles/{copied.parent.name}/{copied.name}")


def play(engine: EngineChoice, episodes: int, moments: random.Random | None = None) -> list[dict[str, Any]]:
    """Play episodes of three rows; with ``moments``, an actor is killed once in each of them."""
    envs = TTRLVectorEnv(
        **STOVE, max_steps=8, chunk_steps=2, autoreset_mode="disabled", engine=engine, init_states="all"
    )
    played = []
    for episode in range(episodes):
        observations, infos = envs.reset(seed=episode, options={"init_state_ids": [episode % 3]})
        assert "restarts" not in infos or not infos["restarts"].any()
        seen = [observations]
        killed_in = moments.randrange(CHUNKS) if moments else None
        for chunk in range(CHUNKS):
            if chunk == killed_in:
                assert moments is not None
                killing = _kill(envs.engine, moments.uniform(0, LONGEST_STEP_SECONDS))
            actions = np.random.default_rng([episode, chunk]).uniform(-1, 1, (3, 2, 7))
            observations, rewards, terminated, truncated, infos = envs.step(actions)
            seen.append({**observations, "rewards": rewards})
        if moments:
            killing.join()
        states = [_parts(envs.engine.state(row)) for row in range(3)]
        finish_step = infos["finish_step"].tolist()
        played.append({"seen": seen, "terminated": terminated, "finish_step": finish_step, "states": states})
        assert truncated.tolist() == [not each for each in terminated]
    return played


def _kill(engine: SimulationEngine, after_seconds: float) -> threading.Timer:
    import ray

    assert isinstance(engine, RayEngine)
    timer = threading.Timer(after_seconds, ray.kill, [engine._actors[0]._handle])
    timer.start()
    return timer


def _parts(state: SimState) -> list[Any]:
    return [state.time, state.qpos, state.qvel, state.body_pos, state.body_xpos, state.body_xquat]
