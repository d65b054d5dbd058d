"""``ttrl convert``: demonstrations in HDF5 files as one LeRobotDataset, for LeRobot's training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.common.interrupts import StopRequest, ending_at_once
from ttrl_env.agents.common.progress import Display
from ttrl_env.agents.config.bounds import Distinct, Text
from ttrl_env.agents.config.output_folders import Folder, FolderSettings
from ttrl_env.demonstrations.layout import Pairing
from ttrl_env.engines.interface import CameraName
from ttrl_env.errors import ConfigError
from ttrl_env.machine.folder_lock import require_writable

_STOPPING = "Stopping after this episode; nothing is left of the dataset."


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(FolderSettings):
    """A LeRobotDataset (v3) of HDF5 files. LeRobot writes it: `pip install 'ttrl-env[lerobot]'`."""

    data: tuple[Annotated[str, Text()], ...] = ()
    """HDF5 files in LIBERO's layout, or folders that are searched for them."""
    output_dir: Annotated[str | None, Folder()] = None
    """The dataset's folder, which must not exist yet."""
    repo_id: Annotated[str | None, Text()] = None
    """The dataset's name on the hub, owner/name; null: local/ and the folder's name. Nothing is uploaded."""
    cameras: Annotated[tuple[CameraName, ...], Distinct("camera")] = ("agentview", "robot0_eye_in_hand")
    """Cameras of the files to include."""
    use_videos: bool = True
    """Store images as videos, which are small and lossy; false: as PNG files, exactly."""
    pairing: Pairing = "auto"
    """Observation i comes "before" action i (ours) or "after" it (published files); "auto": from the file."""


SCHEMA = ConvertConfig


def run(arguments: Sequence[str]) -> int:
    """Write the dataset; after an interruption there is none."""
    config = read_arguments("convert", arguments, SCHEMA, _load)
    if config is None:
        return 0
    assert config.output_dir is not None
    folder = Path(config.output_dir)
    require_writable(folder.parent, "output_dir")
    with ending_at_once():
        from ttrl_env.lerobot.dataset import write_dataset
        from ttrl_env.lerobot.library import lerobot_datasets

        lerobot_datasets("writing")
    display = Display()
    started = time.perf_counter()
    with StopRequest(_STOPPING) as stop, display.bar(str(folder), 1) as show:

        def progress(done: int, total: int) -> None:
            show(done, total)
            if stop.requested:
                raise KeyboardInterrupt

        write_dataset(
            config.data,
            folder,
            config.repo_id or f"local/{folder.name}",
            cameras=config.cameras,
            use_videos=config.use_videos,
            pairing=config.pairing,
            progress=progress,
        )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    display.say(f"{folder}  {size / 1e6:.1f} MB, {time.perf_counter() - started:.0f} s")
    return 0


def _load(overrides: Sequence[str]) -> ConvertConfig:
    from ttrl_env.agents.common.hub_names import check_repo_name
    from ttrl_env.agents.config.loading import load_settings

    config = load_settings(ConvertConfig, overrides)
    if not config.data or config.output_dir is None:
        key = "output_dir" if config.data else "data"
        example = "`ttrl convert demos/libero_object datasets/libero_object`"
        raise ConfigError(f"{key}: name what to convert and where to, e.g. {example}")
    if Path(config.output_dir).exists():
        raise ConfigError(
            f"output_dir: expected a folder that does not exist yet, got {config.output_dir}; choose another"
        )
    if not config.cameras:
        raise ConfigError("cameras: expected at least one, got []")
    if config.repo_id is not None:
        check_repo_name("repo_id", config.repo_id)
    return config
