"""One unmodified LIBERO environment, used according to the published evaluation protocol.

The protocol for an episode: build the environment, seed the global NumPy generator, reset once, write the
initial state, let objects settle. By default LIBERO rebuilds its whole model at every reset, which takes
seconds. With ``hard_reset=False`` it restores the model instead, in a tenth of the time. This module then
applies the two changes that a rebuild would have made:

- It resets the gripper's integrated action and the burner's colour.
- It lists the samplers of joint positions (open drawers, running stoves) twice. LIBERO appends them to a list
  each time it builds its model, so the protocol's one reset leaves two of each. The random numbers that the
  second samplers use change where the fixtures are placed.

Trajectories, images and fixture poses then equal those of the rebuilding protocol bit for bit
(tests/ttrl_env/engines/libero/test_environment.py).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttrl_env import libero_tasks
from ttrl_env.engines import opengl
from ttrl_env.engines.interface import SETTLE_ACTION, EngineConfig, SimState
from ttrl_env.engines.libero.robosuite_import import import_robosuite
from ttrl_env.engines.mujoco.records import RENDERED
from ttrl_env.engines.observations import EEF_MAT, proprioception
from ttrl_env.errors import ConfigError

import_robosuite()  # must come before MuJoCo and LIBERO's environments are imported

import mujoco  # noqa: E402
from libero.libero.envs.env_wrapper import ControlEnv  # noqa: E402
from robosuite.utils.errors import RandomizationError  # noqa: E402
from robosuite.utils.observables import sensor  # noqa: E402

from ttrl_env.engines.mujoco.versions import DIVERGENCE_WARNINGS  # noqa: E402

MAX_PLACEMENT_ATTEMPTS = 100
"""Number of failed attempts to place objects without overlap after which a reset gives up."""


class LiberoSimulation:
    """A LIBERO environment for one task; ``observation`` is the latest that LIBERO returned."""

    def __init__(self, task: libero_tasks.LiberoTask, config: EngineConfig) -> None:
        """Build the environment, which takes seconds and over a gigabyte; without cameras, no GL context."""
        self.task = task
        self.config = config
        self.observation: dict[str, NDArray[Any]] = {}
        opengl.load_triton_first()
        with opengl.explaining_failures(), _numpy_seeded(config.fixture_seed):
            self._env = _build(task, config)
        self._cameras = _CameraGate(self._env, config.cameras)
        self._site_rgba = self._env.sim.model.site_rgba.copy()
        atexit.register(self.close)  # runs before robosuite's handler, which shuts GL down

    def reset(self, init_state_id: int) -> None:
        """Start an episode from an initial state; ``observation`` is then the first one after settling."""
        self._cameras.open = False
        self.restore()
        self._cameras.open = self.config.settle_steps == 0
        observation = self._env.set_init_state(self._init_state(init_state_id))
        for step in range(self.config.settle_steps):
            self._cameras.open = step == self.config.settle_steps - 1
            observation = self._env.step(list(SETTLE_ACTION))[0]
        self.observation = self._select(observation)

    def step(self, actions: NDArray[np.float64], max_steps: int) -> tuple[int, bool, str | None]:
        """Execute up to ``max_steps`` of ``actions`` ``[chunk_steps, 7]``, until success or divergence.

        Returns the number of executed steps, whether the task succeeded, and why the simulation diverged
        (``None`` if it did not). ``observation`` is updated, except after divergence.
        """
        limit = min(len(actions), max_steps)
        executed, success = 0, False
        observation: dict[str, Any] = {}
        while executed < limit and not success:
            self._cameras.open = executed == limit - 1
            executed += 1
            try:
                observation, _, success, _ = self._env.step(actions[executed - 1])
            except np.linalg.LinAlgError as error:
                return executed, False, f"the controller failed on a diverged state: {error}"
            failure = self._divergence()
            if failure is not None:
                return executed, False, failure
        self.observation = self._select(observation)
        if executed < limit:
            self.observation.update(self._cameras.render_skipped())
        return executed, bool(success), None

    def state(self) -> SimState:
        """The physical state (copies)."""
        sim = self._env.sim
        return SimState(
            time=float(sim.data.time),
            qpos=np.array(sim.data.qpos),
            qvel=np.array(sim.data.qvel),
            body_pos=np.array(sim.model.body_pos),
            body_quat=np.array(sim.model.body_quat),
            body_xpos=np.array(sim.data.body_xpos),
            body_xquat=np.array(sim.data.body_xquat),
            body_names=tuple(sim.model.body_names),
        )

    def close(self) -> None:
        """Free the simulation and its GL context; safe to call twice."""
        if self._env is not None:
            atexit.unregister(self.close)
            self._env.close()
            del self._cameras
            self._env = None
            gc.collect()  # robosuite's GL contexts sit in reference cycles; free them while GL is up

    @property
    def domain(self) -> Any:
        """LIBERO's environment without its wrapper: a ``BDDLBaseDomain`` (it has no stubs)."""
        return self._env.env

    def restore(self) -> None:
        """Reset LIBERO's environment to the state that a rebuild would give; objects have not settled yet.

        This calls the inner environment's reset: the wrapper's swallows every error and retries for ever.
        """
        gripper = self._env.robots[0].gripper
        gripper.current_action = np.zeros(gripper.dof)
        self._env.sim.model.site_rgba[:] = self._site_rgba
        with _numpy_seeded(self.config.fixture_seed):
            for _ in range(MAX_PLACEMENT_ATTEMPTS):
                with contextlib.suppress(RandomizationError):
                    self.domain.reset()
                    return
        raise ConfigError(
            f"fixture_seed: with {self.config.fixture_seed}, the objects of {self.task.suite} task "
            f"{self.task.task_id} overlap in all of {MAX_PLACEMENT_ATTEMPTS} attempts; try another"
        )

    def _init_state(self, init_state_id: int) -> NDArray[np.float64]:
        """The initial state; raises if its length is wrong: LIBERO would silently truncate a longer one."""
        state = libero_tasks.init_states(self.task.suite, self.task.task_id)[init_state_id]
        model = self._env.sim.model
        if len(state) != 1 + model.nq + model.nv:
            raise ValueError(
                f"{self.task.suite} task {self.task.task_id}: its initial states have {len(state)} numbers, "
                f"its model needs 1 + {model.nq} + {model.nv}; is the LIBERO installation of one version?"
            )
        return state

    def _select(self, observation: dict[str, Any]) -> dict[str, NDArray[Any]]:
        keys = (*(f"{camera}_image" for camera in self.config.cameras), *proprioception(self.config))
        measured = {EEF_MAT: self._env.robots[0].controller.ee_ori_mat}
        return {key: np.asarray(measured[key] if key in measured else observation[key]) for key in keys}

    def _divergence(self) -> str | None:
        """Why the simulation has diverged; ``None`` if it has not."""
        data = self._env.sim.data._data
        for warning in DIVERGENCE_WARNINGS:
            if data.warning[getattr(mujoco.mjtWarning, f"mjWARN_{warning}")].number:
                return f"MuJoCo warning {warning}: the simulation diverged at {data.time:.3f} s"
        if not (np.isfinite(data.qpos).all() and np.isfinite(data.qvel).all()):
            return f"qpos or qvel is not finite at {data.time:.3f} s"
        return None


