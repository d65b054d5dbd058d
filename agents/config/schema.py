"""The configuration of training and evaluation: frozen dataclasses, a docstring under each field.

Bounds of a field stand in its type (:mod:`ttrl_env.agents.config.bounds`).

``ttrl train --help`` prints these docstrings; presets (``agents/config/presets``) and the command line give
the values; :mod:`ttrl_env.agents.config.loading` composes and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ttrl_env.agents.config.bounds import (
    LARGEST_INT,
    LARGEST_TEMPERATURE,
    Between,
    DeviceName,
    MultipleOf,
    Seed,
    Share,
    Temperature,
    Temperatures,
    Text,
    Weight,
    above,
    at_least,
    check_fields,
)
from ttrl_env.agents.config.choices import (
    AdvantageName,
    Decoding,
    KLEstimator,
    LauncherName,
    Placement,
    RatioLevel,
    Reduction,
    StateOrder,
    WeightType,
)
from ttrl_env.agents.config.output_folders import Folder, FolderSettings
from ttrl_env.engines.interface import EngineName
from ttrl_env.rewards import RewardName
from ttrl_env.tasks import Split, liberos_name

InputSize = Annotated[int, MultipleOf(16, 1024, "TinyVLA's encoder halves images four times")]
"""Height and width of a new TinyVLA's input, pixels."""

Width = Annotated[
    int, MultipleOf(16, 8192, "TinyVLA has 4 attention heads and normalises groups of channels")
]
"""Width of a new TinyVLA."""

ChunkSteps = Annotated[int, at_least(1, 1000)]
"""Actions a policy decides on at once."""


@dataclass(frozen=True, kw_only=True)
class RayActorsConfig:
    """The actors of env.engine=ray; env.num_workers is their number."""

    address: Annotated[str | None, Text()] = None
    """The cluster: "auto" (this machine's), host:port, or ray://host:port; null: what this process is
    connected to (launcher=ray), else that of the variable RAY_ADDRESS, else Ray starts on this machine."""
    threads_per_actor: Annotated[int, at_least(1, 4096)] = 1
    """Threads in which each actor simulates and renders."""
    cpus_per_actor: Annotated[float | None, above(0, 4096)] = None
    """CPUs that Ray reserves for each actor; null: one a thread."""
    node_resource: Annotated[str | None, Text()] = None
    """Only nodes that have this custom resource simulate (ray start --resources=...); null: all may."""
    wait_seconds: Annotated[int, at_least(0, 86_400)] = 30
    """Longest wait for the actors' resources. Set it higher for a cluster that grows on demand."""
    max_restarts: Annotated[int, at_least(0)] = 3
    """How often in a row actors may die during one step. Others go on with their simulations, to the bit."""


