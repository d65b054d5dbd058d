"""Trains on a Ray cluster: the part of ``launcher=ray`` that runs in the user's process."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from ttrl_env.agents.common.interrupts import StopRequest
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.common.run_folder import list_checkpoints
from ttrl_env.agents.common.supervision import STOPPING
from ttrl_env.agents.config.resuming import resume_argument
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.on_ray.cluster import (
    gpus_per_worker,
    joined_cluster,
    missing_resources,
    require_ray,
    require_resources,
)
from ttrl_env.agents.on_ray.relay import show, start_relay
from ttrl_env.agents.on_ray.worker import Assignment, run_worker
from ttrl_env.engines.make_engine import EngineChoice, OwnEngine
from ttrl_env.errors import ClusterError, ConfigError, WorkersDiedError

_LOOK_SECONDS = 0.2
"""Time between two looks at what the run has to say."""

_COUNT_SECONDS = 10.0
"""Time between two looks at the cluster's resources, which shrink when a node dies."""


def train_on_ray(
    job: str, config: TrainConfig, display: Display, engine: OwnEngine | EngineChoice | None
) -> Path:
    """Have Ray Train run ``job`` in ``config.ray.num_workers`` processes; returns the last checkpoint.

    ``job`` names a :data:`~ttrl_env.agents.on_ray.worker.Job`, as ``module:function``.

    What the first process shows appears on ``display``. The first Ctrl-C (or SIGTERM, SIGHUP) to this process
    ends the run after its iteration, with a checkpoint.

    Raises:
        MissingDependencyError: Ray Train is not installed.
        ClusterError: the cluster cannot be joined, or the node that it was joined through is lost.
        ConfigError: it has less than the processes ask for.
        WorkersDiedError: processes died more often than ``config.ray.max_failures``.
        TTRLError: the run's own error, as with one process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "launcher: Ray starts the processes itself; start `ttrl train launcher=ray` once, without "
            "torchrun, or set launcher=torchrun"
        )
    require_ray()
    with joined_cluster(config.ray):
        num_gpus = gpus_per_worker(config.ray, config.policy.device)
        each = {"CPU": config.ray.cpus_per_worker, **({"GPU": float(num_gpus)} if num_gpus else {})}
        require_resources(config.ray, each)
        _require_storage(config)
        relay = start_relay()
        assignment = Assignment(job=job, config=config, engine=engine, relay=relay, started_in=os.getcwd())
        display.say(
            f"Ray:        {config.ray.num_workers} processes with "
            f"{' and '.join(f'{amount:g} {name}' for name, amount in each.items())} each"
        )
        return _Watch(config, each, relay, display).over(_trainer(assignment, each))


def _storage(config: TrainConfig) -> dict[str, str]:
    """Where Ray Train is to keep what it is given, as keywords of its ``RunConfig``."""
    output_dir, path = Path(config.output_dir).absolute(), config.ray.storage_path
    if path is None:  # it wants a place even if it is given no checkpoints
        return {"storage_path": str(output_dir), "name": ".ray"}
    address = path if "://" in path else str(Path(path).expanduser().absolute())
    return {"storage_path": address, "name": output_dir.name}


def _require_storage(config: TrainConfig) -> None:
    """Raise :class:`ConfigError` unless Ray Train can write to ``ray.storage_path``."""
    from ray.train import RunConfig

    if config.ray.storage_path is None:
        return
    try:
        run = RunConfig(**_storage(config))
        _ = run.storage_context  # made, and tried, when first asked for
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise ConfigError(
            f"ray.storage_path: expected a folder or an address that can be written to, got "
            f"{config.ray.storage_path!r}: {error}"
        ) from error


def _trainer(assignment: Assignment, each: dict[str, float]) -> Any:
    """Ray Train's trainer, configured."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    config = assignment.config
    on_gpu = "GPU" in each
    return TorchTrainer(
        run_worker,
        train_loop_config={"assignment": assignment},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.ray.num_workers,
            use_gpu=on_gpu,
            resources_per_worker=each,
            placement_strategy=config.ray.placement.upper(),
        ),
        run_config=RunConfig(
            **_storage(config),
            failure_config=FailureConfig(max_failures=config.ray.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
        ),
    )


class _Watch:
    """The driver while the run goes on: shows its lines, and passes the request to stop on."""

    def __init__(self, config: TrainConfig, each: dict[str, float], relay: Any, display: Display) -> None:
        self._config = config
        self._each = each
        self._relay = relay
        self._display = display
        self._result: Any = None
        self._error: Exception | None = None
        self._counted = time.monotonic()
        self._short = False

    def over(self, trainer: Any) -> Path:
        """Start the trainer and wait for its end; returns the run's last checkpoint."""
        # Ray's own handling of Ctrl-C, which ends a run at once, is for the main thread
        fit = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        with StopRequest(STOPPING) as stop, ExitStack() as bars:
            fit.start()
            told = False
            while fit.is_alive():
                fit.join(_LOOK_SECONDS)
                if stop.requested and not told:
                    self._relay.stop.remote()
                    told = True
                self._look(bars)
            self._look(bars)
        if self._error is not None:
            raise_failure(self._error, self._config)
        return Path(self._result.return_value)

    def _fit(self, trainer: Any) -> None:
        """Run the trainer, in a thread of its own."""
        try:
            self._result = trainer.fit()
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            self._error = error

    def _look(self, bars: ExitStack) -> None:
        """Show what the run has said since the last look, and raise the error that has ended it."""
        import ray

        try:
            messages, failure = ray.get(self._relay.take.remote())
        except ray.exceptions.RayActorError as error:
            raise_failure(error, self._config)
        show(messages, self._display, bars)
        if failure is not None:
            raise failure
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._counted = time.monotonic()
            shortage = missing_resources(self._config.ray, self._each)
            if shortage is not None and not self._short:
                self._display.say(f"Ray waits for nodes: {shortage}")
            self._short = shortage is not None


def raise_failure(error: Exception, config: TrainConfig) -> NoReturn:
    """Raise the error of a run that Ray has given up, with how to go on; errors of the run as they are.

    Raises:
        WorkersDiedError: processes died more often than ``config.ray.max_failures``.
        ClusterError: the node that this process had joined is lost.
    """
    from ray.exceptions import RayActorError
    from ray.train import TrainingFailedError

    if not isinstance(error, (TrainingFailedError, RayActorError)):
        raise error
    saved = list_checkpoints(config.output_dir)
    rest = f"Continue with {resume_argument(saved[-1])}" if saved else "No checkpoint had been written"
    if isinstance(error, RayActorError):
        raise ClusterError(
            f"launcher=ray: the node that this command was connected to is lost, and the run with it:\n"
            f"{_last_lines(error)}\n{rest}"
        ) from error
    raise WorkersDiedError(
        f"ray.max_failures: processes of the run died more often than {config.ray.max_failures} times, the "
        f"last time of:\n{_last_lines(error)}\n{rest}"
    ) from error


def _last_lines(error: Exception) -> str:
    """The end of an error's text, which has the tracebacks of all processes."""
    return "\n".join(f"  {line}" for line in str(error).strip().splitlines()[-12:])
