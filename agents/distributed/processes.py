"""Several processes, started by ``torchrun``, that train one policy, and the messages between them.

Counts, lists and diagnostics are exchanged as Python objects between CPUs, by :meth:`World.gather` alone.
:mod:`ttrl_env.agents.policies.sharding` exchanges weights and gradients.
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
from ttrl_env.errors import ConfigError, TTRLError, WorkersDiedError
from ttrl_env.machine.cores import usable_cores

T = TypeVar("T")


class ProcessEndedError(WorkersDiedError):
    """Another process of the run has ended, so this one cannot continue."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a run, from the view of one of them.

    In a run of one process every method returns its argument at once. Otherwise all processes must call the
    same methods in the same order.
    """

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes in the run."""
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    """Device of this process; unused in a run of one process."""
    processes_here: int = 1
    """Number of the run's processes on this machine."""

    @property
    def alone(self) -> bool:
        """Whether this is the run's only process."""
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
        """Every process's ``value``, in the order of ranks. Values are pickled and should be small.

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
        """``items``, padded with ``None`` to the largest number that any process has.

        All processes together gather the weights of a sharded policy. So each must call the policy equally
        often, even with nothing to compute.
        """
        idle = max(self.gather(len(items))) - len(items)
        return [*items, *[None] * idle]

    def part(self, count: int) -> slice:
        """This process's slice of ``count`` items; ``count`` is a multiple of :attr:`size`."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def on_main(self, work: Callable[[], T]) -> T:
        """Call ``work`` in the main process only; all processes return its result or raise its error."""
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
    """Context with the processes that ``torchrun`` started, or :data:`ALONE` if there is only this one.

    They communicate through PyTorch's default process group. It is created here and destroyed at the end,
    unless it exists already.

    Args:
        device: ``policy.device``; with several processes each takes the GPU of its local rank.

    Raises:
        ConfigError: there is no such device for every process.
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
    if made_here:  # not after an error: it would wait for processes that have ended
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
    """Make MuJoCo render on the GPU on which this process computes, unless the user has chosen one.

    EGL's numbers of GPUs ignore ``CUDA_VISIBLE_DEVICES``. If EGL has no device of the GPU's number, as with
    Mesa alone, MuJoCo chooses.
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
