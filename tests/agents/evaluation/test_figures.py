"""Curves and videos are files that open and show what happened."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
from rich.console import Console

from tests.agents.reach import ReachEngine, make_reach_env
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.evaluation.videos import record_episodes, write_video
from ttrl_env.agents.training.plots import plot_run
from ttrl_env.agents.training.train import train


def test_a_run_is_drawn_even_if_nothing_ever_succeeded(tmp_path) -> None:
    settings = ("env.max_steps=2", "env.image_size=16", "policy.image_size=16", "policy.hidden_size=32")
    config = load_config(TrainConfig, [*settings, f"output_dir={tmp_path}", "iterations=2"])
    train(config, Display(Console(quiet=True)), ReachEngine)
    plot_run(tmp_path, tmp_path / "curve.png", "a title")
    figure = imageio.imread(tmp_path / "curve.png")
    assert figure.shape[1] > 1000
    assert figure.std() > 1


def test_a_video_shows_every_step_of_every_policy(tiny_policy, tmp_path) -> None:
    env = make_reach_env(
        n_samples=1, num_groups=2, chunk_steps=1, max_steps=12, init_states="all", test_time_rl=False
    )
    episodes = record_episodes(env, [tiny_policy, tiny_policy], init_state_id=45)
    assert [frames.shape for frames in episodes] == [(13, 16, 16, 3)] * 2  # 12 steps and the end
    assert all(np.array_equal(*pair) for pair in zip(*episodes, strict=True))  # the same policy
    write_video(tmp_path / "video.mp4", [episodes[0], episodes[1][:5]], hold_seconds=0.5)
    frames = imageio.imread(tmp_path / "video.mp4")
    assert frames.shape == (13 + 10, 16, 32, 3)
