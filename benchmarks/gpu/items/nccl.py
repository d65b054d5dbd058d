"""NCCL with one process: messages arrive, and a sharded policy computes what the whole one does."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.gpu.figures import Figures, NotPossibleError, Setting
from benchmarks.gpu.policies import tiny_vla, tiny_vla_inputs
from benchmarks.torch_timing import timed
from ttrl_env.agents.distributed.processes import World
from ttrl_env.agents.policies.sharding import share_policy, whole_weights

MEGABYTES = 256


class _LoneWorld(World):
    """A world of one process that takes the ways of several."""

    alone = False


def measure(figures: Figures, setting: Setting) -> None:
    """Join a group of one, as ``torchrun`` would, and shard a TinyVLA in it.

    Raises:
        NotPossibleError: this build of PyTorch has no NCCL.
        SystemExit: a message or the sharded policy is wrong.
    """
    if not (setting.dry_run or dist.is_nccl_available()):
        raise NotPossibleError("this build of PyTorch has no NCCL")
    device = torch.device(setting.device, 0) if setting.device == "cuda" else torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        backend = "gloo" if setting.dry_run else "cpu:gloo,cuda:nccl"
        dist.init_process_group(
            backend, init_method=Path(folder, "store").resolve().as_uri(), rank=0, world_size=1
        )
        _sum(figures, setting, device)
        _shard(figures, setting, _LoneWorld(device=device))
        dist.destroy_process_group()


def _sum(figures: Figures, setting: Setting, device: torch.device) -> None:
    """Time a sum over all processes, which with one leaves the values as they are."""
    megabytes = 1 if setting.dry_run else MEGABYTES
    values = torch.arange(megabytes * 2**18, device=device, dtype=torch.float32)
    expected = values.clone()
    seconds, _ = timed(lambda: dist.all_reduce(values), setting.rounds)
    if not torch.equal(values, expected):
        raise SystemExit("all_reduce over one process changed the values")
    figures.add(f"all_reduce of {megabytes} MB", 1e3 * statistics.median(seconds), "ms")


def _shard(figures: Figures, setting: Setting, world: World) -> None:
    """Evaluate the same chunks with a whole and a sharded policy, and compare weights put together again."""
    whole, sharded = tiny_vla(world.device, small=setting.dry_run), tiny_vla(small=setting.dry_run)
    share_policy(sharded, world)
    inputs, temperatures = tiny_vla_inputs(whole, 4), torch.linspace(0.4, 1.6, 4)
    tokens = torch.randint(256, (4, whole.chunk_steps * 7))
    want = whole.evaluate(inputs, tokens, temperatures).logprobs
    got = sharded.evaluate(inputs, tokens, temperatures).logprobs
    got.mean().backward()
    difference = float((got - want).detach().abs().max())
    figures.add("sharded policy against the whole one", difference, "nats", "largest difference of log-probs")
    weights = whole_weights(sharded, world) or {}
    same = all(torch.equal(weights[name], value.cpu()) for name, value in whole.state_dict().items())
    if difference > 1e-4 or not same:
        raise SystemExit(f"the sharded policy is another one: log-probabilities differ by {difference:.2g}")