@dataclass(frozen=True, kw_only=True)
class RoboTwinEnvConfig:
    """The simulations of env.suite=robotwin, in worker processes of another Python; docs/robotwin.md."""

    python: Annotated[str | None, Text()] = None
    """The interpreter that has RoboTwin's runtime; null: the one that the variable TTRL_ROBOTWIN_PYTHON
    names, or that `ttrl robotwin setup` has made. env.robotwin_python is the same key."""
    assets: Annotated[str | None, Text()] = None
    """Folder that holds RoboTwin's assets; null: the one that the variable TTRL_ROBOTWIN_ASSETS names.
    env.robotwin_assets is the same key."""
    task_config: Annotated[str, Text()] = "demo_randomized"
    """RoboTwin's task configuration: what is randomised besides the objects' places. "demo_randomized" as in
    the published recipe, "demo_clean" nothing."""
    image_height: Annotated[int, at_least(1, 4096)] = 240
    """Height of the rendered images, pixels."""
    image_width: Annotated[int, at_least(1, 4096)] = 320
    """Width of the rendered images, pixels."""
    reset_timeout_seconds: Annotated[float, above(0, 1e6)] = 600.0
    """Longest that the reset of a row may take, shaders that are compiled included."""
    step_timeout_seconds: Annotated[float, above(0, 1e6)] = 600.0
    """Longest that a row's chunk of actions and its images may take."""


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The tasks to play, and the simulation."""

    suite: Annotated[str, Text()] = "libero_spatial"
    """Suite of LIBERO or LIBERO-PRO, or robotwin; `ttrl tasks` lists them. "libero_long" is taken as
    libero_10."""
    task_ids: tuple[int, ...] = (0,)
    """Tasks of the suite. The groups of a training run take them in turn, or as rollout.states says.
    RoboTwin's may be named too: env.task_ids=[stack_blocks_two]."""
    max_steps: Annotated[int | None, at_least(1, 100_000)] = None
    """Horizon in policy steps (SimpleVLA-RL: actor_rollout_ref.model.max_steps); null: the suite's, of
    RoboTwin the longest of the tasks'. It need not be a multiple of the policy's chunk: the last chunk is
    then executed, and learnt from, in part."""
    image_size: Annotated[int, at_least(1, 4096)] = 128
    """Height and width of LIBERO's rendered images, pixels; enough for TinyVLA. Published checkpoints need
    256, which is the default of an environment that is made by itself."""
    engine: EngineName = "native"
    """LIBERO's simulations. "native": replicas in threads, bit for bit LIBERO's. "upstream": LIBERO itself in
    worker processes. "ray": native in Ray actors, on the nodes of a cluster (pip install 'ttrl-env[ray]')."""
    num_workers: Annotated[int | None, at_least(0, 4096)] = None
    """Threads (native), worker processes (upstream, RoboTwin) or actors (ray); null: one a core (ray: one for
    each free CPU of the cluster, at most one a group)."""
    ray: RayActorsConfig = field(default_factory=RayActorsConfig)
    robotwin: RoboTwinEnvConfig = field(default_factory=RoboTwinEnvConfig)
    fixture_seed: Annotated[int, at_least(0, 2**32 - 1)] = 0
    """Seed of the poses of LIBERO's fixtures; 0 is the published protocol."""

    def __post_init__(self) -> None:
        """Replace the suite's name by LIBERO's own, which checkpoints, reports and statistics use."""
        if isinstance(self.suite, str):
            object.__setattr__(self, "suite", liberos_name(self.suite))


@dataclass(frozen=True, kw_only=True)
class TrainEnvConfig(EnvConfig):
    """The groups of a training run."""

    n_samples: Annotated[int, at_least(1)] = 8
    """Replicas of each group, all from one initial state (SimpleVLA-RL: data.n_samples); 8 as published. An
    environment that is made by itself has 4, for small machines."""
    num_groups: Annotated[int, at_least(1)] = 1
    """Groups played at once; there are num_groups * n_samples simulations. Several processes (torchrun)
    divide them evenly."""


@dataclass(frozen=True, kw_only=True)
class OpenVLALoadConfig:
    """How an OpenVLA is loaded: settings that its checkpoint may not record."""

    decoding: Decoding | None = None
    """"parallel" (OpenVLA-OFT) or "autoregressive" (the original); null: as recorded."""
    unnorm_key: Annotated[str | None, Text()] = None
    """Data set whose statistics un-normalise actions; null: as recorded, or the only one."""
    num_images: Annotated[int | None, at_least(1, 3)] = None
    """Cameras whose images it sees: LIBERO's scene and wrist (2), or RoboTwin's head, left and right (3);
    null: as recorded, else 1. It has to be said where there is a projector of the robot's state."""
    use_proprio: bool | None = None
    """Whether it sees the robot's state; null: if a proprio_projector is beside its weights or in them."""
    dtype: WeightType = "auto"
    """Type of the weights, "float32" or "bfloat16"; "auto": as stored. Logits are float32."""
    compile: bool = False
    """Compile the blocks with torch.compile, which takes minutes in the first iteration and then saves time
    and memory. Needs a C++ compiler."""


