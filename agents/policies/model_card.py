"""The model card of a policy: what its folder says of its origin, how often it succeeds, how it is used.

A policy's folder may come from a stranger. Whatever is taken from its files is escaped, so that it is shown
as text and cannot become Markdown, HTML or metadata.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ttrl_env.agents.common.checkpoint_files import own_file, read_own_file, read_own_json
from ttrl_env.agents.config.choices import OPENVLA, TINY_VLA
from ttrl_env.agents.config.saved_config import saved_config
from ttrl_env.agents.config.schema import RoboTwinEnvConfig
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.agents.policies.finding import is_repo_id, shipped_policies
from ttrl_env.agents.policies.origin import mujoco_of, suites_of
from ttrl_env.agents.policies.provenance import Cloning, Provenance, cloning, provenance
from ttrl_env.errors import CheckpointError
from ttrl_env.libero_version import describe
from ttrl_env.machine.whole_files import write_whole
from ttrl_env.suites import ROBOTWIN
from ttrl_env.tasks import SUITES

CARD = "README.md"

MARK = "<!-- ttrl-env writes this card anew at each save. Delete this line to keep your own text. -->"
"""A line of every card that may be overwritten."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An evaluation that a card reports."""

    suite: str
    task_ids: tuple[int, ...]
    init_states: str
    """Split of the initial states."""
    temperature: float
    """0: greedy."""
    num_episodes: int
    success_rate: float
    interval: tuple[float, float]
    """95 % interval of the success rate."""
    mujoco: str | None
    """The version of MuJoCo in which it was measured; ``None``: unknown."""

    @property
    def actions(self) -> str:
        """How actions were chosen."""
        return f"sampled at T = {self.temperature:g}" if self.temperature > 0 else "greedy"


def write_model_card(folder: Path, measured: Sequence[Measured] = (), *, base: str | None = None) -> None:
    """Write the card of the policy in ``folder``, unless its ``README.md`` is somebody else's."""
    if not has_own_text(folder):
        write_whole(folder / CARD, model_card(folder, measured=measured, base=base))


def has_own_text(folder: Path) -> bool:
    """Whether a policy's folder has a ``README.md`` that ttrl-env has not written, or that is to be kept."""
    return (folder / CARD).exists() and MARK not in _written(folder).splitlines()


def model_card(
    folder: Path, name: str | None = None, measured: Sequence[Measured] = (), *, base: str | None = None
) -> str:
    """The card of the policy in a folder, as Markdown with YAML metadata.

    Args:
        folder: the policy's, alone or in a training checkpoint.
        name: what the policy is loaded by, ``owner/name`` on the hub; by default its folder, to which a
            reader of the card has changed.
        measured: evaluations of this policy.
        base: what it was made from, for policies whose files do not say it.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    facts = _Facts.of(folder, base)
    title = facts.kind if name is None else name.partition("/")[2]
    data = ModelCardData(
        library_name="ttrl-env",
        pipeline_tag="robotics",
        tags=_tags(facts, measured),
        base_model=facts.base,
        base_model_relation=None if facts.base is None else "adapter" if facts.is_adapter else "finetune",
        model_name=title if measured else None,
        eval_results=[EvalResult(**_result(each)) for each in measured] or None,
    )
    sections = [
        f"---\n{data.to_yaml()}\n---\n{MARK}",
        f"# {as_text(title)}",
        _purpose(facts),
        "## Training\n" + "\n".join(f"- {each}" for each in _training(facts)),
        *(["## Success\n" + _table(measured)] if measured else []),
        "## Use\n" + _use(facts, name),
    ]
    return str(ModelCard("\n\n".join(sections) + "\n"))


def as_text(value: object) -> str:
    """Markdown that shows ``value`` as it is, within a line and cut to 200 characters."""
    line = "".join(each for each in " ".join(str(value).split()) if each.isprintable())
    return re.sub(r"([]!\"#$&()*:;<>?@[\\^_`{|}~])", r"\\\1", line[:_LONGEST_TEXT])


_LONGEST_TEXT = 200

_Origin = TypeVar("_Origin", Cloning, Provenance)


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What a policy's folder says."""

    kind: str
    is_adapter: bool
    cloned: Cloning | None
    trained: Provenance | None
    base: str | None
    """Hub repository of the policy that this one was made from."""
    mujoco: str | None
    robotwin: bool
    """Whether RoboTwin's tasks are what it was trained on, else LIBERO's."""
    settings: tuple[str, ...]
    """Arguments of the command line with which the policy was trained or is usually loaded."""

    @classmethod
    def of(cls, folder: Path, base: str | None) -> _Facts:
        config = read_own_json(folder, "config.json") if (folder / "config.json").exists() else {}
        is_adapter = (folder / "adapter_config.json").exists()
        kind = str(config.get("model_type") or OPENVLA)
        trained = _known(provenance, folder)
        return cls(
            kind=_KINDS.get(kind, kind),
            is_adapter=is_adapter,
            cloned=_known(cloning, folder),
            trained=trained,
            base=_base(folder, trained, base),
            mujoco=mujoco_of(folder),
            robotwin=ROBOTWIN.name in suites_of(folder),
            settings=_settings(folder, kind, config, trained),
        )


