"""Compiled goal predicates against LIBERO's own, on random states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ttrl_env.engines.reference import libero_simulation
from ttrl_env.engines.mujoco.layouts import contact_layout
from ttrl_env.engines.native.records import Goal, Views
from ttrl_env.engines.native.task.goals import (
    ABOVE,
    BELOW,
    FROM,
    UP_TO,
    articulation_ranges,
    compare,
    compile_goal,
    goal_holds,
    joint_condition,
)
from ttrl_env.errors import UnsupportedTaskError

METHODS: dict[int, Callable[[float], Callable[[float], bool]]] = {
    BELOW: lambda threshold: lambda q: q < threshold,
    UP_TO: lambda threshold: lambda q: q <= threshold,
    ABOVE: lambda threshold: lambda q: q > threshold,
    FROM: lambda threshold: lambda q: q >= threshold,
}


@settings(deadline=None)  # the first example loads compiled code
@given(
    comparison=st.sampled_from(sorted(METHODS)),
    threshold=st.floats(-3, 3),
    others=st.lists(st.floats(-3, 3), max_size=3),
    position=st.floats(-4, 4),
)
def test_a_comparison_is_recovered_from_its_method(
    comparison: int, threshold: float, others: list[float], position: float
) -> None:
    method = METHODS[comparison](threshold)
    found = joint_condition(method, [*others, threshold])
    assert (found.comparison, found.threshold) == (comparison, threshold)
    for q in (position, threshold, np.nextafter(threshold, 9), np.nextafter(threshold, -9)):
        assert compare(float(q), found.comparison, found.threshold) == method(float(q))


@pytest.mark.parametrize(
    "method", [lambda q: True, lambda q: abs(q) < 1.0, lambda q: q < 0.5], ids=["constant", "band", "unnamed"]
)
def test_anything_but_one_comparison_with_a_known_threshold_is_refused(method: Callable) -> None:
    with pytest.raises(UnsupportedTaskError, match="is not one comparison with one of"):
        joint_condition(method, [0.0, 1.0])


ARTICULATED = {
    "wooden_cabinet": ("is_open", "is_close"),
    "white_cabinet": ("is_open", "is_close"),
    "short_cabinet": ("is_open", "is_close"),
    "microwave": ("is_open", "is_close"),
    "short_fridge": ("is_open", "is_close"),
    "flat_stove": ("turn_on", "turn_off"),
}
"""Every object that a LIBERO goal opens, closes or turns, and how it tells."""


@pytest.fixture(scope="module")
def articulated() -> dict[str, Any]:
    from libero.libero.envs.objects import OBJECTS_DICT

    return {name: OBJECTS_DICT[name]() for name in ARTICULATED}


@pytest.mark.libero
@pytest.mark.parametrize("name", ARTICULATED)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(-3.5, 3.5), step=st.integers(-2, 2))
def test_joint_conditions_equal_those_of_libero_s_objects(
    articulated: dict[str, Any], name: str, position: float, step: int
) -> None:
    thing = articulated[name]
    bounds = articulation_ranges(thing)
    near = min(bounds, key=lambda bound: abs(bound - position))
    for _ in range(abs(step)):
        near = float(np.nextafter(near, np.sign(step) * np.inf))
    for method in ARTICULATED[name]:
        condition = joint_condition(getattr(thing, method), bounds)
        for q in (position, near):
            expected = bool(getattr(thing, method)(q))
            assert compare(q, condition.comparison, condition.threshold) == expected, (method, q)


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Any]:
    """A LIBERO domain with a stove, a cabinet with drawers, zones on the table and objects."""
    with libero_simulation("libero_goal", 7) as simulation:
        simulation.reset(0)
        yield simulation.domain


def every_predicate(env: Any) -> list[list[str]]:
    """Every predicate that LIBERO can evaluate on the things of this scene."""
    objects = [*env.objects_dict, *env.fixtures_dict]
    sites = list(env.object_sites_dict)
    drawers = [site for site in sites if env.object_sites_dict[site].joints]
    return [
        *(["on", a, b] for a in objects for b in objects if a != b),
        *([name, a, site] for name in ("on", "in") for a in objects for site in sites),
        *(["up", a] for a in objects),
        *([name, of] for name in ("open", "close") for of in [*drawers, "wooden_cabinet_1"]),
        *([name, "flat_stove_1"] for name in ("turnon", "turnoff")),
    ]


def scatter(env: Any, rng: np.random.Generator) -> None:
    """Put objects on, in and beside things, and joints at and around their thresholds."""
    data, model = env.sim.data, env.sim.model
    places = [data.get_site_xpos(site).copy() for site in env.object_sites_dict]
    places += [data.body_xpos[env.obj_body_id[name]].copy() for name in env.obj_body_id]
    for name, thing in env.objects_dict.items():
        if rng.random() < 0.7:
            offset = rng.normal(scale=(0.02, 0.02, 0.05)) * rng.choice([0.0, 0.3, 1.0, 4.0])
            position = places[rng.integers(len(places))] + offset
            turn = rng.normal(size=4) if rng.random() < 0.5 else np.array([1.0, 0.0, 0.0, 0.0])
            joint = model.get_joint_qpos_addr(thing.joints[0])
            data.qpos[slice(*joint)] = [*position, *(turn / np.linalg.norm(turn))]
        assert name in env.obj_body_id
    thresholds = np.array([-0.16, -0.14, -0.005, 0.0, 0.005, 0.5, 2.1])
    for fixture in env.fixtures_dict.values():
        for joint in fixture.joints:
            near = rng.choice(thresholds) + rng.choice([0.0, 0.0, 1e-17, -1e-17, 0.01, -0.01])
            data.qpos[model.get_joint_qpos_addr(joint)] = near


@pytest.mark.libero
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_predicates_equal_libero_s_on_random_states(kitchen: Any, seed: int) -> None:
    env = kitchen
    scatter(env, np.random.default_rng(seed))
    mujoco.mj_forward(env.sim.model._model, env.sim.data._data)
    for state, value in evaluated(env):
        expected = bool(env._eval_predicate(state))
        assert value == expected, state
        SEEN.add((state[0], expected))


SEEN: set[tuple[str, bool]] = set()


@pytest.mark.libero
def test_every_kind_of_predicate_was_seen_true_and_false(kitchen: Any) -> None:
    names = ("on", "in", "up", "open", "close", "turnon", "turnoff")
    every = {(name, value) for name in names for value in (True, False)}
    for seed in range(40):
        if every == SEEN:
            break
        env = kitchen
        scatter(env, np.random.default_rng(seed))
        mujoco.mj_forward(env.sim.model._model, env.sim.data._data)
        SEEN.update((state[0], value) for state, value in evaluated(env))
    assert every == SEEN


@pytest.mark.libero
def test_goals_are_conjunctions_and_unknown_predicates_are_refused(kitchen: Any) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        problem = dict(kitchen.parsed_problem)
        monkeypatch.setattr(kitchen, "parsed_problem", problem)
        problem["goal_state"] = [["true", "plate_1"], ["printjointstate", "plate_1"]]
        assert holds(kitchen, compile_goal(kitchen))
        problem["goal_state"] = [["true", "plate_1"], ["false", "plate_1"]]
        assert not holds(kitchen, compile_goal(kitchen))
        problem["goal_state"] = [["in", "plate_1", "akita_black_bowl_1"]]
        with pytest.raises(UnsupportedTaskError, match=r"\['in', 'plate_1', .*use engine='upstream'"):
            compile_goal(kitchen)


def compiled(env: Any) -> list[tuple[list[str], Goal]]:
    """Every predicate and its compiled form; compiled once a scene."""
    if not hasattr(env, "_compiled_predicates"):
        problem, rows = env.parsed_problem, []
        for state in every_predicate(env):
            env.parsed_problem = {**problem, "goal_state": [state]}
            rows.append((state, compile_goal(env)))
        env.parsed_problem = problem
        env._compiled_predicates = rows
    return env._compiled_predicates


def evaluated(env: Any) -> Iterator[tuple[list[str], bool]]:
    """Every predicate, and whether its compiled form holds in the state that the scene is in."""
    views, layout = views_of(env), contact_layout()
    for state, goal in compiled(env):
        yield state, bool(goal_holds(goal, views, layout))


def holds(env: Any, goal: Goal) -> bool:
    return bool(goal_holds(goal, views_of(env), contact_layout()))


def views_of(env: Any) -> Views:
    from ttrl_env.engines.native.replica import make_views

    address = env.sim.model._model._address
    return make_views(env.sim.data._data, address, address)
