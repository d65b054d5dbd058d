"""Table of SimpleVLA-RL's configuration keys and of our former ones; ``docs/migration.md`` shows it.

Keys that are the same in both (``test_time_rl``, ``base_temperature``, ``temperature_range``,
``test_time_rl_reward``) need no entry.
"""

from __future__ import annotations

from ttrl_env.agents.config.alias_treatments import Refused, Renamed, Stated, Treatment, at_least_one, one_of
from ttrl_env.robotwin.catalogue import task_id_of
from ttrl_env.suites import ROBOTWIN, get_suite

_ROBOTWIN_2 = "robotwin2_"
"""SimpleVLA-RL's suites of RoboTwin 2.0 are this and a task's name."""


def _our_suite(theirs: str) -> str:
    """Our suite of one of theirs, each of which of RoboTwin is a single task."""
    name = _unquoted(theirs)
    if name.startswith(_ROBOTWIN_2):
        task_id_of(name.removeprefix(_ROBOTWIN_2))
        return ROBOTWIN.name
    if name.startswith("robotwin_"):
        raise ValueError(
            f"the tasks of RoboTwin 1.0 are not played; expected {_ROBOTWIN_2} and a task of RoboTwin 2.0, "
            f"e.g. {_ROBOTWIN_2}stack_blocks_two"
        )
    return theirs


def _the_task(suite: str) -> dict[str, str]:
    """The task that a suite of RoboTwin is named after."""
    name = _unquoted(suite)
    if not name.startswith(_ROBOTWIN_2):
        return {}
    return {"env.task_ids": f"[{task_id_of(name.removeprefix(_ROBOTWIN_2))}]"}


def _tasks_of(suite: str) -> dict[str, str]:
    """The task that a suite of RoboTwin is named after, or every task of LIBERO's."""
    task_ids = range(get_suite(_our_suite(suite)).num_tasks)
    return _the_task(suite) or {"env.task_ids": f"[{','.join(map(str, task_ids))}]"}


def _our_statistics(theirs: str) -> str:
    """The key of action statistics as checkpoints have it: theirs of RoboTwin begin with the suite's name."""
    return theirs.replace(_ROBOTWIN_2, "", 1) if _unquoted(theirs).startswith(_ROBOTWIN_2) else theirs


def _unquoted(value: str) -> str:
    return value.strip("'\"")


def _refill(filtered: str) -> dict[str, str]:
    """Keys that SimpleVLA-RL's filter implies: it draws until the batch is full, with bounds 0 and 1."""
    return {
        "rollout.redraw": filtered,
        "rollout.accuracy_lower_bound": "0.0",
        "rollout.accuracy_upper_bound": "1.0",
    }


_PROCESSES = (
    "torchrun, or ray.num_workers with launcher=ray, says how many processes there are, each with a GPU of "
    "its own (docs/scaling.md)"
)

_NO_WARMUP = "0 is the only share of the (unknown) total that can be converted; set ppo.warmup_steps"

