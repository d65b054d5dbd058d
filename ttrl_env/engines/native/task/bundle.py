"""A task compiled once: everything a simulation of it needs, kept in a cache folder.

Building a LIBERO environment takes seconds and over a gigabyte, because robosuite assembles the scene
from XML and meshes. A :class:`TaskBundle` is what remains of it: MuJoCo's compiled model, with the
fixtures where LIBERO's seeded reset puts them, and the numbers that robosuite's controller and
LIBERO's goal are made of. Opening a bundle needs neither robosuite nor LIBERO's environments. How it is
kept on disk is in :mod:`ttrl_env.engines.native.task.files`.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from pathlib import Path

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco.records import ModelLayout
from ttrl_env.engines.native.records import ArmState, TaskArrays
from ttrl_env.engines.native.task.quiet_pairs import QuietModel
from ttrl_env.engines.native.task.textures import Textures


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskBundle:
    """One task, ready to be simulated."""

    mujoco_version: str
    """The version that compiled it, and so which LIBERO it is (:mod:`ttrl_env.libero_version`). A file of
    another one is not read, whatever folder it is in."""
    model: mujoco.MjModel
    """The scene, fixtures in place, its textures cut to a pixel. Shared by every replica."""
    model_layout: ModelLayout
    textures: Textures
    """The textures, which :attr:`model` lacks: each renderer uploads them."""
    arrays: TaskArrays
    arm_at_reset: ArmState
    """The controller's memory as LIBERO's reset leaves it, measured before objects are placed."""
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` opacity after a reset."""
    state_at_reset: NDArray[np.float64]
    """MuJoCo's integration state after a reset; an episode's initial state overwrites part of it."""
    place: Path | None = None
    """The folder that it is kept in; ``None`` if it is in none."""
    rendering: threading.Lock = field(default_factory=threading.Lock)
    """Held while a replica's burner is painted into the model; nothing else of the model changes."""

    @functools.cached_property
    def quiet_model(self) -> QuietModel:
        """The model without the pairs of bodies that cannot touch; see ``quiet_pairs.py``."""
        return QuietModel(self.model, self.model_layout, self.arrays.quiet)
