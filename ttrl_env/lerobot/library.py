"""LeRobot's own classes of datasets, imported when they are used: they bring PyTorch."""

from __future__ import annotations

from typing import Any

from ttrl_env.errors import MissingDependencyError


def lerobot_datasets(doing: str) -> Any:
    """LeRobot's module with ``LeRobotDataset`` and ``LeRobotDatasetMetadata``.

    Args:
        doing: what it is for, as the error's first word: ``"reading"`` or ``"writing"``.

    Raises :class:`~ttrl_env.errors.MissingDependencyError` where LeRobot 0.6 is not installed.
    """
    try:
        import lerobot.datasets.lerobot_dataset as module
    except ImportError as error:
        raise MissingDependencyError(
            f"{doing} a LeRobotDataset needs LeRobot 0.6 or newer, and Python 3.12 or newer. "
            "Install it with: pip install 'lerobot[dataset]>=0.6'"
        ) from error
    return module
