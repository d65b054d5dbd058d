"""What LIBERO knows about a task without a simulator: its objects, and the samplers that place them.

LIBERO rebuilds its whole model at every reset, which takes seconds. What a reset then draws from NumPy's
global generator needs none of that: the samplers read the objects' radii and heights, which are in the XML.
So LIBERO's own problem class is built here without its simulator, a tenth of a second, once a task. Its
samplers are kept and drawn from, in LIBERO's order.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.libero.upstream import bddl_utils, envs


class Placement(NamedTuple):
    """Where a sampler put an object."""

    obj: Any
    """LIBERO's object."""
    is_fixture: bool
    """Whether it has no free joint, so that its place is a constant of the model."""
    pos: NDArray[np.float64]
    """``[3]`` metres."""
    quat: NDArray[np.float64]
    """``[4]`` as the sampler gives it: wxyz."""


class Scene:
    """A task of LIBERO without a simulator."""

    def __init__(self, bddl_file: str) -> None:
        """Read the task's definition and its objects' XML."""
        problem_info = bddl_utils.get_problem_info(bddl_file)
        self.problem_name: str = problem_info["problem_name"]
        self.problem: Any = _problem_without_simulator(bddl_file, self.problem_name)
        """LIBERO's ``BDDLBaseDomain`` (it has no stubs); its ``sim`` is ``None``."""
        self.articulations: list[tuple[Any, list[str]]] = [
            (sampler, self._joints(sampler.name)) for sampler in self.problem.object_property_initializers
        ]
        """The samplers of joint positions (open drawers, running stoves), and the joints that each sets."""
        self.fixture_poses = _poses_in_xml(self.problem)
        """Position and quaternion of each sampled fixture's root body in a model that was just compiled."""

    def place_objects(self, site_xpos: Any) -> list[Placement]:
        """Draw places for all objects and fixtures from NumPy's global generator.

        Args:
            site_xpos: function that gives a site's position ``[3]`` by name, in metres.

        Raises:
            RandomizationError: robosuite's, if the objects overlap in every attempt.
        """
        problem = self.problem
        placed = problem.placement_initializer.sample()
        placed = problem.conditional_placement_initializer.sample(_Sites(site_xpos), placed)
        placed = problem.conditional_placement_on_objects_initializer.sample(placed)
        return [
            Placement(obj, obj.name in problem.fixtures_dict, np.array(pos), np.array(quat))
            for pos, quat, obj in placed.values()
        ]

    def _joints(self, name: str) -> list[str]:
        """The joints that LIBERO sets when it opens, closes or switches something."""
        if name in self.problem.object_sites_dict:
            return list(self.problem.object_sites_dict[name].joints)
        return list(self.problem.get_object(name).joints)


def open_scene(bddl_file: str) -> Scene:
    """The scene of a BDDL file; scenes of the same unchanged file are shared."""
    place = Path(os.path.realpath(bddl_file))
    found = place.stat()
    return _scene(str(place), found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=32)
def _scene(bddl_file: str, mtime_ns: int, size: int) -> Scene:
    return Scene(bddl_file)


class _Sites:
    """What LIBERO's samplers read of a simulation: positions of sites, as ``sim.data.get_site_xpos``."""

    def __init__(self, site_xpos: Any) -> None:
        self.data = self
        self.get_site_xpos = site_xpos


def _problem_without_simulator(bddl_file: str, name: str) -> Any:
    """LIBERO's problem of a BDDL file with its model in XML, but neither compiled nor reset."""
    base = envs.TASK_MAPPING[name]

    def nothing(self: Any, xml_string: str | None = None) -> None:
        self.sim = None

    methods = {
        "_initialize_sim": nothing,
        "_reset_internal": nothing,
        "_setup_observables": lambda self: OrderedDict(),
    }
    without_simulator = type(base.__name__, (base,), methods)  # LIBERO compares the class's name
    robosuite = envs.env_wrapper.suite
    with contextlib.redirect_stdout(io.StringIO()):
        return without_simulator(
            bddl_file,
            robots=["Panda"],
            controller_configs=robosuite.load_controller_config(default_controller="OSC_POSE"),
            initialization_noise=None,
            has_offscreen_renderer=False,
            use_camera_obs=False,
        )


def _poses_in_xml(problem: Any) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The poses that compiling gives to the fixtures' root bodies, by the body's name.

    They are compiled by themselves: only MuJoCo knows how it rounds them.
    """
    root = problem.model.root
    poses = {}
    for name in problem.fixtures_dict:
        body = root.find(f".//body[@name='{problem.get_object(name).root_body}']")
        if body is None:  # the table: part of the arena, and never sampled
            continue
        attributes = " ".join(f'{key}="{value}"' for key, value in body.attrib.items() if key in _POSE)
        angle = root.find("compiler").get("angle", "degree")
        model = mujoco.MjModel.from_xml_string(
            f'<mujoco><compiler angle="{angle}"/><worldbody><body {attributes}/></worldbody></mujoco>'
        )
        poses[body.get("name")] = (model.body_pos[1].copy(), model.body_quat[1].copy())
    return poses


_POSE = ("pos", "quat", "euler", "axisangle", "xyaxes", "zaxis")
"""The attributes of a body in MuJoCo's XML that say where it is."""
