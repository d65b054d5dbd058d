"""Checks for faults of a policy checkpoint that would cause no error, only bad results; one function each.

A check returns a description of what it found, or raises :class:`CheckFailed`, which says what is wrong and
what to do. Checks that apply only to OpenVLA are in :mod:`ttrl_env.agents.checkup.openvla`. No check needs a
simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil
import torch
from torch import Tensor, nn

from ttrl_env import tasks
from ttrl_env.agents.checkup.subject import Check, CheckFailed, Subject
from ttrl_env.agents.config.schema import EnvConfig, TrainConfig
from ttrl_env.agents.config.worlds import plays_robotwin
from ttrl_env.agents.distributed.devices import choose_device
from ttrl_env.agents.policies import PolicyInputs, TokenPolicy, building, load_policy
from ttrl_env.agents.policies.building import policy_options
from ttrl_env.agents.policies.cameras import robotwin_cameras
from ttrl_env.agents.update.micro_batch_size import fitting_chunks
from ttrl_env.errors import ConfigError, PolicyError

_INSTRUCTIONS = ("open the top drawer of the cabinet", "pick up the black bowl and place it on the plate")

_TEMPERATURES = (1.6, 0.9, 0.4)

_NOTICED = 1e-5
"""Smallest change of a log-probability that counts as a change."""

_LARGEST_DIFFERENCE, _MEAN_DIFFERENCE = 1e-4, 0.05
"""Tolerances for the difference between log-probabilities of rollout and update. In float32 the largest is
compared; in bfloat16 the mean, because its key-value cache rounds differently from one pass over all tokens.
A wrong temperature causes a much larger difference."""


def examine(config: TrainConfig, given: frozenset[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the name and function of each check of ``config.policy.path``; the first loads the policy.

    The later checks use the loaded policy, so call each check before taking the next one. If loading raises,
    no further checks are yielded. ``given`` are the configuration's keys that the user set.
    """
    loaded: list[TokenPolicy] = []

    def load() -> str:
        path = config.policy.path
        assert path is not None
        device = choose_device(config.policy.device)
        policy = load_policy(path, policy_options(config.policy, config.seed))
        assert isinstance(policy, nn.Module)
        nn.Module.to(policy, device)
        loaded.append(policy)
        return _describe(loaded[0])

    yield "checkpoint", load
    if not loaded:
        return
    size = _visible_size(loaded[0], config.env.image_size)
    subject = Subject(policy=loaded[0], config=config, given=given, image_size=size)
    for name, check in _checks_of(loaded[0]).items():
        yield name, lambda check=check: check(subject)  # type: ignore[misc]


def check_image_size(subject: Subject) -> str:
    """The policy can use images of size ``env.image_size``, or RoboTwin's."""
    env = subject.config.env
    if plays_robotwin(env):
        return _check_robotwins_images(subject.policy, env)
    asked = subject.config.env.image_size
    if asked != subject.image_size and subject.given & {"env.image_size", "preset"}:
        raise CheckFailed(
            f"the policy cannot use env.image_size={asked}; set env.image_size={subject.image_size}"
        )
    return f"env.image_size={subject.image_size}"


def _check_robotwins_images(policy: TokenPolicy, env: EnvConfig) -> str:
    try:
        robotwin_cameras(policy.cameras)
        building.check_image_size(policy, env)
    except (ConfigError, PolicyError) as error:
        raise CheckFailed(str(error)) from error
    return f"{' and '.join(policy.cameras)}, {env.robotwin.image_height} x {env.robotwin.image_width} pixels"


def check_image_matters(subject: Subject) -> str:
    """Different images give different action probabilities."""
    instructions = _INSTRUCTIONS[:1]
    change = _difference(subject, subject.inputs(instructions), subject.inputs(instructions, seed=1))
    if change < _NOTICED:
        raise CheckFailed(
            "two different images give the same action probabilities: the policy does not see. Weights of "
            "the vision part are probably zero or were never loaded"
        )
    return f"another image changes log-probabilities by up to {change:.2g}"


def check_instruction_matters(subject: Subject) -> str:
    """Different instructions give different action probabilities."""
    change = _difference(subject, *(subject.inputs([instruction]) for instruction in _INSTRUCTIONS))
    if change < _NOTICED:
        raise CheckFailed(
            "two different instructions give the same action probabilities: the policy does not read"
        )
    return f"another instruction changes log-probabilities by up to {change:.2g}"


def check_logprobs(subject: Subject) -> str:
    """``sample`` (rollout) and ``evaluate`` (update) give equal log-probabilities at all temperatures."""
    rows = len(_TEMPERATURES)
    inputs = subject.inputs([_INSTRUCTIONS[row % 2] for row in range(rows)])
    temperatures = torch.tensor(_TEMPERATURES)
    seeds = torch.arange(rows * subject.num_tokens).view(rows, -1)
    sampled = subject.policy.sample(inputs, temperatures, seeds)
    if not bool(sampled.valid.all()):
        raise CheckFailed("the policy's logits are NaN or infinite: damaged weights")
    evaluated = subject.policy.evaluate(inputs, sampled.tokens.cpu(), temperatures).logprobs
    differences = (evaluated.detach().cpu() - sampled.logprobs.cpu()).abs()
    exact = _computes_in_float32(subject)
    difference = float(differences.max() if exact else differences.mean())
    tolerance = _LARGEST_DIFFERENCE if exact else _MEAN_DIFFERENCE
    by = f"{difference:.2g} {'at most' if exact else 'on average'}"
    if not difference <= tolerance:
        raise CheckFailed(
            f"log-probabilities of the same tokens differ between rollout and update by {by} (expected: up "
            f"to {tolerance:g}): PPO's ratio would not start at 1"
        )
    return f"rollout and update differ by {by}, at temperatures {', '.join(map(str, _TEMPERATURES))}"


