"""What a policy was trained on, where a command is not told what to play."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ttrl_env.agents.config.schema import EnvConfig, EvaluateConfig, LoadConfig
from ttrl_env.agents.config.schema_fields import walk_fields, walk_values


def own_tasks(
    policy: str, argument: str, env: EnvConfig, loading: LoadConfig, given: Collection[str]
) -> dict[str, Any]:
    """``env.suite`` and ``env.task_ids`` of a policy's training; empty if the suite is given, or unknown.

    Args:
        policy: the policy's name, as :func:`ttrl_env.agents.policies.finding.find_policy` takes it.
        argument: the key that names it, for errors.
        env: the environment as configured; a preset may name the suite.
        loading: how the policy is loaded; the chosen action statistics decide among several suites.
        given: the keys that the user gave.

    Raises:
        CheckpointError: there is no such policy.
        ConfigError: it was trained on several suites.
    """
    if "env.suite" in given or env.suite != EnvConfig().suite:
        return {}
    from ttrl_env.agents.policies.finding import find_policy
    from ttrl_env.agents.policies.known_tasks import the_only_suite
    from ttrl_env.agents.policies.origin import tasks_of

    known = tasks_of(find_policy(policy, argument, described=True), loading.openvla.unnorm_key)
    suite = the_only_suite(policy, known)
    return {} if suite is None else {"env.suite": suite, "env.task_ids": list(known[suite])}


def settings_of_run(checkpoint: str) -> dict[str, Any]:
    """The environment of a run and how it loaded its policy, by key, to evaluate its checkpoint likewise.

    Empty for a policy's folder that belongs to no run.
    """
    from ttrl_env.agents.common.run_folder import is_checkpoint
    from ttrl_env.agents.config.saved_config import saved_config
    from ttrl_env.agents.policies.finding import find_policy

    folder = find_policy(checkpoint, "checkpoint", described=True).parent
    if not is_checkpoint(folder):
        return {}
    repeated = {key for key, _ in walk_fields(EvaluateConfig) if key.startswith(("env.", "policy."))}
    repeated -= {"env.num_workers", "policy.device"}  # of the machine it ran on
    repeated = {key for key in repeated if not key.startswith("env.ray.")}
    settings = {key: value for key, value in walk_values(saved_config(folder)) if key in repeated}
    if settings.get("env.engine") == "ray":  # of the cluster it ran on; "native" gives the same
        del settings["env.engine"]
    return settings
