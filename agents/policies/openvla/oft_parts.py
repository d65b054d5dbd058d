"""Refuses checkpoints with parts of OpenVLA-OFT, in files beside the weights, that are not implemented."""

from __future__ import annotations

from pathlib import Path

from ttrl_env.errors import CheckpointError

PROJECTOR = "proprio_projector"
"""The one part that is implemented, in files or as a prefix of tensors
(:mod:`ttrl_env.agents.policies.openvla.projector_files`)."""

PARTS = {
    "action_head": (
        "a regression or diffusion head. Such a checkpoint has no distribution over action tokens to sample "
        "from (its lm_head is untrained)"
    ),
    "noisy_action_projector": "a diffusion head: there is no distribution over action tokens to sample from",
    "vision_backbone": "FiLM: its weights expect a vision backbone that the instruction modulates",
    "film": "FiLM: its weights expect a vision backbone that the instruction modulates",
}
"""Descriptions of unsupported parts, by the beginning of their file names."""


def part_folders(folder: Path) -> list[Path]:
    """Where a checkpoint's parts may be: its folder, and that of the run whose ``lora_adapter`` it is.

    OpenVLA-OFT writes parts such as ``proprio_projector--150000_checkpoint.pt`` into a run's folder, and
    adapters into its subfolder ``lora_adapter``.
    """
    return [folder, *([folder.parent] if folder.resolve().name == "lora_adapter" else [])]


def refuse_parts(folder: Path) -> None:
    """Raise :class:`CheckpointError` if a checkpoint's folder contains parts that are not implemented."""
    names = sorted(entry.name for each in part_folders(folder) for entry in each.iterdir())
    found = {name: said for name in names for part, said in PARTS.items() if is_file_of(name, part)}
    known = {*found, *(name for name in names if is_file_of(name, PROJECTOR))}
    others = [name for name in names if name.endswith("_checkpoint.pt") and name not in known]
    if found or others:
        said = [f"{name}, {said}" for name, said in found.items()] + [
            f"{name}, a further part" for name in others
        ]
        raise CheckpointError(
            f"policy.path: {folder} is an OpenVLA-OFT with {'; '.join(said)}. That is not implemented here: "
            f"take a checkpoint fine-tuned with discrete tokens and nothing beside the weights but "
            f"{PROJECTOR}"
        )


def is_file_of(name: str, part: str) -> bool:
    """Whether a file name is of ``part``, as ``part--150000_checkpoint.pt``, ``part.pt`` and so on."""
    return name == part or (name.startswith(part) and name[len(part)] in "-.")
