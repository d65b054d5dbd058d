"""Command lines of SimpleVLA-RL: each of their keys means exactly what it says, or is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ttrl_env.agents.config.alias_table import ALIASES, FORMER_KEYS, REFUSED_PREFIXES
from ttrl_env.agents.config.alias_treatments import Refused, Renamed, Stated
from ttrl_env.agents.config.aliases import translate
from ttrl_env.agents.config.loading import load_config, walk_fields
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.errors import ConfigError, UnknownNameError

RENAMED = {key: treatment for key, treatment in ALIASES.items() if isinstance(treatment, Renamed)}
STATED = {key: treatment for key, treatment in ALIASES.items() if isinstance(treatment, Stated)}
REFUSED = {key: treatment for key, treatment in ALIASES.items() if isinstance(treatment, Refused)}

EXAMPLES = {
    "ttrl_reward_mode": ("binary", "env_sparse"),
    "data.task_suite_name": ("libero_10", "libero_10"),
    "data.n_samples": ("4", 4),
    "data.train_batch_size": ("64", 64),
    "actor_rollout_ref.model.path": ("'runs/sft'", "runs/sft"),
    "actor_rollout_ref.model.max_steps": ("512", 512),
    "actor_rollout_ref.model.vla": ("openvla-oft", "parallel"),
    "actor_rollout_ref.model.action_chunks_len": ("4", 4),
    "actor_rollout_ref.model.enable_gradient_checkpointing": ("True", True),
    "actor_rollout_ref.model.lora_rank": ("32", 32),
    "actor_rollout_ref.model.lora_alpha": ("16", 16.0),
    "actor_rollout_ref.rollout.unnorm_key": ("libero_10", "libero_10"),
    "actor_rollout_ref.actor.num_images_in_input": ("2", 2),
    "actor_rollout_ref.actor.use_proprio": ("True", True),
    "actor_rollout_ref.rollout.num_images_in_input": ("2", 2),
    "actor_rollout_ref.rollout.use_proprio": ("True", True),
    "data.filter_accuracy": ("True", True),
    "data.accuracy_lower_bound": ("0.2", 0.2),
    "data.accuracy_upper_bound": ("0.8", 0.8),
    "algorithm.adv_estimator": ("grpo", "grpo"),
    "actor_rollout_ref.actor.optim.lr": ("5e-6", 5e-6),
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": ("0.", 0),
    "actor_rollout_ref.actor.ppo_mini_batch_size": ("128", 128),
    "actor_rollout_ref.actor.traj_mini_batch_size": ("16", 16),
    "actor_rollout_ref.actor.grad_clip": ("1", 1.0),
    "actor_rollout_ref.actor.clip_ratio_low": ("0.1", 0.1),
    "actor_rollout_ref.actor.clip_ratio_high": ("0.3", 0.3),
    "actor_rollout_ref.actor.ppo_epochs": ("2", 2),
    "actor_rollout_ref.rollout.temperature": ("1.6", 1.6),
    "actor_rollout_ref.rollout.task_suite_name": ("libero_goal", "libero_goal"),
    "actor_rollout_ref.rollout.pretrained_checkpoint": ("runs/sft", "runs/sft"),
    "actor_rollout_ref.rollout.twin2_task_config": ("demo_randomized", "demo_randomized"),
    "trainer.default_local_dir": ("runs/theirs", "runs/theirs"),
    "trainer.project_name": ("SimpleVLA-RL", "SimpleVLA-RL"),
    "trainer.save_freq": ("25", 25),
    "trainer.test_freq": ("4", 4),
}
"""A value of theirs and what it becomes."""


KNOWN = {key for key, _ in walk_fields(TrainConfig)}


def translated(*overrides: str) -> list[tuple[str, str]]:
    given = [override.partition("=") for override in overrides]
    return translate([(key, value) for key, _, value in given], KNOWN.__contains__)


def value_of(config: object, key: str) -> object:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def test_every_renamed_key_has_an_example_and_a_target() -> None:
    assert EXAMPLES.keys() == RENAMED.keys()
    assert {treatment.ours for treatment in RENAMED.values()} <= KNOWN


def test_renamed_keys_set_ours() -> None:
    twice = ("actor_rollout_ref.rollout.task_suite_name", "actor_rollout_ref.rollout.pretrained_checkpoint")
    config = load_config(
        TrainConfig, [f"+{key}={given}" for key, (given, _) in EXAMPLES.items() if key not in twice]
    )
    for key, (_, expected) in EXAMPLES.items():
        if key not in twice:
            assert value_of(config, RENAMED[key].ours) == expected, key
    for key in twice:
        assert (RENAMED[key].ours, EXAMPLES[key][0]) in translated(f"{key}={EXAMPLES[key][0]}")


@pytest.mark.parametrize("key", STATED)
def test_a_key_that_says_what_is_always_so_is_accepted_with_that_value_only(key) -> None:
    for value in STATED[key].values:
        assert translated(f"{key}={value}") == []
    other = {bool: "null", int: "33", str: "other"}[type(STATED[key].values[0])]
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}={other}: here it is always"):
        translated(f"{key}={other}")


@pytest.mark.parametrize("value", ["0", "0.0", "0.", "0.00"])
def test_numbers_are_compared_as_numbers(value) -> None:
    assert translated(f"algorithm.kl_ctrl.kl_coef={value}") == []


def test_one_is_not_true() -> None:
    with pytest.raises(ConfigError, match="always True"):
        translated("trainer.val_before_train=1")


@pytest.mark.parametrize("key", [*REFUSED, *(f"{prefix}anything" for prefix in REFUSED_PREFIXES)])
def test_a_key_without_a_counterpart_is_refused_with_the_reason(key) -> None:
    reason = REFUSED[key].because if key in REFUSED else REFUSED_PREFIXES[key.removesuffix("anything")]
    message = (
        rf"{re.escape(key)}: known to SimpleVLA-RL, has no counterpart here: {re.escape(reason)}; remove it"
    )
    with pytest.raises(ConfigError, match=message):
        translated(f"{key}=3")


def test_all_refused_keys_are_listed_at_once() -> None:
    overrides = ["data.val_batch_size=496", "trainer.total_epochs=100", "trainer.val_only=True"]
    with pytest.raises(ConfigError) as caught:
        translated(*overrides)
    assert len(str(caught.value).splitlines()) == 4
    assert all(override.split("=")[0] in str(caught.value) for override in overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.test_freq=-1", "eval.every=0 leaves it at that"),
        ("trainer.save_freq=-1", "always saves its last iteration"),
        ("trainer.save_freq=often", "expected an integer"),
        ("algorithm.adv_estimator=gae", "only grpo is the same in both"),
        ("actor_rollout_ref.model.vla=pi0", "expected openvla-oft or openvla"),
        ("ttrl_reward_mode=dense", "expected efficiency or binary"),
        ("actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.1", "set ppo.warmup_steps"),
        ("data.task_suite_name=libero_11", "no such name 'libero_11'"),
        (
            "data.task_suite_name=robotwin_all",
            "RoboTwin 1.0 are not played; expected robotwin2_",
        ),
        ("data.task_suite_name=robotwin2_lift_pots", "Did you mean 'lift_pot'"),
    ],
)
def test_a_value_that_cannot_be_converted_says_why(override, message) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=re.escape(message)):
        translated(override)


def test_their_suite_means_all_its_tasks_unless_some_are_chosen() -> None:
    whole = load_config(TrainConfig, ["data.task_suite_name=libero_90"])
    assert list(whole.env.task_ids) == list(range(90))
    chosen = load_config(TrainConfig, ["data.task_suite_name=libero_90", "env.task_ids=[7]"])
    assert list(chosen.env.task_ids) == [7]


ROBOTWIN_SCRIPT = """
    data.task_suite_name=robotwin2_lift_pot data.n_samples=8 data.train_batch_size=64
    actor_rollout_ref.model.vla=openvla-oft actor_rollout_ref.model.action_token_len=14
    actor_rollout_ref.model.action_chunks_len=25 actor_rollout_ref.actor.traj_mini_batch_size=8
    actor_rollout_ref.rollout.twin2_task_config=demo_clean
    actor_rollout_ref.rollout.twin2_instruction_type=seen
    actor_rollout_ref.rollout.temperature=1.6 actor_rollout_ref.rollout.unnorm_key=robotwin2_lift_pot_1k
    actor_rollout_ref.rollout.task_suite_name=robotwin2_lift_pot actor_rollout_ref.rollout.num_steps_wait=10
    policy.path=runs/sft
