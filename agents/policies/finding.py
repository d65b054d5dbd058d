"""What a policy is called by: a path, the name of one that comes with the package, a hub repository."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ttrl_env.agents.common.checkpoint_files import check_own_files, own_folder
from ttrl_env.agents.common.run_folder import is_checkpoint, list_checkpoints
from ttrl_env.errors import CheckpointError

SHIPPED = Path(__file__).parents[1] / "shipped"
"""A folder for each policy that comes with the package."""

HUB = "hf:"
"""Prefix of a name that means a hub repository, even where a folder has the name of its owner."""

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")

_OFT_PARTS = ("action_head--*", "noisy_action_projector--*", "proprio_projector--*", "vision_backbone--*")
"""Taken too, so that what cannot be loaded is refused and not silently left out."""

_DESCRIPTION = ("*.json",)

_FILES = (*_DESCRIPTION, "*.safetensors", "*.model", "*.txt", "*.py", *_OFT_PARTS)


def find_policy(name: str | Path, argument: str = "policy.path", *, described: bool = False) -> Path:
    """The folder, with config and weights, of the policy that ``name`` means.

    Whatever exists under that path comes first: a policy's own folder, a training checkpoint, or a run,
    whose last checkpoint is taken. Then come the policies that the package brings along
    (:func:`shipped_policies`), then the Hugging Face hub's repositories ``owner/name`` and
    ``owner/name@revision``, which are downloaded to its cache. ``argument`` is what ``name`` was given as,
    for the error. Where the policy only needs to be ``described``, no weights are downloaded.

    Where a folder ``owner`` exists, ``owner/name`` is taken for a mistyped path and the hub is not asked:
    ``hf:owner/name`` always means the repository.

    Raises:
        CheckpointError: there is no such policy, it cannot be downloaded, or one of its files, or the policy
            of a training checkpoint, is a link to elsewhere or no regular file.
    """
    path = Path(os.path.expanduser(name))
    if path.name in ("", ".."):  # a folder is known by where it lies
        path = path.resolve()
    if path.exists():
        return _own(_policy_in(path, argument), argument)
    if str(name) in shipped_policies():
        return SHIPPED / str(name)
    if is_repo_id(name):
        _refuse_likely_path(str(name), argument)
        files = _DESCRIPTION if described else _FILES
        return _own(_downloaded(hub_name(name), argument, files), argument)
    raise CheckpointError(
        f"{argument}: there is no folder {str(name)!r}, and no policy of that name comes with the package."
        f"{_nearest(str(name))} Expected a folder, owner/name on the Hugging Face hub, or one of: "
        f"{', '.join(shipped_policies())}"
    )


def shipped_policies() -> list[str]:
    """Names of the policies that come with the package."""
    return sorted(config.parent.name for config in SHIPPED.glob("*/config.json"))


def is_repo_id(name: str | Path) -> bool:
    """Whether ``name`` can only mean a hub repository: ``owner/name``, and no such file or folder."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if _REPO_ID.fullmatch(hub_name(name)) is None or Path(os.path.expanduser(name)).exists():
        return False
    try:
        validate_repo_id(hub_name(name).partition("@")[0])
    except HFValidationError:
        return False
    return True


def hub_name(name: str | Path) -> str:
    """A repository's name on the hub, ``owner/name`` or ``owner/name@revision``."""
    return str(name).removeprefix(HUB)


def _refuse_likely_path(name: str, argument: str) -> None:
    """Raise if a repository's name is more likely a mistyped path, as of a run."""
    owner = name.partition("/")[0]
    if not name.startswith(HUB) and Path(owner).is_dir():
        raise CheckpointError(
            f"{argument}: there is no {name!r} in the folder {owner!r}.{_nearest(name)} For the repository "
            f"of that name on the Hugging Face hub, write {HUB}{name}"
        )


def _nearest(name: str) -> str:
    """A question after the policy or the neighbouring folder that may be meant, or nothing."""
    parent = Path(os.path.expanduser(name)).parent
    neighbours = [str(Path(name).parent / file.name) for file in parent.iterdir()] if parent.is_dir() else []
    nearest = difflib.get_close_matches(name, [*shipped_policies(), *neighbours], n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def _policy_in(path: Path, argument: str) -> Path:
    """The policy's folder in one that exists."""
    if any((path / file).is_file() for file in ("config.json", "adapter_config.json")):
        return path
    if is_checkpoint(path):
        return own_folder(path, "policy", argument)
    checkpoints = list_checkpoints(path)
    if checkpoints:
        return own_folder(checkpoints[-1], "policy", argument)
    raise CheckpointError(
        f"{argument}: {path} has no config.json and no checkpoints; expected a folder written by "
        f"save_pretrained, a training checkpoint, a run's folder that has some, or a published OpenVLA "
        f"checkpoint"
    )


def _own(folder: Path, argument: str) -> Path:
    """``folder``, if its files are its own."""
    if folder.is_dir():
        check_own_files(folder, argument)
    return folder


def _downloaded(name: str, argument: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo_id, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{argument}: there is no folder {name}, and the hub's repository of that name cannot be "
            f"downloaded ({error}).{_nearest(name)} Without a connection, give the path of a downloaded copy"
        ) from error