@dataclass(frozen=True, kw_only=True)
class OpenVLATrainConfig(OpenVLALoadConfig):
    """How an OpenVLA is trained."""

    lora_rank: Annotated[int, at_least(0, 65536)] = 0
    """Rank of LoRA adapters on every linear layer; 0: none, all weights are trained."""
    lora_alpha: Annotated[float, above(0)] = 32.0
    """LoRA's scale is lora_alpha / lora_rank."""
    gradient_checkpointing: bool = False
    """Recompute blocks in the backward pass; far less memory, a third more time."""
    autocast: bool = False
    """bfloat16 matrix products with float32 weights, for full fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class LoadConfig:
    """How a policy is loaded: settings that its files may not record."""

    kind: Annotated[str, Text()] = "auto"
    """Kind of policy: "tiny_vla", "openvla" or a registered one; "auto": the kind in its config.json."""
    chunk_steps: Annotated[int | None, at_least(1, 1000)] = None
    """Actions a chunk; null: as recorded with the policy, else 8 (1 with autoregressive decoding), of a new
    TinyVLA for RoboTwin 25."""
    device: Annotated[str, DeviceName()] = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "cuda:1"; several processes take a GPU each."""
    openvla: OpenVLALoadConfig = field(default_factory=OpenVLALoadConfig)


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(LoadConfig):
    """The policy to train."""

    path: Annotated[str | None, Text()] = None
    """The policy to start from: a folder, run or training checkpoint, the name of a shipped policy
    (tiny-vla-libero-object, tiny-vla-libero-object-four), or a hub repository (owner/name); null: a new
    TinyVLA."""
    image_size: InputSize = 64
    """A new TinyVLA's input size in pixels; env.image_size is a multiple of it. RoboTwin's wide images, at
    least as high, are squeezed to a square."""
    hidden_size: Width = 128
    """A new TinyVLA's width."""
    openvla: OpenVLATrainConfig = field(default_factory=OpenVLATrainConfig)


