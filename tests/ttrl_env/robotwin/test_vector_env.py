"""The contract of the environment, on an engine that counts; the last tests have worker processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from tests.contract.vector_contract import play
from tests.ttrl_env.robotwin.asset_pack import JOINT_LIMIT, write_asset_pack
from tests.ttrl_env.robotwin.counting_robotwin import counting_robotwin
from tests.ttrl_env.robotwin.fake_engine import behave, fake_engine
from tests.ttrl_env.robotwin.fake_simulation import goal, start
from ttrl_env.errors import ConfigError, EnvironmentDiedError, MissingDependencyError, UnknownNameError
from ttrl_env.robotwin.single_env import RoboTwinEnv
from ttrl_env.robotwin.vector_env import RoboTwinVectorEnv

STACK = "stack_blocks_two"
STACK_ID = 45
RANK_ID = 2
MODES = list(AutoresetMode)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> str:
    return str(write_asset_pack(tmp_path_factory.mktemp("assets")))


@pytest.fixture
def make(pack):
    def make_(*arguments: Any, **keywords: Any) -> RoboTwinVectorEnv:
        small = {"image_height": 6, "image_width": 8, "engine": counting_robotwin(), "assets": pack}
        return RoboTwinVectorEnv(*arguments, **{**small, **keywords})

    return make_


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("chunk_steps", [1, 4])
def test_keeps_the_contract_of_liberos_environment(make, mode, chunk_steps) -> None:
    engine = counting_robotwin(success_at={0: 1, 2: 7, 3: 10}, failure_at={4: 5})
    envs = make(
        (RANK_ID, STACK_ID), 3, max_steps=10, chunk_steps=chunk_steps, autoreset_mode=mode, engine=engine
    )
    seen = play(envs, 60, max_steps=10, chunk_steps=chunk_steps)
    assert min(seen["success"], seen["horizon"], seen["failure"], seen["reset"]) >= 3
    assert (seen["frozen"] > 0) == (mode is AutoresetMode.DISABLED)
    envs.close()


def test_spaces_are_robotwins(make) -> None:
    envs = make((STACK,), 2, chunk_steps=25, cameras=("head_camera", "left_camera", "right_camera"))
    observations, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observations)
    assert list(observations) == [
        *("head_camera_image", "left_camera_image", "right_camera_image", "joint_state")
    ]
    assert observations["left_camera_image"].shape == (2, 6, 8, 3)
    assert observations["joint_state"].dtype == np.float32
    assert envs.action_space.shape == (2, 25, 14)
    assert envs.action_dim == 14
    np.testing.assert_array_equal(
        envs.action_low[[0, 6, 12, 13]], np.array([-JOINT_LIMIT, 0, -JOINT_LIMIT, 0], np.float32)
    )
    np.testing.assert_array_equal(
        envs.action_high[[0, 6, 12, 13]], np.array([JOINT_LIMIT, 1, JOINT_LIMIT, 1], np.float32)
    )
    np.testing.assert_array_equal(envs.single_action_space.high, np.tile(envs.action_high, (25, 1)))


def test_a_group_has_one_seed_and_one_instruction(make) -> None:
    envs = make((RANK_ID, STACK), 2)
    about = ["place the red, green and blue blocks in a row, in this order from left to right"]
    assert envs.instructions[:2] == about * 2
    _, infos = envs.reset(seed=5)
    states = infos["init_state_id"]
    assert states[0] == states[1] != states[2] == states[3]
    assert (states < 80).all()
    np.testing.assert_array_equal(infos["seed"], 100_000 + states)
    assert infos["seed"].dtype == np.int64
    assert envs.instructions == [f"task {t} in state {s}" for t, s in zip(envs.task_ids, states, strict=True)]
    assert envs.reset(seed=5)[1]["init_state_id"].tolist() == states.tolist()


def test_held_out_episodes_start_from_the_last_twenty_seeds(make) -> None:
    envs = make((STACK,), 1, init_states="held_out")
    seeds = {int(envs.reset()[1]["seed"][0]) for _ in range(20)}
    assert seeds == set(range(100_080, 100_100))


def test_a_final_info_has_the_seed_of_the_episode_that_ended(make) -> None:
    envs = make((STACK,), 1, engine=counting_robotwin({0: 1}), autoreset_mode="SameStep")
    _, before = envs.reset(seed=0)
    _, rewards, terminated, _, infos = envs.step(envs.action_space.sample())
    assert terminated[0]
    assert rewards[0] == 1 / (1 + 1 / 400)
    assert infos["final_info"]["seed"][0] == before["seed"][0] != infos["seed"][0]
    assert infos["final_obs"][0]["joint_state"][2] == 1


def test_the_horizon_is_the_tasks_and_of_several_the_longest(make) -> None:
    assert make((STACK,)).max_steps == 400
    assert make((RANK_ID, STACK_ID)).max_steps == 600
    assert make((STACK,), max_steps=50).max_steps == 50


def test_rendering_gives_the_first_camera_upright(make) -> None:
    envs = make((STACK,), 2, cameras=("right_camera", "head_camera"))
    envs.reset(seed=0)
    envs.engine.observations["right_camera_image"][1, 0] = 7
    images = envs.render()
    assert [image.shape for image in images] == [(6, 8, 3)] * 2
    assert (images[1][0] == 7).all()


class TestGymnasiumsIds:
    def test_make_a_vector_environment_of_a_task_by_its_name(self, make, pack) -> None:
        envs = gym.make_vec(
            "ttrl_env/RoboTwin-stack_blocks_two-v0",
            num_envs=8,
            n_samples=8,
            engine=counting_robotwin(),
            assets=pack,
        )
        assert isinstance(envs, RoboTwinVectorEnv)
        assert envs.task_ids.tolist() == [STACK_ID] * 8
        assert len(set(envs.temperatures.tolist())) == 8
        assert envs.reset()[0]["head_camera_image"].shape == (8, 240, 320, 3)

    def test_make_groups_of_tasks(self, pack) -> None:
        envs = gym.make_vec(
            "ttrl_env/RoboTwin-v0",
            num_envs=4,
            task_ids=(RANK_ID, STACK),
            n_samples=2,
            engine=counting_robotwin(),
            assets=pack,
            max_episode_steps=3,
            chunk_steps=25,
        )
        assert isinstance(envs, RoboTwinVectorEnv)
        assert envs.task_ids.tolist() == [RANK_ID] * 2 + [STACK_ID] * 2
        assert envs.max_steps == 75

    def test_make_a_single_environment(self, pack) -> None:
        env = gym.make(
            "ttrl_env/RoboTwin-stack_blocks_two-v0",
            engine=counting_robotwin({0: 2}),
            assets=pack,
            chunk_steps=3,
        )
        assert isinstance(env.unwrapped, RoboTwinEnv)
        observation, info = env.reset(seed=3)
        assert observation["joint_state"].shape == (14,)
        assert info["seed"] == 100_000 + info["init_state_id"]
        assert env.unwrapped.instruction == f"task 45 in state {info['init_state_id']}"
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert (terminated, truncated, info["finish_step"]) == (True, False, 2)
        assert reward == 1 / (1 + 2 / 400)
        assert env.unwrapped.action_dim == 14
        env.close()

    def test_gymnasiums_checker_finds_nothing_wrong(self, pack) -> None:
        env = RoboTwinEnv(STACK, engine=counting_robotwin({0: 5}), assets=pack, image_height=6, image_width=8)
        check_env(env, skip_close_check=True)


class TestBadInput:
    """Each is refused before an engine is made."""

    @pytest.fixture
    def refuse(self, make):
        def refuse_(error: type[Exception], message: str, *arguments: Any, **keywords: Any) -> None:
            def never(config: Any) -> None:
                raise AssertionError("the engine was made")

            with pytest.raises(error, match=message):
                make(*arguments, **{"engine": never, **keywords})

        return refuse_

    def test_an_unknown_task_has_the_nearest_name(self, refuse) -> None:
        message = r"task_ids: no such name 'stack_block_two'\. Did you mean 'stack_blocks_two'\?"
        refuse(UnknownNameError, message, ("stack_block_two",))
        refuse(ValueError, "task_ids: robotwin has tasks 0 to 49, got 50", (50,))

    def test_unknown_cameras(self, refuse) -> None:
        refuse(UnknownNameError, "cameras: no such name 'head'", (STACK,), cameras=("head",))
        refuse(UnknownNameError, "cameras: no such name 'agentview'", (STACK,), cameras=("agentview",))
        refuse(ValueError, "cameras: expected each camera once", (STACK,), cameras=("head_camera",) * 2)
        refuse(ValueError, "cameras: expected a non-empty sequence", (STACK,), cameras=())

    def test_a_horizon_beyond_the_runtimes(self, refuse) -> None:
        message = "max_steps: RoboTwin's runtime ends stack_blocks_two after 800 steps, got 801"
        refuse(ValueError, message, (STACK,), max_steps=801)

    def test_engines_of_libero(self, refuse) -> None:
        refuse(
            TypeError,
            "engine: expected a callable that takes a RoboTwinConfig, got 'native'",
            engine="native",
        )

    def test_unknown_task_configurations(self, refuse) -> None:
        message = "task_config: .*'demo_random'.*Did you mean 'demo_randomized'"
        refuse(UnknownNameError, message, (STACK,), task_config="demo_random")

    def test_sizes_and_times(self, refuse) -> None:
        refuse(ValueError, "image_height", (STACK,), image_height=0)
        refuse(ValueError, "image_width", (STACK,), image_width=100_000)
        refuse(ValueError, "num_workers", (STACK,), num_workers=0)
        refuse(ValueError, "step_timeout_seconds: expected a positive", (STACK,), step_timeout_seconds=0)
        refuse(ConfigError, "num_envs=4000000 .* needs about .* of memory", (STACK,), 4, num_groups=1_000_000)

    def test_missing_assets(self, refuse, tmp_path, pack) -> None:
        refuse(MissingDependencyError, "assets: expected a folder with", (STACK,), assets=str(tmp_path))
        refuse(MissingDependencyError, "assets/objects has no 041_shoe.* GB", ("place_shoe",))

    def test_missing_textures_of_random_backgrounds(self, refuse, make, tmp_path) -> None:
        bare = write_asset_pack(tmp_path)
        shutil.rmtree(bare / "assets/background_texture/unseen")
        message = "has no .*unseen, which task_config=demo_randomized draws from"
        refuse(MissingDependencyError, message, (STACK,), assets=str(bare))
        make((STACK,), assets=str(bare), task_config="demo_clean").close()

    def test_liberos_settings(self, pack) -> None:
        for make_ in (gym.make, gym.make_vec):
            with pytest.raises(TypeError, match="settle_steps: a setting of LIBERO's environments"):
                make_("ttrl_env/RoboTwin-stack_blocks_two-v0", settle_steps=10, assets=pack)

    def test_chunks_of_another_shape(self, make) -> None:
        envs = make((STACK,), 2, chunk_steps=25)
        envs.reset(seed=0)
        for shape in ((2, 25, 7), (2, 14), (2, 8, 14), (1, 25, 14)):
            with pytest.raises(
                ValueError, match=r"actions: expected shape \(2, 25, 14\) .*chunk_steps, 14\]"
            ):
                envs.step(np.zeros(shape))
        with pytest.raises(ValueError, match=r"actions: expected finite values, got NaN .* rows \[1\]"):
            envs.step(np.stack([np.zeros((25, 14)), np.full((25, 14), np.nan)]))
        assert [name for name, _ in envs.engine.calls] == ["reset"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_asset_pack(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def envs(folder: Path):
    envs = RoboTwinVectorEnv(
        (STACK_ID, RANK_ID),
        2,
        max_steps=10,
        chunk_steps=5,
        image_height=4,
        image_width=6,
        autoreset_mode="Disabled",
        engine=fake_engine,
        assets=str(folder),
        num_workers=2,
    )
    yield envs
    envs.close()


class TestWithWorkers:
    """Two processes of this interpreter play :mod:`tests.ttrl_env.robotwin.fake_simulation`."""

    @staticmethod
    def targets(envs: RoboTwinVectorEnv, infos: dict[str, Any], reach: list[bool]) -> np.ndarray:
        """``[num_envs, 5, 14]`` actions that reach the goal, or stay at the start."""
        names = [STACK] * 2 + ["blocks_ranking_rgb"] * 2
        rows = zip(names, infos["seed"], reach, strict=True)
        rest = [(goal if reached else start)(name, seed) for name, seed, reached in rows]
        return np.repeat(np.array(rest)[:, None], 5, axis=1)

    def test_replicas_start_alike_and_stop_exactly_where_the_goal_is_reached(self, envs) -> None:
        observations, infos = envs.reset(seed=1)
        joints = observations["joint_state"]
        np.testing.assert_array_equal(joints[0], joints[1])
        np.testing.assert_array_equal(joints[0], np.float32(start(STACK, infos["seed"][0])))
        assert envs.instructions[0] == envs.instructions[1] != envs.instructions[2]
        actions = self.targets(envs, infos, [True, False, False, True])
        _, rewards, terminated, truncated, infos = envs.step(actions)
        assert infos["finish_step"].tolist() == [2, 5, 5, 2]
        assert terminated.tolist() == infos["success"].tolist() == [True, False, False, True]
        np.testing.assert_allclose(rewards, [1 / 1.2, 0, 0, 1 / 1.2])
        assert not truncated.any()
        rested = envs.engine.state(0).qpos
        observations, rewards, terminated, truncated, infos = envs.step(-actions)
        assert infos["finish_step"].tolist() == [2, 10, 10, 2]  # finished rows were left alone
        assert truncated.tolist() == [False, True, True, False]
        assert envs.engine.state(0).qpos == rested

    def test_chosen_rows_start_anew_where_their_group_stands(self, envs) -> None:
        _, first = envs.reset(seed=2)
        envs.step(self.targets(envs, first, [True, False, False, False]))
        mask = np.array([True, False, False, False])
        _, infos = envs.reset(options={"reset_mask": mask})
        assert infos["finish_step"].tolist() == [0, 5, 5, 5]
        assert infos["episode_index"].tolist() == [1, 0, 0, 0]
        assert infos["seed"][1:].tolist() == first["seed"][1:].tolist()

    def test_an_unstable_seed_is_passed_over_for_the_whole_group(self, envs, folder) -> None:
        _, first = envs.reset(seed=3, options={"init_state_ids": [11, 12]})
        assert first["seed"].tolist() == [100_011] * 2 + [100_012] * 2
        behave(folder, unstable=[100_013])
        _, infos = envs.reset(options={"init_state_ids": [13, 14]})
        assert infos["seed"].tolist() == [100_113] * 2 + [100_014] * 2
        assert infos["init_state_id"].tolist() == [13, 13, 14, 14]
        behave(folder)

    def test_a_worker_that_dies_costs_its_rows_their_episodes_until_a_reset(self, envs, folder) -> None:
        _, infos = envs.reset(seed=5)
        behave(folder, dies_in="step")
        with pytest.raises(EnvironmentDiedError, match="stack_blocks_two"):
            envs.step(self.targets(envs, infos, [False] * 4))
        behave(folder)
        with pytest.raises(ResetNeeded, match=r"rows \[0, 1, 2, 3\] cannot go on; call reset"):
            envs.step(self.targets(envs, infos, [False] * 4))
        _, again = envs.reset(seed=5)
        assert again["seed"].tolist() == infos["seed"].tolist()
        _, _, terminated, _, infos = envs.step(self.targets(envs, again, [True] * 4))
        assert terminated.all()

    def test_a_diverged_simulation_ends_its_row_with_a_reason(self, envs, folder) -> None:
        _, infos = envs.reset(seed=4)
        behave(folder, fails_at=3)
        _, _, terminated, truncated, infos = envs.step(self.targets(envs, infos, [False] * 4))
        behave(folder)
        assert truncated.all()
        assert not terminated.any()
        assert infos["finish_step"].tolist() == [3] * 4
        assert infos["failure"].tolist() == ["joint positions are NaN"] * 4
