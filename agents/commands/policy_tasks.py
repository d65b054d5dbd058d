"""The suite and tasks of a policy's training, where a command is not told which to play."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ttrl_env.agents.config.schema import EnvConfig, LoadConfig


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
