"""Compiles a task: builds LIBERO's environment, resets it once and extracts what a simulation needs."""

from __future__ import annotations

import copy
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ttrl_env.engines.interface import EngineConfig
from ttrl_env.engines.libero.environment import LiberoSimulation
from ttrl_env.engines.mujoco import versions
from ttrl_env.engines.mujoco.layouts import contact_layout, model_layout
from ttrl_env.engines.native.records import ArmConstants, ArmState, Burners, SampleConstants, TaskArrays
from ttrl_env.engines.native.task.bundle import TaskBundle
from ttrl_env.engines.native.task.goals import articulation_ranges, compile_goal, joint_condition
from ttrl_env.engines.native.task.quiet_pairs import find_quiet_pairs
from ttrl_env.engines.native.task.sources import check_read_from_here
from ttrl_env.engines.native.task.textures import merge_equal_textures, take_textures, without_textures
from ttrl_env.errors import UnsupportedTaskError
from ttrl_env.libero_tasks import LiberoTask


def compile_bundle(task: LiberoTask, fixture_seed: int) -> TaskBundle:
    """Build a task through LIBERO and robosuite, which takes seconds, and extract its bundle."""
    config = EngineConfig(suite=task.suite, num_rows=1, cameras=(), settle_steps=0, fixture_seed=fixture_seed)
    simulation = LiberoSimulation(task, config)
    try:
        simulation.restore()
        return bundle_of(simulation.domain)
    finally:
        simulation.close()


def bundle_of(env: Any) -> TaskBundle:
    """The bundle of a LIBERO environment (a ``BDDLBaseDomain``) that has just been reset."""
    _check_supported(env)
    check_read_from_here(filter(None, (element.get("file") for element in env.model.root.iter())))
    model = env.sim.model._model
    burners, lean, layout = _burners(env), _lean_copy(model), model_layout(model)
    return TaskBundle(
        mujoco_version=mujoco.__version__,
        model=without_textures(lean, layout),
        model_layout=layout,
        textures=take_textures(lean),
        arrays=TaskArrays(
            arm=_arm_constants(env),
            sample=_sample_constants(env),
            goal=compile_goal(env),
            burners=burners,
            contacts=contact_layout(),
            quiet=find_quiet_pairs(model),
        ),
        arm_at_reset=_arm_at_reset(env.robots[0]),
        burner_alpha=model.site_rgba[burners.sites, 3].copy(),
        state_at_reset=_integration_state(model, env.sim.data._data),
    )


def _check_supported(env: Any) -> None:
    """Raise if the environment has features that the native engine lacks; no LIBERO task has them."""
    controller, model = env.robots[0].controller, env.sim.model
    found = {
        "interpolation": controller.interpolator_pos or controller.interpolator_ori,
        "limits of the goal": controller.position_limits is not None
        or controller.orientation_limits is not None,
        "coupled position and orientation": not controller.uncoupling,
        "variable stiffness": controller.impedance_mode != "fixed",
        "an action range other than -1 to 1": bool(
            (controller.input_min != -1).any() or (controller.input_max != 1).any()
        ),
        "an asymmetric action scale": bool((controller.output_min != -controller.output_max).any()),
        "a control step other than 25 substeps of 2 ms": (env.control_timestep, env.model_timestep)
        != (0.05, 0.002),
        "tendons, skins or flexible bodies": model.ntendon or model.nskin or model.nflex,
    }
    if any(found.values()):
        unsupported = ", ".join(name for name, is_there in found.items() if is_there)
        raise UnsupportedTaskError(
            f"{env.bddl_file_name}: the native engine does not cover {unsupported}; use engine='upstream'"
        )


