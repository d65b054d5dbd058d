"""The environment type ``ttrl`` of LeRobot's command line: any LIBERO suite on this package's engine.

``lerobot-eval --env.discover_packages_path=ttrl_env.lerobot --env.type=ttrl --env.task=libero_spatial ...``
finds it. Its options are named as those of LeRobot's own type ``libero``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from ttrl_env.checks import check_choice
from ttrl_env.engines.interface import ACTION_DIM, CONTROL_FREQ_HZ, CameraName
from ttrl_env.errors import ConfigError, MissingDependencyError, UnsupportedVersionError
from ttrl_env.lerobot.observations import AGENT_POS_DIM, CAMERA_NAMES
from ttrl_env.lerobot.vector_env import LeRobotVectorEnv, ObsType
from ttrl_env.suites import get_libero_suite

try:
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.envs.configs import EnvConfig
    from lerobot.processor import LiberoProcessorStep, PolicyProcessorPipeline
    from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
except ImportError as error:
    raise MissingDependencyError(
        "ttrl_env.lerobot.env_config needs LeRobot 0.6 or newer, which needs Python 3.12 or newer. "
        "Install it with: pip install 'lerobot[evaluation,dataset]>=0.6'"
    ) from error

if not hasattr(EnvConfig, "create_envs"):
    raise UnsupportedVersionError(
        "this LeRobot cannot build the environments of other packages. "
        "Install a newer one with: pip install 'lerobot[evaluation,dataset]>=0.6'"
    )


@EnvConfig.register_subclass("ttrl")
@dataclass
class TTRLEnvConfig(EnvConfig):  # type: ignore[misc,unused-ignore]  # LeRobot may be missing
    """Options of ``--env.type=ttrl``, for ``lerobot-eval`` and for evaluations within ``lerobot-train``."""

    task: str | None = "libero_spatial"
    """Suite, or several with commas between them: ``libero_spatial,libero_goal``."""
    task_ids: list[int] | None = None
    """Tasks within each suite; by default all."""
    fps: int = CONTROL_FREQ_HZ
    """Policy steps a second; LIBERO has 20."""
    episode_length: int | None = None
    """Horizon in policy steps; by default the suite's (220 for libero_spatial)."""
    obs_type: str = "pixels_agent_pos"
    """``pixels_agent_pos``, ``pixels``, or ``pixels_robot_state`` for what LeRobot's own type returns."""
    camera_name: str = "agentview_image,robot0_eye_in_hand_image"
    """Cameras, with commas between them. Each costs an image a step."""
    camera_name_mapping: dict[str, str] | None = None
    """Names of the cameras' images in observations; by default ``image`` and ``image2``."""
    observation_height: int = 256
    """Height of images in pixels; images are square."""
    observation_width: int = 256
    """Width of images in pixels."""
    init_states: str = "all"
    """Initial states of episodes: ``all`` (50), ``train`` (the first 40) or ``held_out`` (the last 10)."""
    fixture_seed: int = 0
    """Seed that places the fixtures; 0 is the published protocol."""
    engine: str = "native"
    """``native``, or ``upstream`` for unmodified LIBERO environments."""
    num_workers: int | None = None
    """Threads of a task's simulations (upstream: processes); by default one a core."""
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    """Filled by the options above: what the policy receives and returns."""
    features_map: dict[str, str] = field(default_factory=dict)
    """Filled likewise: names of the features in the policy."""

    def __post_init__(self) -> None:
        """Check the options and derive the features."""
        if self.observation_height != self.observation_width:
            raise ConfigError(
                f"env.observation_height, env.observation_width: images are square, so expected the same "
                f"number twice, got {self.observation_height} and {self.observation_width}"
            )
        check_choice("env.obs_type", self.obs_type, get_args(ObsType))
        if self.fps != CONTROL_FREQ_HZ:
            raise ConfigError(f"env.fps: LIBERO's control frequency is {CONTROL_FREQ_HZ}, got {self.fps}")
        self.features = {ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(ACTION_DIM,))}
        self.features_map = {ACTION: ACTION}
        for name in self._cameras().values():
            key, size = f"{OBS_IMAGES}.{name}", self.observation_height
            self.features[key] = PolicyFeature(type=FeatureType.VISUAL, shape=(size, size, 3))
            self.features_map[key] = key
        if self.obs_type != "pixels":  # LeRobot's processor makes the same state of robot_state
            name = self.obs_type.removeprefix("pixels_")
            self.features[name] = PolicyFeature(type=FeatureType.STATE, shape=(AGENT_POS_DIM,))
            self.features_map[name] = OBS_STATE

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Keywords of :class:`~ttrl_env.lerobot.vector_env.LeRobotVectorEnv` for every task."""
        return {
            "obs_type": self.obs_type,
            "camera_names": self._cameras(),
            "init_states": self.init_states,
            "max_steps": self.episode_length,
            "image_size": self.observation_height,
            "fixture_seed": self.fixture_seed,
            "engine": self.engine,
            "num_workers": self.num_workers,
        }

    def get_env_processors(self) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
        """What LeRobot puts between the environment and the policy's own processors: nothing unless raw."""
        raw = self.obs_type == "pixels_robot_state"
        steps = [LiberoProcessorStep()] if raw else []
        return PolicyProcessorPipeline(steps=steps), PolicyProcessorPipeline(steps=[])

    def create_envs(
        self, n_envs: int, use_async_envs: bool = False
    ) -> dict[str, dict[int, LeRobotVectorEnv]]:
        """An environment of ``n_envs`` rows for each task: suite, then task.

        The rows of a task run in threads, so ``use_async_envs`` changes nothing. A task's simulations are
        built by its first ``reset``.
        """
        suites = [get_libero_suite(name.strip(), "task") for name in (self.task or "").split(",")]
        return {
            suite.name: {
                task_id: LeRobotVectorEnv(suite.name, task_id, n_envs, **self.gym_kwargs)
                for task_id in (range(suite.num_tasks) if self.task_ids is None else self.task_ids)
            }
            for suite in suites
        }

    def _cameras(self) -> dict[CameraName, str]:
        """The asked-for cameras and the names of their images."""
        names: dict[CameraName, str] = {}
        for given in self.camera_name.split(","):
            name = given.strip().removesuffix("_image")
            camera: Any = check_choice("env.camera_name", name, get_args(CameraName))
            mapping = self.camera_name_mapping or {}
            names[camera] = mapping.get(f"{name}_image", mapping.get(name, CAMERA_NAMES[camera]))
        return names
