"""Keys that a TinyVLA checkpoint cannot honour are refused by name."""

from __future__ import annotations

import pytest

from tests.agents.reach import make_tiny_policy
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.policies import load_policy
from ttrl_env.agents.policies.building import load_options, make_policy
from ttrl_env.errors import ConfigError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """The folder of a TinyVLA."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_policy().save_pretrained(folder)
    return str(folder)


def _settings(checkpoint: str, *overrides: str) -> TrainConfig:
    return load_config(TrainConfig, [f"policy.path={checkpoint}", "policy.device=cpu", *overrides])


@pytest.mark.parametrize(
    "override",
    [
        "policy.openvla.lora_rank=8",
        "policy.openvla.lora_alpha=16",
        "policy.openvla.autocast=true",
        "policy.openvla.gradient_checkpointing=true",
        "policy.openvla.dtype=bfloat16",
        "policy.openvla.decoding=parallel",
        "policy.openvla.unnorm_key=libero_10",
        "policy.chunk_steps=3",
        "policy.hidden_size=48",
        "policy.image_size=48",
    ],
)
def test_a_key_that_would_change_nothing_is_refused(checkpoint, override) -> None:
    with pytest.raises(ConfigError, match=f"{override.partition('=')[0]}: .* TinyVLA"):
        make_policy(_settings(checkpoint, override))


def test_an_evaluation_refuses_it_too(checkpoint) -> None:
    config = load_config(EvaluateConfig, [f"checkpoint={checkpoint}", "policy.openvla.decoding=parallel"])
    with pytest.raises(ConfigError, match=r"policy\.openvla\.decoding: .* TinyVLA"):
        load_policy(checkpoint, load_options(config.policy))


def test_keys_that_say_what_the_checkpoint_is_are_taken(checkpoint) -> None:
    policy = make_tiny_policy()
    said = [
        f"policy.chunk_steps={policy.chunk_steps}",
        f"policy.hidden_size={policy.config.hidden_size}",
        f"policy.image_size={policy.config.image_size}",
    ]
    assert make_policy(_settings(checkpoint, "policy.openvla.dtype=float32", "policy.kind=tiny_vla", *said))
