"""``ttrl push``: a policy and its model card to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from ttrl_env.agents.commands.arguments import read_arguments
from ttrl_env.agents.config.bounds import Text
from ttrl_env.errors import ConfigError

if TYPE_CHECKING:
    from ttrl_env.agents.training.publishing import Publication


@dataclass(frozen=True, kw_only=True)
class PushConfig:
    """What is uploaded, and where to."""

    path: Annotated[str | None, Text()] = None
    """A policy's folder, a training checkpoint, or a run, whose last checkpoint is taken."""
    repo: Annotated[str | None, Text()] = None
    """Repository on the hub, owner/name; it is created if there is none."""
    report: Annotated[str | None, Text()] = None
    """Folder of `ttrl eval`'s report on this policy: its figures enter the model card; its text, figure
    and videos are uploaded too. null: the card has what the training run measured."""
    private: bool = False
    """Create the repository as a private one; one that exists stays as it is."""
    dry_run: bool = True
    """Only show what would be uploaded; false uploads."""


SCHEMA = PushConfig


def run(arguments: Sequence[str]) -> int:
    """Show what would be uploaded, or upload it."""
    config = read_arguments("push", arguments, SCHEMA)
    if config is None:
        return 0
    if config.path is None or config.repo is None:
        key = "path" if config.path is None else "repo"
        raise ConfigError(f"{key}: name what to upload and where to, e.g. `ttrl push runs/ttrl owner/name`")
    from ttrl_env.agents.training.publishing import check_token, publication, upload

    if not config.dry_run:
        check_token()
    content = publication(config.path, config.repo, config.report)
    _show(content)
    if config.dry_run:
        print(f"\n{content.card.decode(errors='replace')}")
        print(f"Nothing is uploaded to {content.address} without dry_run=false.")
    else:
        print(f"Uploaded: {upload(content, private=config.private)}")
    return 0


def _show(content: Publication) -> None:
    print(f"To {content.address}:")
    for name, size in content.sizes.items():
        print(f"  {_readable(size):>9}  {name}")
    if content.left_out:
        print(f"Left out: {', '.join(content.left_out)}")


def _readable(size: int) -> str:
    """A size in decimal units with three digits."""
    units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")]
    factor, unit = next(((factor, unit) for factor, unit in units if size >= factor), (1.0, "B"))
    return f"{size / factor:.3g} {unit}"