def check_precision(subject: Subject) -> str:
    """Trainable weights are float32: in bfloat16, rounding would cancel AdamW's small steps."""
    types = {parameter.dtype for parameter in subject.policy.parameters() if parameter.requires_grad}
    if types != {torch.float32}:
        raise CheckFailed(
            f"the weights to be trained are {', '.join(sorted(map(str, types)))}, in which small steps are "
            f"rounded away. Train adapters (policy.openvla.lora_rank=32), or set "
            f"policy.openvla.dtype=float32 and policy.openvla.autocast=true"
        )
    return "what trains is float32"


def check_horizon(subject: Subject) -> str:
    """``env.max_steps``, if set, is a multiple of the chunk length."""
    env, chunk = subject.config.env, subject.policy.chunk_steps
    horizon = env.max_steps or tasks.horizon(env.suite, env.task_ids)
    if env.max_steps is not None and horizon % chunk:
        raise CheckFailed(
            f"env.max_steps={horizon} is not a multiple of the policy's {chunk} actions a chunk: the last "
            f"chunk would be cut. Set env.max_steps={-(-horizon // chunk) * chunk}"
        )
    cut = f"; {env.suite}'s own horizon cuts the last one after {horizon % chunk}" if horizon % chunk else ""
    return f"{horizon} steps of {env.suite} are {-(-horizon // chunk)} chunks of {chunk}{cut}"


def check_memory(subject: Subject) -> str:
    """Weights, gradients, AdamW's state and a micro-batch fit into memory.

    The memory of a micro-batch is extrapolated from one and two chunks.
    """
    limit = subject.config.ppo.micro_batch_chunks
    free = _free_bytes(subject.device)
    trained = [parameter for parameter in subject.policy.parameters() if parameter.requires_grad]
    weights = sum(parameter.nbytes for parameter in subject.policy.parameters()) / 1e9
    training = 3 * sum(parameter.nbytes for parameter in trained) / 1e9  # gradients and two moments
    said = (
        f"weights {weights:.3g} GB, gradients and AdamW {training:.3g} GB, {free / 1e9:.3g} GB free beside "
        f"the weights"
    )
    if training * 1e9 >= free:
        raise CheckFailed(
            f"{said}: the optimiser does not fit. Train adapters with policy.openvla.lora_rank=32, or divide "
            f"it over several GPUs (docs/scaling.md)"
        )
    inputs, temperatures = subject.inputs(_INSTRUCTIONS[:1]), torch.ones(1)

    def loss_of(chunks: int) -> Tensor:
        many = {key: tensor.expand(chunks, *tensor.shape[1:]) for key, tensor in inputs.items()}
        tokens = torch.zeros(chunks, subject.num_tokens, dtype=torch.int64)
        return subject.policy.evaluate(many, tokens, temperatures.expand(chunks)).logprobs.mean()

    try:
        fits = fitting_chunks(loss_of, subject.device, gigabytes=free / 1e9 - training, limit=limit)
    except ConfigError as error:
        raise CheckFailed(f"{said}. {error}") from error
    finally:
        for parameter in trained:
            parameter.grad = None
    if fits < limit:
        raise CheckFailed(f"{said}: micro-batches of {fits} chunks fit. Set ppo.micro_batch_chunks={fits}")
    return f"{said}: micro-batches of ppo.micro_batch_chunks={limit} fit"


def _checks_of(policy: TokenPolicy) -> dict[str, Check]:
    from ttrl_env.agents.policies.openvla import OpenVLAPolicy

    checks: dict[str, Check] = {
        "image size": check_image_size,
        "image": check_image_matters,
        "instruction": check_instruction_matters,
        "log-probabilities": check_logprobs,
        "precision": check_precision,
        "horizon": check_horizon,
        "memory": check_memory,
    }
    if isinstance(policy, OpenVLAPolicy):
        from ttrl_env.agents.checkup.openvla import CHECKS

        checks |= CHECKS
    return checks


def _describe(policy: TokenPolicy) -> str:
    count = sum(parameter.numel() for parameter in policy.parameters())
    trained = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    return (
        f"{type(policy).__name__}, every tensor fits; {count:,} parameters, {trained:,} of them trained, "
        f"{policy.chunk_steps} actions a chunk"
    )


def _visible_size(policy: TokenPolicy, preferred: int) -> int:
    """The preferred image size if the policy can use it, otherwise the first common one that it can."""
    for size in (preferred, 256, 224, 128, 64, 32):
        try:
            policy.check_image_size(size)
        except ValueError:
            continue
        return size
    return preferred


def _difference(subject: Subject, first: PolicyInputs, second: PolicyInputs) -> float:
    return float((subject.logprobs(first) - subject.logprobs(second)).abs().max())


def _computes_in_float32(subject: Subject) -> bool:
    types = {parameter.dtype for parameter in subject.policy.parameters()}
    return types == {torch.float32} and not getattr(subject.policy, "autocast", False)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
