"""LIBERO's goal predicates, compiled to arrays and evaluated without LIBERO.

A goal is a conjunction of predicates such as ``On(bowl, plate)`` or ``Open(drawer)``. LIBERO looks up
objects, sites, joints and contacts by name at every check. :func:`compile_goal` looks them up once,
in LIBERO's environment; :func:`goal_holds` needs only MuJoCo's arrays.

The predicates equal LIBERO's exactly, including its quirks:

- For "on" a site, LIBERO rotates the offset between object and site by the site's orientation, where the
  inverse would be correct.
- Joint thresholds are strict on one side.
- Contacts and body positions are one substep older than joint positions, because they are not recomputed
  after the last integration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ttrl_env.engines.compiled import njit
from ttrl_env.engines.mujoco.libmujoco import load_address, load_int
from ttrl_env.engines.native.records import Goal
from ttrl_env.errors import UnsupportedTaskError

FALSE, TRUE, ON_OBJECT, ON_SITE, IN_SITE, UP, ANY_JOINT, ALL_JOINTS = range(8)
"""Kinds of compiled predicates."""

BELOW, UP_TO, ABOVE, FROM = range(4)
"""How a joint's position is compared with its threshold: <, <=, >, >=."""

NONE = -1


@dataclass(frozen=True, kw_only=True)
class JointCondition:
    """A comparison of a joint's position, recovered from one of LIBERO's methods."""

    comparison: int
    threshold: float


@dataclass(kw_only=True)
class _Predicate:
    """One row of a :class:`Goal` under construction."""

    kind: int
    body: int = NONE
    other: int = NONE
    size: Iterable[float] = (0.0, 0.0, 0.0)
    touching: bool = False
    geoms: tuple[list[str], list[str]] = ((), ())  # type: ignore[assignment]
    joints: Iterable[int] = ()
    comparison: int = NONE
    threshold: float = 0.0


def compile_goal(env: Any) -> Goal:
    """The goal of a built LIBERO environment (a ``BDDLBaseDomain``; it has no stubs).

    Raises :class:`UnsupportedTaskError` for a predicate that LIBERO itself cannot evaluate or that no
    LIBERO task uses.
    """
    predicates = [_compile_predicate(env, state) for state in env.parsed_problem["goal_state"]]
    model = env.sim.model
    ids = {model.geom_id2name(geom): geom for geom in range(model.ngeom)}
    geoms = np.zeros((len(predicates), 2, model.ngeom), dtype=np.bool_)
    most = max((len(list(predicate.joints)) for predicate in predicates), default=0)
    joints = np.full((len(predicates), max(most, 1)), NONE, dtype=np.int64)
    for row, predicate in enumerate(predicates):
        for side, names in enumerate(predicate.geoms):
            geoms[row, side, [ids[name] for name in names if name in ids]] = True
        joints[row, : len(list(predicate.joints))] = list(predicate.joints)
    columns = {field.name: [getattr(p, field.name) for p in predicates] for field in fields(_Predicate)}
    return Goal(
        kind=np.array(columns["kind"], dtype=np.int64),
        body=np.array(columns["body"], dtype=np.int64),
        other=np.array(columns["other"], dtype=np.int64),
        size=np.array([list(size) for size in columns["size"]], dtype=np.float64).reshape(-1, 3),
        touching=np.array(columns["touching"], dtype=np.bool_),
        geoms=geoms,
        joints=joints,
        comparison=np.array(columns["comparison"], dtype=np.int64),
        threshold=np.array(columns["threshold"], dtype=np.float64),
    )


def joint_condition(method: Callable[[float], bool], candidates: Iterable[float]) -> JointCondition:
    """Find out which comparison of a joint's position ``method`` makes, by calling it at chosen positions.

    LIBERO's object classes write these comparisons in code, such as ``is_open``; only the thresholds are
    data (``candidates``). Raises :class:`UnsupportedTaskError` if the method is not a single comparison
    with one of the candidates.
    """
    far_below = bool(method(-1e9))
    if far_below != bool(method(1e9)):
        for threshold in map(float, candidates):
            below = bool(method(float(np.nextafter(threshold, -np.inf))))
            above = bool(method(float(np.nextafter(threshold, np.inf))))
            if below == far_below != above:
                at = bool(method(threshold))
                comparison = (UP_TO if at else BELOW) if far_below else (FROM if at else ABOVE)
                return JointCondition(comparison=comparison, threshold=threshold)
    raise UnsupportedTaskError(f"{method} is not one comparison with one of {list(candidates)}")


@njit(nogil=True, error_model="numpy")
def goal_holds(goal, views, layout):  # type: ignore[no-untyped-def]
    """Whether every predicate holds; ``views`` are a replica's MuJoCo arrays."""
    for row in range(goal.kind.shape[0]):  # noqa: SIM110  compiled code has no all()
        if not _predicate_holds(goal, row, views, layout):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def _predicate_holds(goal, row, views, layout):  # type: ignore[no-untyped-def]
    kind = goal.kind[row]
    if kind in (TRUE, FALSE):
        return kind == TRUE
    if kind in (ANY_JOINT, ALL_JOINTS):
        return _joints_hold(goal, row, views.qpos, kind == ALL_JOINTS)
    position = views.xpos[goal.body[row]]
    if kind == UP:
        return position[2] >= 1.0
    if kind == ON_OBJECT:
        there = _on_object(position, views.xpos[goal.other[row]])
    elif kind == ON_SITE:
        there = _on_site(
            position, views.site_xpos[goal.other[row]], views.site_xmat[goal.other[row]], goal.size[row]
        )
    else:
        there = _in_site(
            position, views.site_xpos[goal.other[row]], views.site_xmat[goal.other[row]], goal.size[row]
        )
    return there and (not goal.touching[row] or _touch(goal.geoms[row], views.data, layout))