class _CameraGate:
    """Makes LIBERO's cameras render only the images that are returned.

    LIBERO renders every camera at every step, at a fixed substep before the step's end. While the gate is
    closed, a camera stores the kinematics of that moment instead: microseconds rather than tens of
    milliseconds. If the task succeeds inside a chunk, the image of that step is needed after all;
    :meth:`render_skipped` then renders it exactly as LIBERO would have.
    """

    def __init__(self, env: Any, cameras: tuple[str, ...]) -> None:
        self.open = True
        self._env = env
        self._sensors: dict[str, Callable[[dict[str, Any]], NDArray[Any]]] = {}
        self._at_sampling: dict[str, NDArray[Any]] = {}
        self._site_rgba = env.sim.model._model.site_rgba.copy()
        for camera in cameras:
            self._gate(f"{camera}_image")

    def render_skipped(self) -> dict[str, NDArray[Any]]:
        """Render every camera from the kinematics stored at the last step with a closed gate."""
        model, data = self._env.sim.model._model, self._env.sim.data._data
        site_rgba, live = model.site_rgba.copy(), _rendered(data)
        _write(self._at_sampling, data)
        model.site_rgba[:] = self._site_rgba
        images = {name: np.array(render({})) for name, render in self._sensors.items()}
        _write(live, data)
        model.site_rgba[:] = site_rgba
        return images

    def _gate(self, name: str) -> None:
        env = self._env.env
        render = env._observables[name]._sensor
        last = np.array(render({}))

        @sensor(modality="image")
        def gated(observation_cache: dict[str, Any]) -> NDArray[Any]:
            nonlocal last
            if self.open:
                last = render(observation_cache)
            else:
                self._at_sampling = _rendered(self._env.sim.data._data)
                self._site_rgba[:] = self._env.sim.model._model.site_rgba
            return last

        self._sensors[name] = render
        env.modify_observable(observable_name=name, attribute="sensor", modifier=gated)


def _rendered(data: mujoco.MjData) -> dict[str, NDArray[Any]]:
    """Copies of the arrays that an image is rendered from."""
    return {name: getattr(data, name).copy() for name in RENDERED}


def _write(arrays: dict[str, NDArray[Any]], data: mujoco.MjData) -> None:
    for name, array in arrays.items():
        getattr(data, name)[:] = array


def _build(task: libero_tasks.LiberoTask, config: EngineConfig) -> Any:
    """Construct LIBERO's environment for a task, with its output on stdout suppressed.

    With cameras it is what LIBERO's ``OffScreenRenderEnv`` is. Without, half the time is saved: that of
    copying meshes and textures to OpenGL.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        env = ControlEnv(
            bddl_file_name=str(task.bddl_file),
            use_camera_obs=bool(config.cameras),
            has_offscreen_renderer=bool(config.cameras),
            camera_names=list(config.cameras),
            camera_heights=config.image_size,
            camera_widths=config.image_size,
            hard_reset=False,
            ignore_done=True,  # LIBERO's own limit counts settling steps and raises; we apply the horizon
        )
    env.env.object_property_initializers *= 2  # as after the rebuild of the protocol's reset
    return env


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which LIBERO uses, and restore its state afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