_KINDS = {TINY_VLA: "TinyVLA", OPENVLA: "OpenVLA"}


def _known(read: Callable[[Path], _Origin | None], folder: Path) -> _Origin | None:
    """What ``read`` finds. A policy can be saved whatever somebody wrote about it, and wherever."""
    try:
        return read(folder)
    except CheckpointError:
        return None


def _base(folder: Path, trained: Provenance | None, given: str | None) -> str | None:
    """The first hub repository among: the adapter's base, what is given, the run's start, the former card."""
    named = [given]
    if (folder / "adapter_config.json").exists():
        named.insert(0, read_own_json(folder, "adapter_config.json").get("base_model_name_or_path"))
    named += [None if trained is None else trained.started_from, _former_base(folder)]
    found = (str(each).partition("@")[0] for each in named if isinstance(each, str) and is_repo_id(each))
    return next(found, None)


def _former_base(folder: Path) -> Any:
    """The base that a card of ours in the folder names; a policy that was merged has no other record."""
    if not (folder / CARD).exists() or has_own_text(folder):
        return None
    found = re.search(r"^base_model: (\S+)$", _written(folder), flags=re.MULTILINE)
    return None if found is None else found[1]


def _written(folder: Path) -> str:
    own_file(folder, CARD)
    return read_own_file(folder, CARD).decode("utf-8", errors="replace")


def _settings(folder: Path, kind: str, config: dict[str, Any], trained: Provenance | None) -> tuple[str, ...]:
    suites = suites_of(folder)[:1]
    settings = [f"env.suite={suite}" for suite in suites]
    if trained is None:
        if ROBOTWIN.name in suites:
            return tuple(settings)
        return (*settings, f"env.image_size={_image_size(kind, config.get('image_size'))}")
    env = saved_config(folder.parent).env
    settings += (
        _robotwin_settings(env.robotwin) if plays_robotwin(env) else [f"env.image_size={env.image_size}"]
    )
    settings.append(f"env.task_ids=[{','.join(map(str, env.task_ids))}]")
    return (*settings, *([] if env.max_steps is None else [f"env.max_steps={env.max_steps}"]))


def _robotwin_settings(env: RoboTwinEnvConfig) -> list[str]:
    """What shapes the scenes and the images, where it differs from the default."""
    names, usual = ("task_config", "image_height", "image_width"), RoboTwinEnvConfig()
    values = {name: getattr(env, name) for name in names}
    return [
        f"env.robotwin.{name}={value}"
        for name, value in values.items()
        if value != getattr(usual, name) and re.fullmatch(r"\w+", str(value))  # nothing a stranger wrote
    ]


def _image_size(kind: str, own: Any) -> int:
    """The size at which to render: published checkpoints' own, else the smallest usual multiple."""
    if kind == OPENVLA:
        return 256
    return 128 if not isinstance(own, int) or own <= 0 or 128 % own == 0 else own


def _tags(facts: _Facts, measured: Sequence[Measured]) -> list[str]:
    suites = {each.suite for each in measured}
    suites |= {facts.trained.suite} if facts.trained is not None else set()
    suites |= set(facts.cloned.suites) if facts.cloned is not None else set()
    benchmarks = ["robotwin"] if facts.robotwin else ["libero"]
    named = sorted((suites & SUITES.keys()) - {*benchmarks})
    tags = ["robotics", "vision-language-action", *benchmarks, *named]
    return [*tags, *(["test-time-reinforcement-learning"] if facts.trained is not None else [])]


