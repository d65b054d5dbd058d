from __future__ import annotations

import numpy as np

from tests.agents.reach import make_tiny_policy
from ttrl_env import tasks
from ttrl_env.agents.behaviour_cloning import clone_behaviour
from ttrl_env.agents.demonstrations import Demonstration, Demonstrations


def _demonstrations() -> Demonstrations:
    """Two episodes whose actions can be told from their images: left is bright, right is dark."""
    episodes = []
    for brightness, action in ((255, -0.5), (0, 0.5)):
        images = np.zeros((10, 16, 16, 3), dtype=np.uint8)
        images[:, :8] = brightness
        actions = np.full((10, 7), action, dtype=np.float32)
        episodes.append(
            Demonstration(
                observations={"agentview_image": images}, actions=actions, success=True, init_state_id=0
            )
        )
    return Demonstrations(
        task=tasks.get_task("libero_spatial", 0), episodes=tuple(episodes), attempts=2, noise=0.0, seed=0
    )


def test_a_policy_learns_which_action_belongs_to_which_image() -> None:
    policy, demonstrations = make_tiny_policy(), _demonstrations()
    losses = clone_behaviour(policy, demonstrations, steps=150, batch_size=8, learning_rate=3e-3)
    assert losses[0] > 5  # log 256 = 5.5: a new policy is close to uniform
    assert losses[-1] < 0.1
    for episode in demonstrations.episodes:
        inputs = policy.prepare(episode.observations, [demonstrations.instruction] * len(episode))
        actions = policy.decode(policy(**inputs).argmax(-1))
        assert np.abs(actions - episode.actions[0]).max() <= 1 / 255 + 1e-6


def test_a_seed_repeats_the_training() -> None:
    results = []
    for _ in range(2):
        policy = make_tiny_policy()
        results.append(clone_behaviour(policy, _demonstrations(), steps=5, seed=3))
    assert results[0] == results[1]
    assert np.isfinite(results[0]).all()
