"""The actor between the user's process and those of a run, and what the run's first process does with it.

The driver shows what the run has to say, passes the request to stop on, and raises the run's errors as its
own.
"""

from __future__ import annotations

import io
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ttrl_env.agents.common.interrupts import StopRequest
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.common.supervision import Supervisor
from ttrl_env.errors import TTRLError

Message = tuple[Any, ...]
"""The name of a method of :class:`Display`, or of a standard stream, and its arguments."""

_STREAMS = ("stdout", "stderr")


@dataclass(frozen=True, kw_only=True)
class Course:
    """How far a run is when its processes start, for the first time or again."""

    starts: int
    """How often they have started before."""
    began: bool
    """Whether the run has begun: from then on checkpoints in ``output_dir`` are its own."""
    failure: TTRLError | None
    """The error that ends it, as starting again would meet it too."""


class Relay:
    """The actor, which runs beside the driver and so lives as long as the run."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._starts = 0
        self._began = self._stopping = False
        self._failure: TTRLError | None = None

    def enter(self, is_main: bool) -> Course:
        """Say how far the run is to a process that starts."""
        self._starts += is_main
        return Course(starts=self._starts - is_main, began=self._began, failure=self._failure)

    def began(self) -> None:
        """See :meth:`Supervisor.began`."""
        self._began = True

    def tell(self, *message: Any) -> None:
        """Keep a message for the driver."""
        self._messages.append(message)

    def take(self) -> tuple[list[Message], TTRLError | None]:
        """The messages since the last call, and the error that has ended the run."""
        messages, self._messages = self._messages, []
        return messages, self._failure

    def fail(self, error: TTRLError) -> None:
        """End the run with an error; the first one counts."""
        self._failure = self._failure or error

    def stop(self) -> None:
        """Ask the run to end after its iteration."""
        self._stopping = True

    def stop_requested(self) -> bool:
        """Whether the run has been asked to end."""
        return self._stopping


def start_relay() -> Any:
    """Start the actor on the driver's node; returns Ray's handle."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Relay).options(num_cpus=0, scheduling_strategy=here).remote()


class RelayedDisplay(Display):
    """The display of a run's first process: the driver shows what it is given."""

    def __init__(self, relay: Any) -> None:
        super().__init__(Console(quiet=True))
        self._tell = relay.tell.remote

    def say(self, text: str) -> None:
        """See :class:`Display`, as for the others."""
        self._tell("say", text)

    @contextmanager
    def training(self, iterations: int, completed: int) -> Iterator[None]:
        """See :class:`Display`."""
        self._tell("training", iterations, completed)
        yield

    def rollout(self, finished: int, total: int) -> None:
        """See :class:`Display`."""
        self._tell("rollout", finished, total)

    def evaluating(self, finished: int, total: int) -> None:
        """See :class:`Display`."""
        self._tell("evaluating", finished, total)

    def iteration(self, number: int, metrics: dict[str, Any], seconds_left: float | None = None) -> None:
        """See :class:`Display`."""
        self._tell("iteration", number, metrics, seconds_left)

    def evaluation(self, iteration: int, result: dict[str, Any]) -> None:
        """See :class:`Display`."""
        self._tell("evaluation", iteration, result)


class RelayedStream(io.TextIOBase):
    """A standard stream of a run's first process: the driver writes the same to its own."""

    def __init__(self, relay: Any, name: str) -> None:
        self._tell = relay.tell.remote
        self._name = name

    def write(self, text: str) -> int:
        """Relay the text."""
        self._tell(self._name, text)
        return len(text)


def show(messages: list[Message], display: Display, bars: ExitStack) -> None:
    """Do in the driver what :class:`RelayedDisplay` was asked; ``bars`` holds the bars of the training."""
    for name, *arguments in messages:
        if name in _STREAMS:
            getattr(sys, name).write(*arguments)
        elif name == "training":
            bars.close()  # those of the processes before
            bars.enter_context(display.training(*arguments))
        else:
            getattr(display, name)(*arguments)


@contextmanager
def relayed_streams(relay: Any) -> Iterator[None]:
    """While this context is open, what Python prints here appears in the driver, such as warnings."""
    with redirect_stdout(RelayedStream(relay, "stdout")), redirect_stderr(RelayedStream(relay, "stderr")):
        yield


class RelayedSupervisor(Supervisor):
    """Watches over a run that Ray Train has started.

    Args:
        relay: Ray's handle of the :class:`Relay`.
        is_main: whether this is the run's first process.
        copies_of: the run's folder, if Ray Train copies its checkpoints (``ray.storage_path``).
    """

    def __init__(self, relay: Any, *, is_main: bool, copies_of: str | None) -> None:
        self._relay = relay
        self._is_main = is_main
        self._copies_of = copies_of

    def stop_request(self, answer: str) -> StopRequest:
        """The driver's; it has given the answer."""
        return _RelayedStop(self._relay) if self._is_main else StopRequest()

    def began(self) -> None:
        """Tell the relay, and wait until it knows. Copy a checkpoint that the processes died with."""
        import ray

        if self._is_main:
            ray.get(self._relay.began.remote())
        if self._copies_of is not None:
            self._catch_up(self._copies_of)

    def saved(self, checkpoint: Path) -> None:
        """Have Ray Train copy the checkpoint, and wait until its controller knows the copy.

        The controller looks for reports every two seconds. Processes that died before it did would be started
        again from the copy before, or from none.
        """
        if self._copies_of is None:
            return
        from ray import train

        copied = train.Checkpoint.from_directory(checkpoint) if self._is_main else None
        # Ray Train wants no name twice, and a run that resumes earlier writes an iteration again
        train.report({}, checkpoint=copied, checkpoint_dir_name=f"{checkpoint.name}_{uuid.uuid4().hex[:8]}")
        train.get_all_reported_checkpoints(train.CheckpointConsistencyMode.COMMITTED)

    def _catch_up(self, output_dir: str) -> None:
        """Copy the last checkpoint unless it is copied."""
        from ray import train
        from ray.train.collective import broadcast_from_rank_zero

        last = next(reversed(list_checkpoints(output_dir)), None)
        stored = train.get_checkpoint()
        copied = last is None or (stored is not None and name_of_copy(stored) == last.name)
        missing: str | None = broadcast_from_rank_zero(None if copied else str(last))
        if missing is not None:
            self.saved(Path(missing))


def name_of_copy(stored: Any) -> str:
    """The name that a checkpoint had in its run, from Ray Train's copy of it."""
    return Path(stored.path).name.rpartition("_")[0]


class _RelayedStop(StopRequest):
    """Whether the driver was asked to stop. Ray runs the training in a thread, which gets no signals."""

    def __init__(self, relay: Any) -> None:
        super().__init__()
        self._relay = relay

    @property
    def requested(self) -> bool:
        """See :class:`StopRequest`."""
        import ray

        return bool(ray.get(self._relay.stop_requested.remote()))