def _result(measured: Measured) -> dict[str, Any]:
    """The arguments of huggingface_hub's ``EvalResult``."""
    return {
        "task_type": "robotics",
        "task_name": "Robot manipulation",
        "dataset_type": measured.suite,
        "dataset_name": "RoboTwin 2.0" if measured.suite == ROBOTWIN.name else f"LIBERO, {measured.suite}",
        "dataset_split": measured.init_states,
        "dataset_args": {"task_ids": list(measured.task_ids), "mujoco": measured.mujoco},
        "metric_type": "success_rate",
        "metric_name": f"Success rate, {measured.actions}",
        "metric_value": round(measured.success_rate, 4),
        "metric_args": {
            "temperature": measured.temperature,
            "num_episodes": measured.num_episodes,
            "confidence_interval_95": [round(limit, 4) for limit in measured.interval],
        },
    }


def _purpose(facts: _Facts) -> str:
    what = (
        f"adapter of {as_text(facts.base or 'an OpenVLA')}"
        if facts.is_adapter
        else "vision-language-action policy"
    )
    tasks, actions = (
        ("RoboTwin", "joint targets of two robot arms")
        if facts.robotwin
        else ("LIBERO", "actions of a robot arm")
    )
    return (
        f"A {as_text(facts.kind)} {what} for the simulated manipulation tasks of {tasks}: camera images and "
        f"an instruction in, {actions} out. It is for research in simulation. It is not meant "
        f"for a real robot."
    )


def _training(facts: _Facts) -> list[str]:
    """Sentences about demonstrations, reinforcement learning and the simulator."""
    told = []
    if facts.cloned is not None:
        told.append(_demonstrated(facts.cloned))
    trained = facts.trained
    if trained is not None and trained.started_from is not None:
        told.append(f"Reinforcement learning started from {as_text(_public_name(trained.started_from))}.")
    if trained is not None:
        tasks = ", ".join(map(str, trained.task_ids))
        told.append(
            f"Reinforcement learning on {as_text(trained.suite)}, tasks {tasks}, from the training split of "
            f"their initial states. Iterations: {trained.iteration}."
        )
    if facts.mujoco is not None:
        told.append(f"Simulator: {describe(as_text(facts.mujoco))}.")
    return told or ["The policy's files do not say what it was trained on."]


def _public_name(started_from: str) -> str:
    """What others know a policy by; a path on the machine that trained it is nobody's affair."""
    known = is_repo_id(started_from) or started_from in shipped_policies()
    return started_from if known else "another checkpoint"


def _demonstrated(cloned: Cloning) -> str:
    names = sorted({str(each.task) for each in cloned.tasks if each.task is not None})
    shown = ", ".join(map(as_text, names[:_MOST_TASKS]))
    more = f" and {len(names) - _MOST_TASKS} more" if len(names) > _MOST_TASKS else ""
    suites = ", ".join(map(as_text, cloned.suites)) or "unnamed suites"
    tasks = f" Tasks: {shown}{more}." if names else ""
    return f"Cloned from {cloned.num_episodes} demonstrations of {suites}.{tasks}"


_MOST_TASKS = 20


def _table(measured: Sequence[Measured]) -> str:
    lines = [
        "| suite | tasks | initial states | actions | episodes | success | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in measured:
        low, high = each.interval
        tasks = ", ".join(map(str, each.task_ids))
        cells = [each.suite, tasks, each.init_states, each.actions, each.num_episodes]
        shown = [f"{100 * each.success_rate:.0f} %", f"{100 * low:.0f} to {100 * high:.0f} %"]
        lines.append("| " + " | ".join([*map(as_text, cells), *shown]) + " |")
    return (
        "\n".join(lines) + "\n\nIntervals are Wilson's, for as many independent episodes as those played are "
        "worth: repeats of an initial state are correlated. `model-index` above has the same figures."
    )


_WITH_LIBERO = "'ttrl-env[libero]'"


def _use(facts: _Facts, name: str | None) -> str:
    """Commands that load the policy, evaluate it and train it on."""
    where = "" if name is not None else "In this folder:\n"
    path = name or "."
    settings = " ".join(map(shlex.quote, facts.settings))
    return (
        f"{where}```bash\n"
        f"pip install {'ttrl-env && ttrl robotwin setup' if facts.robotwin else _WITH_LIBERO}\n"
        f"ttrl eval {path} {settings}\n"
        f"ttrl train policy.path={path} {settings} test_time_rl=true\n"
        f"```\n"
        f"```python\n"
        f"from ttrl_env.agents import load_policy\n\n"
        f"policy = load_policy({path!r})\n"
        f"```"
    )