@dataclass(frozen=True, kw_only=True)
class GAEConfig:
    """Generalised advantage estimation and its value head: ppo.advantage=gae."""

    gamma: Share = 1.0
    """Discount factor for each chunk."""
    lam: Share = 0.95
    """GAE's lambda: at 0 advantages rely on the value head, at 1 on the rewards."""
    normalise_advantages: bool = True
    """Shift and scale a rollout's advantages to mean 0 and standard deviation 1."""
    bootstrap_truncated: bool = False
    """true: the value head estimates the return after the horizon. false: it is 0, as is a late reward."""
    value_hidden_size: Annotated[int, at_least(1, 65536)] = 256
    """Width of the value head."""
    value_learning_rate: Annotated[float, above(0, 1)] = 1e-3
    """Step size of the value head."""
    value_coef: Weight = 0.5
    """Weight of the value loss."""
    value_clip: Annotated[float | None, above(0)] = None
    """Largest change of a value in an update, in reward units; beyond it the loss is clipped. null: off."""
    value_backpropagates: bool = False
    """true: the value loss also trains the policy's own layers."""


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """A critic with an optimiser of its own, trained on the last rollouts: ppo.advantage=critic."""

    lam: Share = 0.8
    """GAE's lambda: at 0 advantages rely on the critic, at 1 on the rewards."""
    normalise_advantages: bool = True
    """Shift and scale a rollout's advantages to mean 0 and standard deviation 1."""
    hidden_size: Annotated[int, at_least(1, 65536)] = 128
    """Width of the critic's two layers."""
    learning_rate: Annotated[float, above(0, 1)] = 1e-3
    """AdamW's step size."""
    weight_decay: Weight = 0.01
    """AdamW's decoupled weight decay."""
    steps: Annotated[int, at_least(1, 100_000)] = 60
    """Optimiser steps after each rollout."""
    batch_chunks: Annotated[int, at_least(1)] = 256
    """Chunks of the replay that a step sees."""
    privileged_state: bool = False
    """true: it also sees what the simulator knows of the goal, such as where its objects are. The policy
    does not. Needs an environment that tells (ttrl_env.privileged_state)."""
    replay_rollouts: Annotated[int, at_least(1, 1000)] = 6
    """The last rollouts that the critic learns from. Checkpoints hold their features."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """The policy update."""

    learning_rate: Annotated[float, above(0, 1)] = 1e-4
    """AdamW's step size, constant after the warm-up."""
    warmup_steps: Annotated[int, at_least(0)] = 10
    """Optimiser steps over which the step size rises: Adam's first steps are its largest."""
    weight_decay: Weight = 0.0
    """AdamW's decoupled weight decay."""
    epochs: Annotated[int, at_least(1, 1000)] = 1
    """Passes over each rollout."""
    target_kl: Annotated[float | None, above(0)] = None
    """An update takes no further step once KL(old || new), estimated on the step's minibatch in nats a token,
    exceeds 1.5 times this (Stable-Baselines3's rule); null: off."""
    minibatch_trajectories: Annotated[int, at_least(0)] = 0
    """Trajectories per optimiser step, a divisor of env.num_groups * env.n_samples; 0: all in one."""
    micro_batch_chunks: Annotated[int, at_least(1)] = 128
    """Most chunks per forward and backward pass of a process; affects memory, not the result."""
    memory_gigabytes: Annotated[float | None, above(0, 1e6)] = None
    """Memory for a forward and backward pass; micro-batches are measured to fit in it. null: no limit."""
    loss_reduction: Reduction = "trajectory-mean"
    """"trajectory-mean" averages a trajectory's tokens, then trajectories; "token-mean" all tokens alike;
    "token-sum-norm" divides their sum by trajectories times the tokens of the horizon (Dr.GRPO)."""
    ratio_level: RatioLevel = "token"
    """"token": each token has a probability ratio; "chunk": one of the joint probability of a chunk, which
    makes the loss larger by the tokens of a chunk; "chunk-mean": the geometric mean of its tokens' (GSPO)."""
    clip_low: Annotated[float, above(0)] = 0.2
    """The probability ratio may fall to 1 - clip_low before its gradient is cut."""
    clip_high: Annotated[float, above(0)] = 0.28
    """The probability ratio may rise to 1 + clip_high (DAPO's "clip higher")."""
    clip_ratio_c: Annotated[float | None, above(1)] = None
    """Dual clip: bounds the loss of a token of negative advantage at this ratio, e.g. 3.0; null: off."""
    entropy_coef: Weight = 0.0
    """Weight of the entropy bonus."""
    kl_coef: Weight = 0.0
    """Weight of the KL divergence from the policy the run started from; 0: off. Unless only adapters are
    trained, a second copy of the policy stays in memory."""
    kl_estimator: KLEstimator = "k3"
    """Estimate of KL(policy || reference) that kl_coef weighs. "k2" has its gradient; "k3" (GRPO's) has its
    value, and the gradient of KL(reference || policy). Near the reference they are alike."""
    max_grad_norm: Annotated[float, above(0)] = 1.0
    """Gradients are scaled down to this norm, separately for policy and value head."""
    max_skipped_steps: Annotated[int, at_least(1)] = 3
    """A run stops after this many steps in a row whose loss or gradient is NaN or infinite."""
    advantage: AdvantageName = "grpo"
    """Relative to the group: "grpo", "drgrpo" (not divided by its spread; Dr.GRPO with
    loss_reduction=token-sum-norm), "rloo". Relative to a prediction, so that groups without spread teach too:
    "gae" (value head), "critic" (a network of its own)."""
    gae: GAEConfig = field(default_factory=GAEConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)

    def __post_init__(self) -> None:
        """Check the fields as the command line does: a misspelt choice would train something else."""
        check_fields(self, "ppo.")