ALIASES: dict[str, Treatment] = {
    # test-time RL
    "ttrl_reward_mode": Renamed(
        "test_time_rl_reward",
        one_of(
            {
                "efficiency": "efficiency",
                "eff": "efficiency",
                "binary": "env_sparse",
                "success": "env_sparse",
            },
            "expected efficiency or binary",
        ),
        "binary is called env_sparse",
    ),
    "enable_test_time_rl": Refused("test_time_rl=true is what turns it on, there as here"),
    # data
    "data.task_suite_name": Renamed(
        "env.suite",
        _our_suite,
        "with every task of the suite, unless `env.task_ids` is given; `robotwin2_TASK` is `robotwin` with "
        "that task",
        implies=_tasks_of,
    ),
    "data.num_trials_per_task": Refused(
        "training draws from the first 40 of a task's 50 initial states (RoboTwin: 80 of 100), so that the "
        "others are left to evaluate on"
    ),
    "data.n_samples": Renamed("env.n_samples"),
    "data.train_batch_size": Renamed("env.num_groups", note="both count groups, n_samples trajectories each"),
    "data.val_batch_size": Refused("an evaluation plays every initial state it is asked for and drops none"),
    "data.filter_accuracy": Renamed(
        "rollout.filter_accuracy",
        note="with `rollout.redraw`: their filter draws until the batch is full. Here at most "
        "`rollout.max_draws` times, and then learns from the groups there are; there the epoch ends",
        implies=_refill,
    ),
    "data.accuracy_lower_bound": Renamed("rollout.accuracy_lower_bound", note="inclusive in both"),
    "data.accuracy_upper_bound": Renamed("rollout.accuracy_upper_bound", note="inclusive in both"),
    "data.oversample_factor": Stated((1,), "as many groups are drawn as are asked for"),
    "data.filter_truncated": Stated(
        (False,), "a trajectory cut off by the horizon is a failure like any other"
    ),
    "data.filter_warmup": Stated((False,), "there is no warm-up of filters"),
    "data.max_prompt_length": Refused("a policy pads prompts as its model needs"),
    "data.max_response_length": Refused("an episode's length is env.max_steps, in policy steps"),
    # model
    "actor_rollout_ref.model.path": Renamed("policy.path"),
    "actor_rollout_ref.model.vla": Renamed(
        "policy.openvla.decoding",
        one_of({"openvla-oft": "parallel", "openvla": "autoregressive"}, "expected openvla-oft or openvla"),
        "openvla-oft is `parallel`, openvla is `autoregressive`",
    ),
    "actor_rollout_ref.model.action_chunks_len": Renamed("policy.chunk_steps"),
    "actor_rollout_ref.model.enable_gradient_checkpointing": Renamed("policy.openvla.gradient_checkpointing"),
    "actor_rollout_ref.model.lora_rank": Renamed("policy.openvla.lora_rank"),
    "actor_rollout_ref.model.lora_alpha": Renamed("policy.openvla.lora_alpha"),
    "actor_rollout_ref.model.target_modules": Stated(("all-linear",), "adapters sit on every linear layer"),
    "actor_rollout_ref.model.action_token_len": Stated(
        (7, 14), "an action has 7 dimensions in LIBERO, 14 in RoboTwin, one token each"
    ),
    "actor_rollout_ref.model.max_steps": Renamed(
        "env.max_steps",
        note="there it scales the efficiency reward only, and episodes run 512 steps; here it is both",
    ),
    "actor_rollout_ref.model.resume": Stated((False,), "resume=auto or resume=CHECKPOINT continues a run"),
    "actor_rollout_ref.model.use_remove_padding": Refused("padding is never computed"),
    # actor
    "actor_rollout_ref.actor.optim.lr": Renamed("ppo.learning_rate"),
    "actor_rollout_ref.actor.optim.warmup_style": Stated(
        ("constant",), "the step size is constant after ppo.warmup_steps"
    ),
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": Renamed(
        "ppo.warmup_steps", one_of({"0": "0", "0.": "0", "0.0": "0"}, _NO_WARMUP), "only 0"
    ),
    "actor_rollout_ref.actor.ppo_mini_batch_size": Renamed(
        "ppo.minibatch_trajectories", note="both count trajectories of one optimiser step, over all devices"
    ),
    "actor_rollout_ref.actor.ppo_micro_batch_size": Refused(
        "memory is bounded in chunks, not trajectories: set ppo.micro_batch_chunks"
    ),
    "actor_rollout_ref.actor.traj_mini_batch_size": Renamed(
        "ppo.micro_batch_chunks", note="chunks of one forward and backward pass"
    ),
    "actor_rollout_ref.actor.grad_clip": Renamed("ppo.max_grad_norm"),
    "actor_rollout_ref.actor.clip_ratio_low": Renamed("ppo.clip_low"),
    "actor_rollout_ref.actor.clip_ratio_high": Renamed("ppo.clip_high"),
    "actor_rollout_ref.actor.entropy_coeff": Stated(
        (0,), "SimpleVLA-RL reads it and does not use it; ppo.entropy_coef adds an entropy bonus"
    ),
    "actor_rollout_ref.actor.ppo_epochs": Renamed("ppo.epochs"),
    "actor_rollout_ref.actor.shuffle": Stated((True,), "minibatches are shuffled"),
    "actor_rollout_ref.actor.num_images_in_input": Renamed("policy.openvla.num_images"),
    "actor_rollout_ref.actor.use_proprio": Renamed("policy.openvla.use_proprio"),
    # rollout
    "actor_rollout_ref.rollout.temperature": Renamed(
        "base_temperature", note="log-probabilities are always taken at the temperature a row samples at"
    ),
    "actor_rollout_ref.rollout.top_k": Stated((-1, 0), "tokens are drawn from all 256 bins"),
    "actor_rollout_ref.rollout.top_p": Stated((1,), "tokens are drawn from all 256 bins"),
    "actor_rollout_ref.rollout.do_sample": Stated(
        (True,), "training samples, evaluation is greedy by default"
    ),
    "actor_rollout_ref.rollout.task_suite_name": Renamed(
        "env.suite", _our_suite, "`robotwin2_TASK` is `robotwin` with that task", implies=_the_task
    ),
    "actor_rollout_ref.rollout.twin2_task_config": Renamed("env.robotwin.task_config"),
    "actor_rollout_ref.rollout.twin2_instruction_type": Stated(
        ("seen",), "instructions are worded as in RoboTwin's training data"
    ),
    "actor_rollout_ref.rollout.pretrained_checkpoint": Renamed("policy.path"),
    "actor_rollout_ref.rollout.unnorm_key": Renamed(
        "policy.openvla.unnorm_key",
        _our_statistics,
        "both fall back from a key to the same with `_no_noops`, and leave out `robotwin2_`",
    ),
    "actor_rollout_ref.rollout.model_family": Stated(
        ("openvla",), "a checkpoint's config.json says what it is"
    ),
    "actor_rollout_ref.rollout.center_crop": Stated(
        (True,), "OpenVLA's images are cropped as in its training"
    ),
    "actor_rollout_ref.rollout.num_steps_wait": Stated((10,), "the settle steps of LIBERO's protocol"),
    "actor_rollout_ref.rollout.num_images_in_input": Renamed("policy.openvla.num_images"),
    "actor_rollout_ref.rollout.use_proprio": Renamed("policy.openvla.use_proprio"),
    # algorithm
    "algorithm.adv_estimator": Renamed(
        "ppo.advantage",
        one_of(
            {"grpo": "grpo"},
            "only grpo is the same in both; their other estimators whiten over the whole batch or need a "
            "critic of 7B. ppo.advantage=drgrpo, rloo and gae are ours",
        ),
        "only `grpo`",
    ),
    "algorithm.adv_params.verifier_gamma": Stated((1,), "a trajectory has one reward, at its end"),
    "algorithm.adv_params.reward_model_gamma": Stated((1,), "there is no reward model"),
    "algorithm.kl_ctrl.kl_coef": Stated((0,), "no KL penalty enters the reward"),
    "algorithm.kl_ctrl.type": Stated(("fixed",), "no KL penalty enters the reward"),
    "verifier.reward_coef": Stated(
        (1,), "success is worth 1; a factor cancels in an advantage that is divided by the group's spread"
    ),
    # trainer
    "trainer.default_local_dir": Renamed("output_dir"),
    "trainer.project_name": Renamed("wandb_project", note="turns W&B on, as their default logger does"),
    "trainer.save_freq": Renamed(
        "checkpoint_every",
        at_least_one("a run always saves its last iteration; leave the key out"),
        "1 or more",
    ),
    "trainer.test_freq": Renamed(
        "eval.every",
        at_least_one("every run is evaluated before and after training; eval.every=0 leaves it at that"),
        "1 or more",
    ),
    "trainer.total_epochs": Refused(
        "how many updates an epoch has depends on what the filter lets through; set iterations (updates)"
    ),
    "trainer.total_training_steps": Refused("it is overwritten there; set iterations"),
    "trainer.val_only": Stated((False,), "`ttrl eval` evaluates without training"),
    "trainer.val_before_train": Stated((True,), "every run is evaluated before its first update"),
    "trainer.critic_warmup": Stated((0,), "the policy is updated from the first iteration"),
    "trainer.nnodes": Stated((1,), _PROCESSES),
    "trainer.n_gpus_per_node": Stated((1,), _PROCESSES),
    "trainer.logger": Refused("JSON lines and TensorBoard are always written; wandb_project adds W&B"),
    "trainer.wandb_mode": Refused("set the environment variable WANDB_MODE"),
    "trainer.experiment_name": Refused("a run is named by its folder, output_dir"),
}
"""The treatment of each key."""

