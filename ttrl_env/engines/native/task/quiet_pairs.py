"""Pairs of bodies that cannot touch, found once so that substeps need not check them for contacts.

A cabinet's drawers lie a millimetre apart inside it, so MuJoCo compares their boxes a hundred times in every
substep, without finding a contact. That takes a twelfth of the time of a scene with a cabinet.

A drawer only slides. Suppose that the projections of two boxes on an axis are apart at both ends of an
interval of the slide. They are then apart in the whole interval, because the gap is linear in the slide.

So while every drawer is within its interval, these pairs can be left out without changing a bit. The interval
is all of the drawer's range but the last millimetre before it is shut. :class:`QuietModel` is MuJoCo's model
with the pairs excluded; before each substep the control step chooses between it and the full model.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.mujoco.model_copies import ShallowCopy
from ttrl_env.engines.mujoco.records import ModelLayout
from ttrl_env.engines.native.records import QuietPairs

_GAP_M = 1e-5
"""Required gap between projections: a thousand million times their rounding errors."""


class QuietModel(ShallowCopy):
    """A model that shares all data with another except the list of excluded pairs."""

    def __init__(self, model: mujoco.MjModel, layout: ModelLayout, pairs: QuietPairs) -> None:
        """Copy ``model``, which must stay alive and keep its options."""
        excluded = np.sort(np.concatenate([model.exclude_signature, pairs.signatures]))
        super().__init__(model, layout, exclude_signature=excluded, nexclude=len(excluded))


class _Slider(NamedTuple):
    """A body made of boxes that stands still or slides along one joint."""

    joint: int
    """Its only joint, or -1."""
    direction: NDArray[np.float64]
    """``[3]`` direction of the slide, world frame; zero if the body stands still."""
    centres: NDArray[np.float64]
    """``[num_boxes, 3]`` the boxes' centres with every slide at zero."""
    axes: NDArray[np.float64]
    """``[num_boxes, 3, 3]`` the boxes' axes, by rows."""
    sizes: NDArray[np.float64]
    """``[num_boxes, 3]`` half sizes."""


def find_quiet_pairs(model: mujoco.MjModel) -> QuietPairs:
    """The pairs of a model that cannot touch, and the interval of each slide for which that holds."""
    sliders = _sliders(model)
    intervals: dict[int, tuple[float, float]] = {}
    quiet = []
    moving = [body for body, slider in sliders.items() if slider.joint >= 0]
    still = [body for body, slider in sliders.items() if slider.joint < 0]
    for mover, fixed in itertools.product(moving, still):
        found = _interval(model, sliders[mover], sliders[fixed])
        if found is not None:
            joint = sliders[mover].joint
            lowest, highest = intervals.get(joint, (-np.inf, np.inf))
            intervals[joint] = (max(lowest, found[0]), min(highest, found[1]))
            quiet.append((mover, fixed))
    for one, other in itertools.combinations(moving, 2):
        a, b = sliders[one], sliders[other]
        if a.joint in intervals and b.joint in intervals:
            corners = list(itertools.product(intervals[a.joint], intervals[b.joint]))
            if a.joint != b.joint and _apart(a, b, corners):
                quiet.append((one, other))
    joints = sorted(intervals)
    return QuietPairs(
        signatures=np.array(sorted((min(p) << 16) + max(p) for p in quiet), dtype=np.int64),
        joints=np.array([model.jnt_qposadr[joint] for joint in joints], dtype=np.int64),
        lowest=np.array([intervals[joint][0] for joint in joints], dtype=np.float64),
        highest=np.array([intervals[joint][1] for joint in joints], dtype=np.float64),
    )


def _sliders(model: mujoco.MjModel) -> dict[int, _Slider]:
    """Every body whose colliding geoms are boxes and that is fixed to the world or moves by one slide."""
    data = mujoco.MjData(model)
    slides = model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE
    data.qpos[model.jnt_qposadr[slides]] = 0.0
    mujoco.mj_kinematics(model, data)
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    found = {}
    for body in range(model.nbody):
        geoms = np.flatnonzero((model.geom_bodyid == body) & collides)
        boxes = model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_BOX
        joints = _joints_to_world(model, body)
        if not geoms.size or not boxes.all() or model.geom_margin[geoms].any():
            continue
        if len(joints) > 1 or not slides[joints].all():
            continue
        found[body] = _Slider(
            joint=joints[0] if joints else -1,
            direction=data.xaxis[joints[0]].copy() if joints else np.zeros(3),
            centres=data.geom_xpos[geoms].copy(),
            axes=data.geom_xmat[geoms].reshape(-1, 3, 3).transpose(0, 2, 1).copy(),
            sizes=model.geom_size[geoms].copy(),
        )
    return found


def _joints_to_world(model: mujoco.MjModel, body: int) -> list[int]:
    joints: list[int] = []
    while body:
        first = model.body_jntadr[body]
        joints += range(first, first + model.body_jntnum[body])
        body = model.body_parentid[body]
    return joints


def _interval(model: mujoco.MjModel, mover: _Slider, fixed: _Slider) -> tuple[float, float] | None:
    """The longest interval around the middle of a slide's range in which two bodies are apart.

    ``None`` if they are not apart in the middle, or not at zero, the slide's rest position.
    """
    lowest, highest = model.jnt_range[mover.joint] + (-0.1, 0.1)
    middle = model.jnt_range[mover.joint].mean()
    if not _apart(mover, fixed, [(middle, 0.0)]):
        return None
    lowest, highest = (_furthest(mover, fixed, middle, end) for end in (lowest, highest))
    return (lowest, highest) if lowest <= 0.0 <= highest else None


def _furthest(mover: _Slider, fixed: _Slider, start: float, end: float) -> float:
    """The furthest position from ``start`` towards ``end`` up to which the bodies stay apart."""
    reached = 0.0
    for bit in range(1, 13):  # bisection
        step = reached + 0.5**bit
        if _apart(mover, fixed, [(start, 0.0), (start + step * (end - start), 0.0)]):
            reached = step
    return start + reached * (end - start)


def _apart(one: _Slider, other: _Slider, slides: list[tuple[float, float]]) -> bool:
    """Whether each pair of boxes is apart on one axis, in the same order, at all ``slides``."""
    return all(
        _boxes_apart(one, i, other, j, slides) for i in range(len(one.sizes)) for j in range(len(other.sizes))
    )


def _boxes_apart(one: _Slider, i: int, other: _Slider, j: int, slides: Any) -> bool:
    """Separating axis test of two boxes, over their face normals and the cross products of their edges."""
    crosses = np.cross(one.axes[i][:, None], other.axes[j][None]).reshape(-1, 3)
    lengths = np.linalg.norm(crosses, axis=1, keepdims=True)
    crosses = (crosses / np.maximum(lengths, 1e-6))[lengths[:, 0] > 1e-6]
    axes = np.concatenate([one.axes[i], other.axes[j], crosses])
    reach = np.abs(axes @ one.axes[i].T) @ one.sizes[i] + np.abs(axes @ other.axes[j].T) @ other.sizes[j]
    apart = np.array(
        [
            axes @ (other.centres[j] + b * other.direction - one.centres[i] - a * one.direction)
            for a, b in slides
        ]
    )
    return bool(((apart > reach + _GAP_M).all(axis=0) | (apart < -reach - _GAP_M).all(axis=0)).any())
