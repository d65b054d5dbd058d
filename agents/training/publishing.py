"""What of a policy goes to the Hugging Face hub, and its upload.

Only files go there that ``save_pretrained`` and ``ttrl eval`` write, known by their names. Code is not among
them, nor is anything with paths of the machine: a run's settings, its metrics, ``report.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from ttrl_env.agents.common.checkpoint_files import own_file
from ttrl_env.agents.common.hub_names import check_repo_name
from ttrl_env.agents.common.run_folder import is_checkpoint
from ttrl_env.agents.common.training_state import read_state
from ttrl_env.agents.evaluation.reports.measured import measured_in_report
from ttrl_env.agents.policies.finding import find_policy, is_repo_id
from ttrl_env.agents.policies.loading import read_cameras
from ttrl_env.agents.policies.model_card import CARD, has_own_text, model_card
from ttrl_env.agents.policies.openvla.adapter_config import ADAPTER_CONFIG, base_of
from ttrl_env.agents.policies.openvla.lora import ADAPTER_WEIGHTS
from ttrl_env.agents.policies.openvla.projector_files import PROJECTOR_FILE
from ttrl_env.agents.policies.origin import ACTION_SPACE_FILE
from ttrl_env.agents.policies.stored_weights import INDEX, open_tensors, weight_files
from ttrl_env.agents.training.checkpoints import evaluated_in_run
from ttrl_env.errors import CheckpointError, ConfigError

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    INDEX,
    ADAPTER_CONFIG,
    ACTION_SPACE_FILE,
    "dataset_statistics.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files beside the weights that a policy consists of."""

_UNREACHED: tuple[type[Any], ...] = HfHubHTTPError.__bases__
"""``OSError``, and ``HTTPError`` of httpx or httpx2, whichever the hub's library uses."""

_EVALUATION = "evaluation"
"""The folder in the repository for a report's text, figure and videos."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What an upload consists of."""

    repo: str
    files: dict[str, Path]
    """Files by their names in the repository, except the card."""
    card: bytes
    left_out: tuple[str, ...]
    """Names of what else the policy's folder holds."""

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file by its name in the repository, the card among them."""
        return {**{name: file.stat().st_size for name, file in self.files.items()}, CARD: len(self.card)}

    @property
    def address(self) -> str:
        """The repository's page."""
        return f"{constants.ENDPOINT}/{self.repo}"


def publication(path: str, repo: str, report: str | None = None) -> Publication:
    """Collect what is to be uploaded of a policy's folder, a training checkpoint or a run.

    Nothing is written, and the hub is not asked.

    Args:
        path: as :func:`~ttrl_env.agents.policies.finding.find_policy` takes it, but of this machine.
        repo: ``owner/name`` of the repository.
        report: folder of ``ttrl eval``'s report on this policy. Its figures, text and videos are added.

    Raises:
        ConfigError: ``repo`` is no name that the hub allows.
        CheckpointError: there is no policy, it cannot be used without files of this machine, one of its files
            is damaged, or the report is of another policy.
    """
    check_repo_name("repo", repo)
    if is_repo_id(path):
        raise CheckpointError(f"path: there is no folder {path}; what is on the hub is there already")
    folder = find_policy(path, "path")
    read_cameras(folder)  # raises unless the configuration is a policy's
    files = {file.name: file for file in _weights(folder)}
    files |= {name: own_file(folder, name) for name in _SMALL_FILES if (folder / name).exists()}
    measured = (
        evaluated_in_run(folder.parent, read_state(folder.parent)) if is_checkpoint(folder.parent) else []
    )
    if report is not None:
        measured = measured_in_report(Path(report).expanduser(), folder)
        files |= _evaluation_files(Path(report).expanduser())
    if has_own_text(folder):
        card = own_file(folder, CARD).read_bytes()
    else:
        card = model_card(folder, repo, measured).encode()
    left_out = {file.name for file in folder.iterdir()} - files.keys() - {CARD}
    return Publication(repo=repo, files=files, card=card, left_out=tuple(sorted(left_out)))


def check_token() -> None:
    """Raise unless there is a token with which to upload.

    Raises:
        ConfigError: says how to get one.
    """
    if get_token() is None:
        raise ConfigError(
            "dry_run=false: uploading needs a token of the hub with the permission to write. Run "
            "`hf auth login`, or set HF_TOKEN"
        )


def upload(content: Publication, *, private: bool) -> str:
    """Upload in one commit, to a repository that is created if there is none; returns the commit's address.

    Raises:
        CheckpointError: the hub refuses it or is not reached.
    """
    api = HfApi()
    try:
        api.create_repo(content.repo, private=private or None, exist_ok=True)
        operations = [CommitOperationAdd(name, file) for name, file in content.files.items()]
        operations.append(CommitOperationAdd(CARD, content.card))
        message = f"Upload {content.repo.partition('/')[2]} with ttrl-env"
        return api.create_commit(content.repo, operations, commit_message=message).commit_url
    except _UNREACHED as error:
        raise CheckpointError(f"repo: {content.repo} cannot be uploaded: {error}") from error


def _weights(folder: Path) -> Sequence[Path]:
    """The safetensors of a policy, each of which can be read."""
    if (folder / ADAPTER_CONFIG).exists():
        base = base_of(folder)
        if not is_repo_id(base):
            raise CheckpointError(
                f"path: the adapter in {folder} belongs to {base}, which nobody else has. Merge them "
                f"(save_pretrained with merge=True) and push the result, or write the base's owner/name into "
                f"{ADAPTER_CONFIG}"
            )
        beside = [file for file in [folder / PROJECTOR_FILE] if file.exists()]
        return _readable([folder / ADAPTER_WEIGHTS, *beside])
    return _readable(weight_files(folder))


def _readable(files: Iterable[Path]) -> list[Path]:
    found = []
    for file in files:
        with open_tensors(file):  # compares the header with the size
            found.append(own_file(file.parent, file.name))
    return found


def _evaluation_files(report: Path) -> dict[str, Path]:
    names = [name for name in ("report.md", "report.png") if (report / name).exists()]
    names += [
        f"videos/{file.name}" for file in sorted(report.glob("videos/*.mp4")) if _VIDEO.match(file.name)
    ]
    return {f"{_EVALUATION}/{name}": own_file(report, name, "report") for name in names}


_VIDEO = re.compile(r"(success|failure|gained|lost|same)_T\w+_task\d+_state\d+_episode\d+\.mp4$")
"""Names of a report's videos."""