def _arm_constants(env: Any) -> ArmConstants:
    robot = env.robots[0]
    controller, model = robot.controller, env.sim.model
    gripper = [model.actuator_name2id(name) for name in robot.gripper.actuators]
    gripper_range = model.actuator_ctrlrange[gripper]
    return ArmConstants(
        eef_site=model.site_name2id(controller.eef_name),
        qpos=_ids(controller.qpos_index),
        dofs=_ids(controller.qvel_index),
        actuators=_ids(robot._ref_joint_actuator_indexes),
        torque_limits=np.array(robot.torque_limits),
        inertia_index=_inertia_index(model._model, _ids(controller.qvel_index)),
        initial_qpos=np.array(controller.initial_joint),
        stiffness=np.array(controller.kp),
        damping=np.array(controller.kd),
        action_scale=abs(controller.output_max - controller.output_min)
        / abs(controller.input_max - controller.input_min),
        gripper_actuators=_ids(gripper),
        gripper_bias=0.5 * (gripper_range[:, 1] + gripper_range[:, 0]),
        gripper_weight=0.5 * (gripper_range[:, 1] - gripper_range[:, 0]),
        gripper_speed=float(robot.gripper.speed),
    )


def _arm_at_reset(robot: Any) -> ArmState:
    """The arm's state that robosuite measures when it builds the controller and uses in the first substep."""
    controller = robot.controller
    return ArmState(
        eef_pos=np.array(controller.ee_pos),
        eef_mat=np.array(controller.ee_ori_mat),
        eef_velocity=np.concatenate([controller.ee_pos_vel, controller.ee_ori_vel]),
        joint_pos=np.array(controller.joint_pos),
        joint_vel=np.array(controller.joint_vel),
        jacobian=np.ascontiguousarray(controller.J_full.T),
        inertia=np.ascontiguousarray(controller.mass_matrix.T),
        goal_pos=np.array(controller.goal_pos),
        goal_mat=np.array(controller.goal_ori),
        gripper=np.zeros(2) + robot.gripper.current_action,
        stale=np.array([controller.new_update]),
    )


def _sample_constants(env: Any) -> SampleConstants:
    robot = env.robots[0]
    return SampleConstants(
        eef_site=int(robot.eef_site_id),
        eef_body=env.sim.model.body_name2id(robot.robot_model.eef_name),
        gripper_qpos=_ids(robot._ref_gripper_joint_pos_indexes),
    )


def _burners(env: Any) -> Burners:
    """The visible sites that LIBERO switches with an object's only joint."""
    model, rows = env.sim.model, []
    for name in env.visualization_sites_list:
        owner = env.get_object(name)
        if env.object_states_dict[name] not in env.tracking_object_states_change or len(owner.joints) != 1:
            raise UnsupportedTaskError(
                f"{env.bddl_file_name}: {name} does not follow one joint; use engine='upstream'"
            )
        condition = joint_condition(owner.turn_on, articulation_ranges(owner))
        for site, _ in owner.object_properties["vis_site_names"].values():
            joint = model.get_joint_qpos_addr(owner.joints[0])
            rows.append((model.site_name2id(site), joint, condition.comparison, condition.threshold))
    sites, joints, comparison, threshold = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Burners(
        sites=_ids(sites),
        joints=_ids(joints),
        comparison=_ids(comparison),
        threshold=np.array(threshold, dtype=np.float64),
    )


def _inertia_index(model: mujoco.MjModel, dofs: NDArray[np.int64]) -> NDArray[np.int64]:
    """``[7, 7]`` indices of the arm's elements in MuJoCo's sparse inertia matrix, which stores a triangle."""
    index = np.empty((len(dofs), len(dofs)), dtype=np.int64)
    for i, j in np.ndindex(index.shape):
        row, column = max(dofs[i], dofs[j]), min(dofs[i], dofs[j])
        index[i, j] = versions.inertia_address(model, int(row), int(column))
    return index


def _integration_state(model: mujoco.MjModel, data: mujoco.MjData) -> NDArray[np.float64]:
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, state, kind)
    return state


def _lean_copy(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy of the model, without sensors and shadow map, which affect neither state nor pixels.

    LIBERO never reads robosuite's force and torque sensors, which need another pass over every body's forces
    in each substep. A shadow map takes 64 MB in each thread that renders, though no light casts shadows.
    """
    lean = copy.copy(model)
    lean.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
    if not lean.light_castshadow.any():
        lean.vis.quality.shadowsize = 0
    merge_equal_textures(lean)
    return lean


def _ids(values: Any) -> NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)
