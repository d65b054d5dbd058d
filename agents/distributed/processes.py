"""Several processes training one policy, as ``torchrun`` starts them, and what they tell each other.

Small things (counts, lists, diagnostics) travel as Python objects between the processes' CPUs, through
:meth:`World.gather` alone. Weights and gradients are the business of
:mod:`ttrl_env.agents.policies.sharding`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ttrl_env.engines.opengl import load_triton_first
from ttrl_env.errors import ConfigError, TTRLError
from ttrl_env.machine.cores import usable_cores

T = TypeVar("T")


class ProcessEndedError(TTRLError):
    """Another process of the run has ended, so that this one cannot go on."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run, seen from one of them.

    Alone, every method returns at once what it is given. Otherwise all processes must call the same
    methods in the same order.
    """

    rank: int = 0
    """Which process this is."""
    size: int = 1
    """How many there are."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    """Where this process computes, if it is not alone."""
    processes_here: int = 1
    """How many of them share this machine."""

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    @property
    def num_workers(self) -> int | None:
        """This process's share of the machine's cores; ``None``: all of them."""
        return None if self.processes_here == 1 else max(1, usable_cores() // self.processes_here)

    def gather(self, value: T) -> list[T]:
        """Every process's ``value``, by rank. It is pickled: keep it small.

        Raises:
            ProcessEndedError: another process has ended.
        """
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(values, value)
        except RuntimeError as error:
            raise ProcessEndedError(
                f"process {self.rank} of {self.size} cannot go on, as another one has ended: see its message"
            ) from error
        return values

    def total(self, count: int) -> int:
        """The sum of every process's ``count``."""
        return sum(self.gather(count))

    def any(self, condition: bool) -> bool:
        """Whether ``condition`` holds in any process."""
        return any(self.gather(condition))

    def in_step(self, items: Sequence[T]) -> list[T | None]:
        """``items``, then ``None`` until every process has had as many.

        The weights of a sharded policy are put together by all processes at once, so they all have to
        call it equally often, needed or not.
        """
        idle = max(self.gather(len(items))) - len(items)
        return [*items, *[None] * idle]

    def part(self, count: int) -> slice:
        """Which of ``count`` things, a multiple of :attr:`size`, are this process's."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def on_main(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in the main process, the only one that does it; its errors are everyone's."""
        if self.alone:
            return work()
        outcome: tuple[Any, TTRLError | None] = (None, None)
        if self.is_main:
            try:
                outcome = (work(), None)
            except TTRLError as error:
                outcome = (None, error)
        result, failure = self.gather(outcome)[0]
        if failure is not None:
            raise failure
        return result


ALONE = World()
"""A run of one process."""


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """The processes that ``torchrun`` started, or :data:`ALONE` where it did not, or started one.

    They talk through PyTorch's default process group, which is made here and taken down at the end
    unless there is one already.

    Args:
        device: ``policy.device``; with several processes each takes the GPU of its local rank.

    Raises:
        ConfigError: the device cannot be had by every process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    local_rank = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    own = _own_device(device, local_rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
        _render_on(local_rank)
    made_here = not dist.is_initialized()
    if made_here:
        dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    yield World(
        rank=int(os.environ["RANK"]),
        size=size,
        device=own,
        processes_here=int(os.environ.get("LOCAL_WORLD_SIZE", size)),
    )
    if made_here:  # and not after an error: it would wait for processes that are not coming
        dist.destroy_process_group()


def _own_device(name: str, local_rank: int) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise ConfigError(
            f"policy.device: with several processes each takes a GPU of its own; expected auto, cuda or "
            f"cpu, got {name}"
        )
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"policy.device: expected a GPU for every process of a machine, got {torch.cuda.device_count()} "
            f"and a process of local rank {local_rank}; start fewer (torchrun --nproc-per-node)"
        )
    return torch.device("cuda", local_rank)


def _render_on(local_rank: int) -> None:
    """Let MuJoCo render on the GPU that this process computes on, unless the user has chosen one.

    EGL numbers a machine's GPUs whatever ``CUDA_VISIBLE_DEVICES`` says; where it sees fewer of them
    than that number, as with Mesa alone, the choice is left to MuJoCo.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    number = visible[local_rank] if local_rank < len(visible) and visible[local_rank] else str(local_rank)
    if number.isdecimal() and int(number) < _num_egl_devices():
        os.environ.setdefault("MUJOCO_EGL_DEVICE_ID", number)


def _num_egl_devices() -> int:
    """Devices that EGL can render on; 0 without EGL."""
    load_triton_first()
    try:
        get_address = ctypes.CDLL("libEGL.so.1").eglGetProcAddress
    except (OSError, AttributeError):
        return 0
    get_address.restype, get_address.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address = get_address(b"eglQueryDevicesEXT")
    if not address:
        return 0
    pointer = ctypes.POINTER(ctypes.c_int)
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, pointer)(address)
    count = ctypes.c_int(0)
    return count.value if query(0, None, ctypes.byref(count)) else 0