"""
"""Of their script for RoboTwin, what says which task is played, and how."""


def test_their_suites_of_robotwin_are_single_tasks() -> None:
    config = load_config(TrainConfig, ROBOTWIN_SCRIPT.split())
    assert (config.env.suite, config.env.task_ids) == ("robotwin", (11,))
    assert config.env.robotwin.task_config == "demo_clean"
    assert (config.base_temperature, config.policy.chunk_steps) == (1.6, 25)
    assert config.policy.openvla.unnorm_key == "lift_pot_1k"  # as their loader has it
    chosen = load_config(TrainConfig, ["data.task_suite_name=robotwin2_lift_pot", "env.task_ids=[7]"])
    assert chosen.env.task_ids == (7,)


def test_two_suites_of_robotwin_must_be_the_same_task() -> None:
    both = [
        "data.task_suite_name=robotwin2_lift_pot",
        "actor_rollout_ref.rollout.task_suite_name=robotwin2_click_bell",
    ]
    with pytest.raises(ConfigError, match=r"robotwin2_lift_pot and .*_click_bell both set env\.suite"):
        translated(*both)


def test_their_filter_redraws_and_has_their_bounds_unless_others_are_given() -> None:
    alone = load_config(TrainConfig, ["data.filter_accuracy=True"]).rollout
    assert (alone.filter_accuracy, alone.redraw) == (True, True)
    assert (alone.accuracy_lower_bound, alone.accuracy_upper_bound) == (0.0, 1.0)
    bounded = ["data.filter_accuracy=True", "data.accuracy_lower_bound=0.1", "rollout.redraw=false"]
    bounded_rollout = load_config(TrainConfig, bounded).rollout
    assert (bounded_rollout.redraw, bounded_rollout.accuracy_lower_bound) == (False, 0.1)
    assert not load_config(TrainConfig, ["data.filter_accuracy=False"]).rollout.redraw


def test_two_names_of_one_key_must_agree() -> None:
    both = ["data.task_suite_name=libero_10", "actor_rollout_ref.rollout.task_suite_name=libero_10"]
    assert ("env.suite", "libero_10") in translated(*both)
    with pytest.raises(ConfigError, match=r"both set env\.suite; give one of them"):
        translated(both[0], both[1].replace("10", "90"))
    with pytest.raises(ConfigError, match="both set base_temperature"):
        translated("base_temperature=0.6", "actor_rollout_ref.rollout.temperature=1.6")


def test_a_slip_in_their_key_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'actor_rollout_ref\.actor\.optim\.lr'"):
        load_config(TrainConfig, ["actor_rollout_ref.actor.optim.lrr=1e-5"])


def test_training_keys_of_theirs_are_named_in_evaluation() -> None:
    with pytest.raises(ConfigError, match=r"data\.n_samples: SimpleVLA-RL's name of env\.n_samples"):
        load_config(EvaluateConfig, ["data.n_samples=4"])


def test_former_keys_of_ours_set_the_present_ones() -> None:
    assert set(FORMER_KEYS.values()) <= KNOWN
    assert not FORMER_KEYS.keys() & KNOWN
    config = load_config(
        TrainConfig,
        ["ppo.gae_lambda=0.5", "+ppo.value_clip=0.2", "policy.path=runs/sft", "policy.lora_rank=8"],
    )
    assert (config.ppo.gae.lam, config.ppo.gae.value_clip, config.policy.openvla.lora_rank) == (0.5, 0.2, 8)


def test_a_former_key_beside_the_present_one_must_agree_with_it() -> None:
    assert ("ppo.gae.gamma", "0.9") in translated("ppo.gamma=0.9", "ppo.gae.gamma=0.9")
    with pytest.raises(ConfigError, match=r"ppo\.gamma=0\.9 and ppo\.gae\.gamma=1 both set ppo\.gae\.gamma"):
        translated("ppo.gamma=0.9", "ppo.gae.gamma=1")


def test_a_former_key_of_training_is_named_in_evaluation() -> None:
    with pytest.raises(
        ConfigError, match=r"ppo\.gamma: the former name of ppo\.gae\.gamma, which this command"
    ):
        load_config(EvaluateConfig, ["ppo.gamma=0.9"])
    config = load_config(EvaluateConfig, ["checkpoint=runs/sft", "policy.decoding=parallel"])
    assert config.policy.openvla.decoding == "parallel"


def test_the_migration_guide_holds_the_same_table() -> None:
    text = (Path(__file__).parents[3] / "docs/migration.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1] for row in re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, flags=re.M)}
    for key, treatment in ALIASES.items():
        assert key in rows, f"docs/migration.md lacks {key}"
        if isinstance(treatment, Renamed):
            assert f"`{treatment.ours}`" in rows[key], key
    for key in rows:
        assert key in {*ALIASES, *FORMER_KEYS} or key.rstrip("*") in REFUSED_PREFIXES, (
            f"docs/migration.md has a stale {key}"
        )