@dataclass(frozen=True, kw_only=True)
class MixedOutcomesConfig:
    """Initial states by their estimated success: rollout.states=mixed_outcomes."""

    floor: Annotated[float, above(0, 1)] = 0.25
    """Share of the groups that all training states divide evenly. The rest follows p (1 - p), where p is a
    state's estimated success rate. 1: all states alike, drawn at random."""
    task_half_life: Annotated[float, above(0, 1e6)] = 5.0
    """Iterations after which an episode counts half in its task's level of success, which training moves."""
    state_half_life: Annotated[float, above(0, 1e6)] = 40.0
    """Iterations after which an episode counts half in its state's distance from that level."""
    prior_episodes: Annotated[float, Between(0.1, 1e6)] = 2.0
    """Episodes from a state after which its distance counts half; unplayed, it has its task's level."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """The groups that an update learns from, and their rollouts."""

    states: StateOrder = "in_turn"
    """Which states groups play. "in_turn": tasks take turns, each with all its states before one again.
    "mixed_outcomes": more often those that are estimated to be solved now and then, of tasks too."""
    mixed_outcomes: MixedOutcomesConfig = field(default_factory=MixedOutcomesConfig)
    ladder_shift: Annotated[float, Between(0.0, LARGEST_TEMPERATURE, zero="off")] = 0.0
    """With states=mixed_outcomes, the largest change of a group's temperatures: hotter where its state is
    estimated to fail always, cooler where it succeeds always, in proportion between. 0: off."""
    filter_accuracy: bool = False
    """Leave out groups whose success rate is outside the bounds. Off by default: under test-time RL a
    group that always succeeds still learns to be faster."""
    accuracy_lower_bound: Share = 0.1
    """Lowest success rate that is kept, inclusive."""
    accuracy_upper_bound: Share = 0.9
    """Highest success rate that is kept, inclusive."""
    redraw: bool = False
    """Play further groups until env.num_groups of them pass the filter and have reward spread."""
    max_draws: Annotated[int, at_least(1, 1000)] = 4
    """Most rollouts of an iteration with redraw. After them it warns and learns from the groups it has."""
    rows_at_once: Annotated[int, at_least(0)] = 0
    """Rows in one forward pass of the policy during rollouts; limits memory. 0: all."""


@dataclass(frozen=True, kw_only=True)
class EpisodesConfig:
    """The episodes of an evaluation."""

    init_states: Split = "held_out"
    """"held_out" (LIBERO: the last 10 of 50; RoboTwin: the last 20 of 100), "train" or "all" (LIBERO: the
    published 50-state protocol)."""
    episodes_per_task: Annotated[int, at_least(0)] = 0
    """Initial states evaluated per task; 0: all of the split."""
    repeats: Annotated[int, at_least(1, 10_000)] = 1
    """Episodes from each initial state when sampling; more narrow the interval, less than more states do."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig(EpisodesConfig):
    """Evaluation during training."""

    every: Annotated[int, at_least(0)] = 10
    """Iterations between evaluations; 0: only before and after training."""
    temperature: Temperature = 0.0
    """Sampling temperature; 0 is greedy."""


