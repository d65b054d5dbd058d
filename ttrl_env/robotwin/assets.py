"""RoboTwin's assets: the folder they are in, which are missing, and where they come from.

They are robots, objects and textures, in a data set of the Hugging Face hub. They come with no package.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ttrl_env.errors import MissingDependencyError
from ttrl_env.robotwin.installation import find_environment
from ttrl_env.robotwin.processes import PYTHON_VARIABLE

ASSETS_VARIABLE = "TTRL_ROBOTWIN_ASSETS"
"""Environment variable that names the folder of the assets."""

RUNTIME_VARIABLE = "ROBOTWIN_ASSETS_ROOT"
"""The runtime's own variable for the same folder."""

REPOSITORY = "TianxingChen/RoboTwin2.0"
"""The data set on the hub."""

ARCHIVES_GB = {"embodiments.zip": 0.22, "objects.zip": 3.7, "background_texture.zip": 11.0}
"""Archives of the data set and their sizes in gigabytes, as those who downloaded them have published."""

EMBODIMENT = Path("assets/embodiments/aloha-agilex/config.yml")
OBJECTS = Path("assets/objects")
TEXTURES = Path("assets/background_texture")


def find_assets(assets: str | None = None, python: str | None = None) -> Path:
    """The folder that holds ``assets/``: ``assets``, or what the environment names.

    Args:
        assets: the folder, if it is named.
        python: the runtime's interpreter, whose command gets the assets, for the message.

    Raises:
        MissingDependencyError: none is named, or it holds no robot; the message says where to get it.
    """
    name, folder = _named(assets)
    if folder is None:
        raise MissingDependencyError(
            f"assets: no folder of RoboTwin's assets is named; set env.robotwin.assets or {ASSETS_VARIABLE} "
            f"to it. {how_to_get_assets(python)}"
        )
    root = Path(folder).expanduser()
    if not (root / EMBODIMENT).is_file():
        inside = root.name == "assets" and (root.parent / EMBODIMENT).is_file()
        advice = f"Name the folder above it, {root.parent}" if inside else how_to_get_assets(python)
        raise MissingDependencyError(f"{name}: expected a folder with {EMBODIMENT}, got {folder}. {advice}")
    return root


def missing_objects(root: Path, objects: Sequence[str]) -> list[str]:
    """Those of ``objects``, RoboTwin's names of models, that the assets in ``root`` lack."""
    return [name for name in objects if not (root / OBJECTS / name).is_dir()]


def missing_for_randomized(root: Path) -> list[str]:
    """What the assets in ``root`` lack of the backgrounds and the clutter of ``demo_randomized``."""
    backgrounds = TEXTURES / "unseen"  # an evaluation's; ``seen`` is for collecting demonstrations
    missing = [] if any((root / backgrounds).glob("*")) else [backgrounds]
    lists = (OBJECTS / "objaverse/list.json", OBJECTS / "same.json")
    return [str(path) for path in (*missing, *(each for each in lists if not (root / each).is_file()))]


def how_to_get_assets(python: str | None = None) -> str:
    """Where the assets come from, how large they are, and the command that gets them.

    ``python`` is the runtime's interpreter, beside which the command is; ``None``: the usual one.
    """
    sizes = ", ".join(f"{name} ({size:g} GB)" for name, size in ARCHIVES_GB.items())
    usual = python or os.environ.get(PYTHON_VARIABLE) or find_environment()
    folder = Path(usual).parent if usual and os.path.isfile(usual) else None
    where = f"{folder}/" if folder else "BIN/"
    return (
        f"The assets are {sizes} of the data set {REPOSITORY} on the Hugging Face hub, 16 GB unpacked. "
        f"The runtime gets them with `{where}robotwin-download-assets --output FOLDER`"
        + ("" if folder else ", where BIN is the folder of its interpreter")
    )


def _named(assets: str | None) -> tuple[str, str | None]:
    """What names the folder, and the folder."""
    if assets:
        return "assets", assets
    for variable in (ASSETS_VARIABLE, RUNTIME_VARIABLE):
        if os.environ.get(variable):
            return variable, os.environ[variable]
    return "assets", None
