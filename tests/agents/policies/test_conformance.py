from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from tests.agents.reach import make_reach_env, make_tiny_policy, reach_engine
from ttrl_env.agents.common.training_state import TrainingState
from ttrl_env.agents.config.schema import PPOConfig
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.conformance import PLAYED, UPDATED, check_policy
from ttrl_env.agents.policies.sharding import share_policy
from ttrl_env.agents.rollout.collect import collect_rollout
from ttrl_env.agents.training.checkpoints import save_checkpoint
from ttrl_env.agents.update.ppo import PPOAgent
from ttrl_env.errors import PolicyError


class Bare(torch.nn.Module):
    """What a rollout and an update call, and nothing else."""

    chunk_steps = 8

    def prepare(self, observations: Any, instructions: Any) -> Any: ...

    def sample(self, inputs: Any, temperatures: Any, seeds: Any, step: int = 0) -> Any: ...

    def evaluate(self, inputs: Any, tokens: Any, temperatures: Any) -> Any: ...

    def decode(self, tokens: Any) -> Any: ...


def test_the_packages_policy_has_everything() -> None:
    check_policy(make_tiny_policy())


def test_everything_that_is_missing_is_named_at_once() -> None:
    message = (
        "policy: expected a TokenPolicy, got Bare, which has no num_features; no cameras; "
        "no check_image_size(image_size); no save_pretrained(save_directory, *, state_dict=None)"
    )
    with pytest.raises(PolicyError, match=re.escape(message)):
        check_policy(Bare())


def test_only_what_is_called_is_asked_for() -> None:
    check_policy(Bare(), (*PLAYED, *UPDATED))


def test_a_method_that_takes_other_arguments_is_named_with_both() -> None:
    class Saved(Bare):
        def save_pretrained(self, save_directory): ...

    expected = (
        r"save_pretrained\(self, save_directory\) where save_pretrained\(save_directory, \*, state_dict"
    )
    with pytest.raises(PolicyError, match=expected):
        check_policy(Saved(), ("save_pretrained",))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("chunk_steps", 0, r"Bare\.chunk_steps: expected an integer of at least 1, got 0"),
        ("action_dim", 7.0, r"Bare\.action_dim: expected an integer of at least 1, got 7\.0"),
        ("cameras", "agentview", r"Bare\.cameras: expected a tuple of agentview and/or .* got 'agentview'"),
        ("cameras", (), r"Bare\.cameras: expected a tuple"),
        ("cameras", ("agentview", "head_camera"), r"cameras: expected those of one world, agentview"),
    ],
)
def test_an_attribute_that_cannot_work_is_named(name: str, value: object, message: str) -> None:
    policy: Any = Bare()
    setattr(policy, name, value)
    with pytest.raises(PolicyError, match=message):
        check_policy(policy, ("chunk_steps", name) if name != "action_dim" else ("chunk_steps",))


def test_a_policy_that_is_no_module_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"no torch\.nn\.Module as its base class"):
        check_policy(object())


def test_what_uses_a_policy_checks_it_before_any_work(tmp_path) -> None:
    env = make_reach_env()
    policy: Any = torch.nn.Linear(1, 1)
    with pytest.raises(PolicyError, match=r"no chunk_steps; no prepare\(observations, instructions\)"):
        collect_rollout(env, policy, seed=0)
    assert not reach_engine(env).stepped_rows
    with pytest.raises(PolicyError, match=r"no evaluate\(inputs, tokens, temperatures\)\. docs/own-policy"):
        PPOAgent(policy, PPOConfig())
    with pytest.raises(PolicyError, match=r"no evaluate.*; no num_features"):
        PPOAgent(policy, PPOConfig(advantage="gae"))
    agent = PPOAgent(make_tiny_policy(), PPOConfig())
    state = TrainingState(iteration=1, groups_dealt=1, reference=None, config={}, versions={})
    with pytest.raises(PolicyError, match="no save_pretrained"):
        save_checkpoint(tmp_path, policy, agent, state, keep=1)
    assert not list(tmp_path.iterdir())


def test_several_processes_ask_for_sharding_units() -> None:
    policy: Any = Bare()
    with pytest.raises(PolicyError, match=r"no sharding_units\(\)"):
        share_policy(policy, World(size=2))