@njit(nogil=True, error_model="numpy")
def _on_object(position, other):  # type: ignore[no-untyped-def]
    offset = other[:2] - position[:2]
    return other[2] <= position[2] and np.sqrt(np.dot(offset, offset)) < 0.03


@njit(nogil=True, error_model="numpy")
def _on_site(position, site_pos, site_mat, size):  # type: ignore[no-untyped-def]
    delta = np.dot(site_mat.reshape(3, 3), position - site_pos)
    return size[2] - 0.005 < delta[2] < size[2] + 0.10 and abs(delta[0]) < size[0] and abs(delta[1]) < size[1]


@njit(nogil=True, error_model="numpy")
def _in_site(position, site_pos, site_mat, size):  # type: ignore[no-untyped-def]
    extent = np.abs(np.dot(site_mat.reshape(3, 3), size))
    for axis in range(3):
        lowest = site_pos[axis] - extent[axis]
        if axis == 2:
            lowest -= 0.01
        if not lowest < position[axis] < site_pos[axis] + extent[axis]:
            return False
    return True


@njit(nogil=True, error_model="numpy")
def _joints_hold(goal, row, qpos, every):  # type: ignore[no-untyped-def]
    comparison, threshold = goal.comparison[row], goal.threshold[row]
    for address in goal.joints[row]:
        if address != NONE and compare(qpos[address], comparison, threshold) != every:
            return not every
    return every


@njit(nogil=True, error_model="numpy")
def compare(position, comparison, threshold):  # type: ignore[no-untyped-def]
    """Whether a joint's position meets a :class:`JointCondition`."""
    if comparison == BELOW:
        return position < threshold
    if comparison == UP_TO:
        return position <= threshold
    if comparison == ABOVE:
        return position > threshold
    return position >= threshold


@njit(nogil=True, error_model="numpy")
def _touch(geoms, data, layout):  # type: ignore[no-untyped-def]
    """Whether a geom of the first set touches one of the second; ``geoms`` is ``[2, ngeom]`` bool."""
    contact = load_address(data + layout.pointer) + layout.geoms
    for _ in range(load_int(data + layout.number)):
        first, second = load_int(contact), load_int(contact + 4)
        if (geoms[0, first] and geoms[1, second]) or (geoms[0, second] and geoms[1, first]):
            return True
        contact += layout.stride
    return False


def _compile_predicate(env: Any, state: list[str]) -> _Predicate:
    name, *arguments = state
    states = [env.object_states_dict[argument] for argument in arguments]
    sites = [wrapper.object_state_type == "site" for wrapper in states]
    if name in ("true", "printjointstate"):
        return _Predicate(kind=TRUE)
    if name == "false":
        return _Predicate(kind=FALSE)
    if name == "up" and sites == [False]:
        return _Predicate(kind=UP, body=_body(env, arguments[0]))
    if name == "on" and sites == [False, False]:
        return _on_object_predicate(env, *arguments)
    if name in ("on", "in") and sites == [False, True]:
        return _site_predicate(env, name, *arguments)
    if name in ("open", "close", "turnon", "turnoff") and len(states) == 1:
        return _joint_predicate(env, name, arguments[0])
    raise UnsupportedTaskError(
        f"{env.bddl_file_name}: the goal predicate {state} is not one that the native engine knows; "
        f"use engine='upstream' for this task"
    )


def _on_object_predicate(env: Any, name: str, other: str) -> _Predicate:
    return _Predicate(
        kind=ON_OBJECT,
        body=_body(env, name),
        other=_body(env, other),
        touching=True,
        geoms=(env.get_object(name).contact_geoms, env.get_object(other).contact_geoms),
    )


def _site_predicate(env: Any, predicate: str, name: str, site: str) -> _Predicate:
    parent = env.get_object(env.object_states_dict[site].parent_name)
    touching = predicate == "on" and parent is not None  # zones on tables have no parent
    return _Predicate(
        kind=ON_SITE if predicate == "on" else IN_SITE,
        body=_body(env, name),
        other=env.sim.model.site_name2id(site),
        size=env.object_sites_dict[site].size,
        touching=touching,
        geoms=(env.get_object(name).contact_geoms, parent.contact_geoms) if touching else ([], []),
    )


def _joint_predicate(env: Any, predicate: str, name: str) -> _Predicate:
    kind = ANY_JOINT if predicate in ("open", "turnon") else ALL_JOINTS
    owner = env.get_object(getattr(env.object_states_dict[name], "parent_name", name))
    method = {"open": "is_open", "close": "is_close", "turnon": "turn_on", "turnoff": "turn_off"}[predicate]
    condition = joint_condition(getattr(owner, method), articulation_ranges(owner))
    joints = env.get_object(name).joints
    return _Predicate(
        kind=kind,
        joints=[env.sim.model.get_joint_qpos_addr(joint) for joint in joints],
        comparison=condition.comparison,
        threshold=condition.threshold,
    )


def articulation_ranges(owner: Any) -> list[float]:
    """Every bound that an articulated object of LIBERO declares."""
    ranges = owner.object_properties["articulation"].values()
    return [float(bound) for pair in ranges for bound in pair]


def _body(env: Any, name: str) -> int:
    return int(env.obj_body_id[name])
