"""Who may import whom: the layers of the three roots, no circles, and packages that are light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ttrl_env.agents.commands.table import COMMANDS

ROOT = Path(__file__).parents[2]

IMPORT_NAMES = {"ttrl_env": "ttrl_env", "kernels": "ttrl_env.kernels", "agents": "ttrl_env.agents"}
"""What the folders of the three roots are imported as."""

ENVIRONMENT_LAYERS = (
    ("ttrl_env._version", "ttrl_env.errors", "ttrl_env.machine"),
    (
        "ttrl_env.checks",
        "ttrl_env.autoreset",
        "ttrl_env.libero_version",
        "ttrl_env.temperatures",
        "ttrl_env.rewards",
        "ttrl_env.rotations",
        "ttrl_env.seeds",
    ),
    ("ttrl_env.suites",),
    ("ttrl_env.libero_tasks", "ttrl_env.robotwin.catalogue"),
    ("ttrl_env.tasks", "ttrl_env.goals", "ttrl_env.init_states", "ttrl_env.registration", "ttrl_env"),
    ("ttrl_env.engines",),
    ("ttrl_env.robotwin",),
    (
        "ttrl_env.published_scenes",
        "ttrl_env.libero",
        "ttrl_env.demonstrations",
        "ttrl_env.episodes",
        "ttrl_env.groups",
        "ttrl_env.privileged_state",
        "ttrl_env.replica_env",
        "ttrl_env.robotwin.vector_env",
        "ttrl_env.robotwin.single_env",
        "ttrl_env.vector_env",
        "ttrl_env.vector_entry",
        "ttrl_env.single_env",
        "ttrl_env.wrapper",
        "ttrl_env.sb3",
        "ttrl_env.lerobot",
    ),
)
"""From the bottom: a module imports its own layer and those before it."""

ENGINE_LAYERS = (
    (
        "ttrl_env.engines",
        "ttrl_env.engines.compiled",
        "ttrl_env.engines.interface",
        "ttrl_env.engines.observations",
        "ttrl_env.engines.opengl",
        "ttrl_env.engines.ray_options",
        "ttrl_env.engines.requests",
        "ttrl_env.engines.shared_arrays",
        "ttrl_env.engines.worker_process",
    ),
    ("ttrl_env.engines.mujoco",),
    ("ttrl_env.engines.libero",),
    ("ttrl_env.engines.native",),
    ("ttrl_env.engines.ray_actors",),
    ("ttrl_env.engines.make_engine", "ttrl_env.engines.footprint"),
)

AGENT_LAYERS = (
    ("ttrl_env.agents.distributed",),
    ("ttrl_env.agents.common",),
    ("ttrl_env.agents.config",),
    ("ttrl_env.agents.on_ray",),
    ("ttrl_env.agents.policies",),
    ("ttrl_env.agents.rollout",),
    ("ttrl_env.agents.pretraining",),
    ("ttrl_env.agents.update",),
    ("ttrl_env.agents.evaluation",),
    ("ttrl_env.agents.training",),
    ("ttrl_env.agents.preview",),
    ("ttrl_env.agents.checkup",),
    ("ttrl_env.agents.demo",),
    ("ttrl_env.agents.commands",),
    ("ttrl_env.agents.cli",),
    ("ttrl_env.agents.__main__", "ttrl_env.agents"),  # the package names what is public, from every room
)

LIBRARIES = {
    "ttrl_env": ("torch", "triton", "transformers", "ttrl_env.kernels", "ttrl_env.agents"),
    "kernels": ("gymnasium", "mujoco", "transformers", "ttrl_env.agents"),
    "agents": (),
}
"""What the files of each root must not import."""


WORKER = ROOT / "ttrl_env/robotwin/worker"
"""Loaded by an interpreter without ttrl_env, under another name: its modules import each other relatively."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the three roots by its import name."""
    found = {}
    for folder, name in IMPORT_NAMES.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([name, *(part for part in parts if part != "__init__")])] = file
    return found


