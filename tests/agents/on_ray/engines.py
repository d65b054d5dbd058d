"""Simulations that meet with an accident, once; Ray's processes import them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.agents.reach import ReachEngine
from ttrl_env.engines.interface import EngineConfig
from ttrl_env.errors import UnsupportedTaskError


class AccidentEngine(ReachEngine):
    """In the process of a rank, :meth:`accident` happens before a given step, once in the run.

    Args:
        config: as for any engine.
        rank: the process.
        after_steps: calls of ``step`` before the accident.
        mark: a file that says that it has happened.
    """

    def __init__(self, config: EngineConfig, *, rank: int, after_steps: int, mark: Path) -> None:
        super().__init__(config)
        self.is_near = os.environ["RANK"] == str(rank)
        self.after_steps = after_steps
        self.mark = mark

    def step(self, rows, actions, max_steps):
        if self.is_near and len(self.stepped_rows) == self.after_steps and not self.mark.exists():
            self.mark.touch()
            self.accident()
        return super().step(rows, actions, max_steps)

    def accident(self) -> None:
        """The process is killed, as by the kernel when memory runs out."""
        os.kill(os.getpid(), signal.SIGKILL)


class LostNodeEngine(AccidentEngine):
    """The other node than the driver's dies: its raylet, the parent of Ray's processes there, and they."""

    def __init__(self, config: EngineConfig, *, drivers_node: str, **accident) -> None:
        import ray

        super().__init__(config, rank=0, **accident)
        self.is_near = ray.get_runtime_context().get_node_id() != drivers_node

    def accident(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        super().accident()


class LostDiskEngine(AccidentEngine):
    """The run's folder is lost too, as with a machine that has it on its own disk."""

    output_dir: Path

    def __init__(self, config: EngineConfig, *, output_dir: Path, **accident) -> None:
        super().__init__(config, **accident)
        self.output_dir = output_dir

    def accident(self) -> None:
        shutil.rmtree(self.output_dir)
        super().accident()


class InterruptedEngine(AccidentEngine):
    """The user presses Ctrl-C in the driver."""

    driver: int

    def __init__(self, config: EngineConfig, *, driver: int, **accident) -> None:
        super().__init__(config, **accident)
        self.driver = driver

    def accident(self) -> None:
        os.kill(self.driver, signal.SIGINT)


class RefusingEngine(ReachEngine):
    """Cannot be made in the second process."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        if os.environ["RANK"] == "1":
            raise UnsupportedTaskError("task 0 of libero_spatial cannot be simulated here")
