"""env.suite=robotwin: its tasks by name, its own settings, and what it refuses."""

from __future__ import annotations

import pytest

from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.config.task_names import with_task_ids
from ttrl_env.errors import ConfigError, UnknownNameError

ROBOTWIN = "env.suite=robotwin"


def test_tasks_are_named_or_numbered() -> None:
    named = load_config(TrainConfig, [ROBOTWIN, "env.task_ids=[stack_blocks_two,'blocks_ranking_rgb', 3]"])
    assert named.env.task_ids == (45, 2, 3)
    assert named.env.suite == "robotwin"


def test_names_imply_the_suite_that_has_them() -> None:
    config = load_config(EvaluateConfig, ["checkpoint=runs/sft", "env.task_ids=[stack_blocks_two]"])
    assert (config.env.suite, config.env.task_ids) == ("robotwin", (45,))


def test_values_without_names_stay_as_they_are() -> None:
    settings = [("env.task_ids", "[0, 1]"), ("policy.path", "stack_blocks_two")]
    assert with_task_ids(settings) == settings


def test_a_misspelt_task_is_told_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"env\.task_ids: .*'stack_block_two'.* 'stack_blocks_two'"):
        load_config(TrainConfig, [ROBOTWIN, "env.task_ids=[stack_block_two]"])


def test_names_are_refused_with_another_suite() -> None:
    with pytest.raises(ConfigError, match=r"for RoboTwin's tasks; those of env\.suite=libero_10 are"):
        load_config(TrainConfig, ["env.suite=libero_10", "env.task_ids=[stack_blocks_two]"])


def test_a_task_beyond_the_last_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"env\.task_ids: robotwin has tasks 0 to 49, got 50"):
        load_config(TrainConfig, [ROBOTWIN, "env.task_ids=[50]"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.engine=upstream", r"env\.engine: is for LIBERO's simulations .* got upstream; leave it out"),
        ("env.image_size=256", r"env\.image_size: is for LIBERO's .* env\.robotwin\.image_height x"),
        ("env.fixture_seed=1", r"env\.fixture_seed: is for LIBERO's .* follow from an episode's seed"),
        ("env.ray.threads_per_actor=2", r"env\.ray: is for LIBERO's"),
        ("env.num_workers=0", r"env\.num_workers: RoboTwin plays in processes of another Python"),
        ("ppo.critic.privileged_state=true", r"ppo\.critic\.privileged_state: .* env\.suite=robotwin"),
        ("policy.image_size=256", r"policy\.image_size: expected at most 240, the smaller of env\.robotwin"),
        (
            "env.max_steps=401",
            r"env\.max_steps: .* ends adjust_bottle after 400 steps, got 401;",
        ),
        (
            "env.task_ids=[0,38]",
            r"env\.max_steps: .* after 400 steps, got 800, the longest default",
        ),
        ("env.robotwin.task_config=demo_cleen", r"env\.robotwin\.task_config: .*'demo_clean'"),
        ("env.robotwin.image_height=0", r"env\.robotwin\.image_height: expected an integer of at least 1"),
        ("env.robotwin.step_timeout_seconds=0", r"step_timeout_seconds: expected a number above 0"),
    ],
)
def test_a_setting_that_cannot_have_an_effect_is_refused_by_name(override, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(TrainConfig, [ROBOTWIN, override])


def test_libero_refuses_robotwins_settings() -> None:
    with pytest.raises(ConfigError, match=r"env\.robotwin\.assets: .* are for env\.suite=robotwin"):
        load_config(TrainConfig, ["env.robotwin.assets=/assets"])


def test_the_interpreter_has_a_short_name_too() -> None:
    config = load_config(TrainConfig, [ROBOTWIN, "env.robotwin_python=/opt/robotwin/bin/python"])
    assert config.env.robotwin.python == "/opt/robotwin/bin/python"
    with pytest.raises(ConfigError, match=r"env\.robotwin_python=a and env\.robotwin\.python=b both set"):
        load_config(TrainConfig, [ROBOTWIN, "env.robotwin_python=a", "env.robotwin.python=b"])