@dataclass(frozen=True, kw_only=True)
class ReportConfig(EpisodesConfig):
    """Evaluation of checkpoints."""

    temperatures: Annotated[tuple[float, ...], Temperatures()] = (0.0,)
    """Sampling temperatures, one evaluation each; 0 is greedy. [0,0.6]: greedy and sampled in one go."""


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """The processes that Ray Train starts: launcher=ray."""

    address: Annotated[str | None, Text()] = None
    """The cluster: "auto" (the one of this machine), host:port, or ray://host:port; null: that of the
    variable RAY_ADDRESS, else Ray starts on this machine for the run."""
    num_workers: Annotated[int, at_least(1, 65_536)] = 1
    """Processes that train together, as many as torchrun's; a divisor of env.num_groups."""
    cpus_per_worker: Annotated[float, above(0, 4096)] = 1.0
    """CPUs that Ray reserves for each process. Simulations still run on its share of the machine's cores, or
    on env.num_workers."""
    gpus_per_worker: Annotated[int | None, at_least(0, 64)] = None
    """GPUs that Ray reserves for each process, of which it uses one; null: 1 if the cluster has GPUs and
    policy.device is not cpu."""
    placement: Placement = "pack"
    """Which nodes Ray takes: "pack" (few), "spread" (many), "strict_pack" (one), "strict_spread" (as many as
    processes)."""
    max_failures: Annotated[int, Between(-1, LARGEST_INT)] = 3
    """How often Ray restarts the processes after one of them or its node dies. The run then continues from
    its last checkpoint (checkpoint_every). -1: without limit."""
    wait_seconds: Annotated[int | None, at_least(0, 86_400)] = None
    """Longest wait for the resources of all processes; null: 30, and none if the cluster is too small. Set it
    for a cluster that grows on demand."""
    storage_path: Annotated[str | None, Text()] = None
    """Also copy checkpoints to this folder or address (s3://..., gs://..., any that Ray Train takes), under
    the name of output_dir. resume=auto continues from there if output_dir is empty."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(FolderSettings):
    """All settings of a training run; saved with each checkpoint."""

    preset: Annotated[str, Text()] = "tiny-cpu"
    """Named set of values to start from."""
    test_time_rl: bool = False
    """True: temperature ladder, efficiency reward. False: ordinary RL, one temperature, binary reward."""
    test_time_rl_reward: RewardName = "efficiency"
    """Under test_time_rl: "efficiency" is 1 / (1 + steps / max_steps) on success, "env_sparse" is 1."""
    base_temperature: Annotated[float, Between(-LARGEST_TEMPERATURE, LARGEST_TEMPERATURE)] = 0.6
    """Sampling temperature of a group's first replica; without test_time_rl, of all."""
    temperature_range: Annotated[float, Between(-LARGEST_TEMPERATURE, LARGEST_TEMPERATURE)] = 0.3
    """Temperature difference between a group's last replica and its first under test_time_rl."""
    iterations: Annotated[int, at_least(1)] = 100
    """Number of iterations, each a rollout and an update."""
    seed: Seed = 0
    """Seed of initial states, token sampling, minibatches and a new policy's weights."""
    output_dir: Annotated[str, Folder()] = "runs/ttrl"
    """Folder of checkpoints, metrics and reports."""
    resume: Annotated[str | None, Text()] = None
    """Continue a run with its saved configuration, except for the keys given: "auto" takes output_dir's last
    checkpoint, else a run's or a checkpoint's folder."""
    checkpoint_every: Annotated[int, at_least(1)] = 10
    """Iterations between checkpoints; the last iteration always writes one."""
    keep_checkpoints: Annotated[int, at_least(1)] = 2
    """Number of checkpoints to keep; older ones are deleted."""
    wandb_project: Annotated[str | None, Text()] = None
    """Also log to this Weights & Biases project, with a video of each evaluation's first episode. A resumed
    run goes on in its record there (pip install 'ttrl-env[wandb]')."""
    launcher: LauncherName = "torchrun"
    """"torchrun": this process alone, or those that torchrun has started. "ray": Ray Train starts
    ray.num_workers processes, and restarts them if one dies (pip install 'ttrl-env[ray]')."""
    ray: RayConfig = field(default_factory=RayConfig)
    env: TrainEnvConfig = field(default_factory=TrainEnvConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(FolderSettings):
    """Evaluation of one checkpoint, or of two (`ttrl eval`)."""

    checkpoint: str | None = None
    """Run, training checkpoint, policy folder, shipped policy's name or hub repository. A run's env.* and
    policy.* apply to its evaluation."""
    baseline: Annotated[str | None, Text()] = None
    """A second checkpoint, evaluated on the same episodes; the report compares the two."""
    output: Annotated[str | None, Folder()] = None
    """Folder of the report, from which an interrupted evaluation continues; null: only printed."""
    videos: Annotated[int, at_least(0)] = 1
    """Successes and failures filmed for the report, of each temperature; 0: none."""
    num_envs: Annotated[int, at_least(1)] = 4
    """Number of simulations at once; affects time, not results."""
    seed: Seed = 0
    """Seed of the token sampling (unused when greedy)."""
    env: EnvConfig = field(default_factory=EnvConfig)
    policy: LoadConfig = field(default_factory=LoadConfig)
    eval: ReportConfig = field(default_factory=ReportConfig)
