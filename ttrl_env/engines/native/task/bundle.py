"""A task compiled once: everything a simulation of it needs, kept in a cache folder.

Building a LIBERO environment takes seconds and over a gigabyte, because robosuite assembles the scene
from XML and meshes. A :class:`TaskBundle` holds the result: MuJoCo's compiled model, with the fixtures where
LIBERO's seeded reset puts them, and the numbers of robosuite's controller and LIBERO's goal. Opening a
bundle needs neither robosuite nor LIBERO's environments. :mod:`ttrl_env.engines.native.task.files` stores
it on disk.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
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
    """The MuJoCo version that compiled the bundle, which tells LIBERO's (:mod:`ttrl_env.libero_version`).
    A bundle of another version is not read, whatever folder it is in."""
    model: mujoco.MjModel
    """The scene with its fixtures in place and each texture cut to one pixel. Shared by every replica."""
    model_layout: ModelLayout
    textures: Textures
    """The full textures, which :attr:`model` lacks; each renderer uploads them."""
    arrays: TaskArrays
    arm_at_reset: ArmState
    """The controller's state after LIBERO's reset, measured before objects are placed."""
    burner_alpha: NDArray[np.float32]
    """``[num_burners]`` opacity after a reset."""
    state_at_reset: NDArray[np.float64]
    """MuJoCo's integration state after a reset; an episode's initial state overwrites part of it."""
    place: Path | None = None
    """The folder in which the bundle is stored; ``None`` if it is not stored."""
    rendering: threading.Lock = field(default_factory=threading.Lock)
    """Lock held while a replica's burner colours are written into the model; the rest never changes."""

    @functools.cached_property
    def quiet_model(self) -> QuietModel:
        """A copy of the model without the pairs of bodies that cannot touch; see ``quiet_pairs.py``."""
        return QuietModel(self.model, self.model_layout, self.arrays.quiet)