REFUSED_PREFIXES: dict[str, str] = {
    "actor_rollout_ref.actor.fsdp_config.": "several processes shard what they train, always; no offloading",
    "actor_rollout_ref.actor.": "it configures their actor worker",
    "actor_rollout_ref.ref.": "it configures their reference worker",
    "actor_rollout_ref.rollout.": "it configures their rollout worker or its inference engine",
    "actor_rollout_ref.model.": "it configures how their workers load the model",
    "actor_rollout_ref.": "it configures their worker processes",
    "critic.": "their critic is a second 7B model, which their LIBERO recipes leave unused",
    "reward_model.": "success is judged by the simulator",
    "verifier.": "success is judged by the simulator",
    "algorithm.": "it configures an algorithm of theirs",
    "data.": "it configures how their data sets of prompts are read",
    "trainer.": "it configures their Ray trainer",
}
"""Reasons why the other keys with these prefixes have no counterpart; the first matching prefix applies."""

FORMER_KEYS: dict[str, str] = {
    "ppo.gamma": "ppo.gae.gamma",
    "ppo.gae_lambda": "ppo.gae.lam",
    "ppo.normalise_advantages": "ppo.gae.normalise_advantages",
    "ppo.bootstrap_truncated": "ppo.gae.bootstrap_truncated",
    "ppo.value_hidden_size": "ppo.gae.value_hidden_size",
    "ppo.value_learning_rate": "ppo.gae.value_learning_rate",
    "ppo.value_coef": "ppo.gae.value_coef",
    "ppo.value_clip": "ppo.gae.value_clip",
    "ppo.value_backpropagates": "ppo.gae.value_backpropagates",
    "policy.decoding": "policy.openvla.decoding",
    "policy.unnorm_key": "policy.openvla.unnorm_key",
    "policy.dtype": "policy.openvla.dtype",
    "policy.lora_rank": "policy.openvla.lora_rank",
    "policy.lora_alpha": "policy.openvla.lora_alpha",
    "policy.gradient_checkpointing": "policy.openvla.gradient_checkpointing",
    "policy.autocast": "policy.openvla.autocast",
}
"""Our renamed keys of release 0.1, which old checkpoints contain, and their current names."""

SHORT_KEYS: dict[str, str] = {
    "env.robotwin_python": "env.robotwin.python",
    "env.robotwin_assets": "env.robotwin.assets",
}
"""Second names of our keys, and the names that configurations and checkpoints have."""