@cache
def imports(file: Path) -> tuple[str, ...]:
    """The names that a file imports, at its top, inside functions, or for type checkers alone."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = node.module
            if node.level == 1 and file.parent == WORKER:
                package = (
                    f"ttrl_env.robotwin.worker.{node.module}" if node.module else "ttrl_env.robotwin.worker"
                )
            else:
                assert node.level == 0, f"{file}: relative import; name the package"
            names += (f"{package}.{alias.name}" for alias in node.names)
    return tuple(names)


def imported_modules(file: Path) -> set[str]:
    """The modules of this project that a file imports, anywhere in it."""
    return {module for name in imports(file) if (module := _module_of(name)) is not None}


def _module_of(name: str) -> str | None:
    if name in modules():
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules() else None


@pytest.mark.parametrize("folder", LIBRARIES)
def test_a_root_imports_no_library_that_it_must_not(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        for name in imports(file):
            for forbidden in LIBRARIES[folder]:
                assert not f"{name}.".startswith(f"{forbidden}."), f"{file} imports {name}"


def test_what_a_worker_of_robotwin_runs_imports_nothing_of_the_project_but_itself() -> None:
    for file in WORKER.glob("*.py"):
        for name in imports(file):
            assert not name.startswith("ttrl_env.") or name.startswith("ttrl_env.robotwin.worker"), (
                f"{file} imports {name}"
            )


def test_kernels_import_nothing_of_the_environments_but_the_machine() -> None:
    for file in (ROOT / "kernels").rglob("*.py"):
        for module in imported_modules(file):
            assert module.startswith(("ttrl_env.kernels", "ttrl_env.machine")), f"{file} imports {module}"


@pytest.mark.parametrize(
    ("root", "layers"),
    [
        ("ttrl_env", ENVIRONMENT_LAYERS),
        ("ttrl_env.engines", ENGINE_LAYERS),
        ("ttrl_env.agents", AGENT_LAYERS),
    ],
)
def test_a_module_imports_only_its_own_layer_and_lower_ones(root: str, layers: tuple) -> None:
    upward = [
        f"{module} imports {imported}"
        for module, file in modules().items()
        if (own := _layer(module, root, layers)) is not None
        for imported in imported_modules(file)
        if (other := _layer(imported, root, layers)) is not None and other > own
    ]
    assert not upward, "\n".join(upward)


def _layer(module: str, root: str, layers: tuple[tuple[str, ...], ...]) -> int | None:
    """The number of a module's layer; ``None``: it belongs to another root."""
    if module != root and (not module.startswith(f"{root}.") or module.startswith(_other_roots(root))):
        return None
    names = [(name, number) for number, layer in enumerate(layers) for name in layer]
    fitting = [(name, number) for name, number in names if f"{module}.".startswith(f"{name}.")]
    assert fitting, f"{module}: stands in no layer; add it to one of {Path(__file__).name}"
    name, number = max(fitting)
    assert name != root or module == root, f"{module}: stands in no layer; add it to one"
    return number


def _other_roots(root: str) -> tuple[str, ...]:
    others = ("ttrl_env.agents", "ttrl_env.kernels")
    return tuple(f"{other}." for other in others if other != root) + tuple(o for o in others if o != root)


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: imported_modules(file) - {module} for module, file in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_importing_the_package_loads_no_simulator_and_no_torch() -> None:
    heavy = ("mujoco", "robosuite", "libero", "torch", "triton", "numba", "transformers", "stable_baselines3")
    assert _loaded("ttrl_env", heavy) == []


def test_environments_need_no_torch() -> None:
    names = ("vector_env", "single_env", "wrapper", "engines.libero.engine")
    needed = ", ".join(f"ttrl_env.{name}" for name in names)
    assert _loaded(needed, ("torch", "mujoco", "robosuite")) == []


@pytest.mark.slow
def test_demonstrations_need_no_torch() -> None:
    assert _loaded("ttrl_env.demonstrations.recording, ttrl_env.demonstrations.reading", ("torch",)) == []


@pytest.mark.slow
def test_the_update_and_its_mathematics_need_no_transformers() -> None:
    needed = ", ".join(f"ttrl_env.agents.update.{name}" for name in ("losses", "advantages", "gae", "ppo"))
    assert _loaded(needed, ("transformers", "triton", "numba", "mujoco", "h5py", "matplotlib", "peft")) == []


HEAVY = (
    *("h5py", "hydra", "imageio", "libero", "matplotlib", "mujoco", "numba", "peft", "robosuite"),
    *("tensorboard", "torch", "transformers", "triton"),
)
"""Libraries that take long to import; none of them is needed to say what a command's arguments are."""

SHOW_HELP = f"""
import contextlib, sys
from ttrl_env.agents.cli import main
with contextlib.suppress(SystemExit):
    main([*sys.argv[1:], "--help"])
print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["", *sorted(COMMANDS)])
@pytest.mark.slow
def test_the_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HELP, *command.split()], capture_output=True, text=True, check=True
    )
    assert f"ttrl {command}" in shown.stdout
    assert shown.stderr.split() == []


@pytest.mark.slow
def test_listing_tasks_and_the_cache_loads_no_simulator_and_no_torch() -> None:
    heavy = tuple(set(HEAVY) - {"hydra", "libero"})  # they read the arguments and find the tasks
    code = (
        "import sys; from ttrl_env.agents.cli import main\n"
        "assert main(['tasks', 'libero_goal']) == main(['cache']) == 0\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "turn on the stove" in ran.stdout
    assert ran.stderr.split() == []


def _loaded(names: str, heavy: tuple[str, ...]) -> list[str]:
    """Which of ``heavy`` a fresh process has loaded after importing ``names``."""
    code = f"import sys, {names}; print(*[name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.split()
