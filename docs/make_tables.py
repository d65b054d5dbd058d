"""Write the generated tables of the documentation: ``python docs/make_tables.py``.

Each table stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` and is made from the code: the
configuration's schemas, the presets, SimpleVLA-RL's keys, and the results of benchmarks. A test fails when a
page is out of date.
"""

from __future__ import annotations

import importlib.resources
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ttrl_env.agents.commands.keys import described_keys
from ttrl_env.agents.config.alias_table import ALIASES, FORMER_KEYS, REFUSED_PREFIXES
from ttrl_env.agents.config.alias_treatments import Refused, Renamed, Treatment
from ttrl_env.agents.config.loading import preset_names
from ttrl_env.agents.config.schema import EvaluateConfig, TrainConfig
from ttrl_env.agents.preview.config import PreviewConfig
from ttrl_env.robotwin.catalogue import TASKS

DOCS = Path(__file__).parent

sys.path.insert(0, str(DOCS.parent))  # the benchmarks are not installed

from benchmarks.gpu.results import read_all  # noqa: E402
from benchmarks.gpu.summary import by_card  # noqa: E402
from benchmarks.report import RESULTS  # noqa: E402
from benchmarks.scaling import report, results  # noqa: E402
from benchmarks.worlds.__main__ import NEWEST, OLDEST, PINNED, read_results  # noqa: E402
from benchmarks.worlds.tables import Comparisons, by_suite, moved_tasks, repainted_tasks, table  # noqa: E402


def main() -> None:
    """Bring every page up to date."""
    for page in PAGES:
        (DOCS / page).write_text(updated(page), encoding="utf-8")


def updated(page: str) -> str:
    """The text of a page with its tables made anew."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, make in PAGES[page].items():
        before, *others = re.split(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", text, flags=re.S)
        if len(others) != 1:
            raise ValueError(f"{page}: expected one pair of <!-- {name} --> marks, found {len(others)}")
        text = before + make() + others[0]
    return text


def train_keys() -> str:
    """Every key of ``ttrl train``."""
    return _keys(TrainConfig)


def preview_keys() -> str:
    """The keys that ``ttrl preview`` has beside those of ``ttrl train``."""
    of_train = {key for key, *_ in described_keys(TrainConfig)}
    return _rows([row for row in described_keys(PreviewConfig) if row[0] not in of_train])


def evaluate_keys() -> str:
    """Every key of ``ttrl eval``."""
    return _keys(EvaluateConfig)


def presets() -> str:
    """Every preset field by field, from the comments of its file."""
    folder = importlib.resources.files("ttrl_env.agents.config.presets") / "preset"
    return "".join(_preset(name, (folder / f"{name}.yaml").read_text("utf-8")) for name in preset_names())


def simplevla_keys() -> str:
    """What becomes of SimpleVLA-RL's keys."""
    rows = [(f"`{key}`", _becomes(treatment)) for key, treatment in ALIASES.items()]
    rows += [(f"`{prefix}*`", f"refused: {reason}") for prefix, reason in REFUSED_PREFIXES.items()]
    return table(("SimpleVLA-RL", "here"), rows)


def former_keys() -> str:
    """Our keys of earlier releases that have another name now."""
    return table(("release 0.1", "now"), [(f"`{key}`", f"`{now}`") for key, now in FORMER_KEYS.items()])


def worlds(make: Callable[[Comparisons], str], version: str) -> str:
    """A table of what a version of MuJoCo makes of LIBERO."""
    return make([each for each in read_results() if each["mujoco"] == version])


def cards() -> str:
    """What has been measured on which GPU."""
    return by_card(read_all(RESULTS))


def scaling_parts() -> str:
    """The parts of an iteration with OpenVLA, measured or assumed."""
    return report.parts_table(results.openvla_parts())


def scaling_predictions() -> str:
    """Seconds of an iteration by GPUs and cores."""
    return report.predictions_table(results.openvla_parts())


def scaling_checks() -> str:
    """The model against finished runs."""
    return report.checks_table(results.checks())


def robotwin_tasks() -> str:
    """RoboTwin's tasks with what each needs."""
    rows = [
        (
            str(task.task_id),
            f"`{task.name}`",
            str(task.horizon),
            str(task.step_limit),
            ", ".join(task.objects) or "boxes",
        )
        for task in TASKS
    ]
    return table(("id", "task", "horizon", "runtime's limit", "objects"), rows)


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "configuration.md": {
        "train keys": train_keys,
        "preview keys": preview_keys,
        "eval keys": evaluate_keys,
        "presets": presets,
    },
    "gpu.md": {"cards": cards},
    "migration.md": {"keys": simplevla_keys, "former keys": former_keys},
    "robotwin.md": {"robotwin tasks": robotwin_tasks},
    "scaling.md": {
        "scaling parts": scaling_parts,
        "scaling predictions": scaling_predictions,
        "scaling checks": scaling_checks,
    },
    "which-libero.md": {
        "newest by suite": partial(worlds, by_suite, NEWEST),
        "newest moved": partial(worlds, moved_tasks, NEWEST),
        "newest repainted": partial(worlds, repainted_tasks, NEWEST),
        "pinned by suite": partial(worlds, by_suite, PINNED),
        "oldest by suite": partial(worlds, by_suite, OLDEST),
        "oldest moved": partial(worlds, moved_tasks, OLDEST),
    },
}
"""The tables of each page, by the name of their marks."""


def _keys(schema: type) -> str:
    return _rows(described_keys(schema))


def _rows(keys: list[tuple[str, str, str]]) -> str:
    rows = [(f"`{key}`", f"`{default}`", meaning) for key, default, meaning in keys]
    return table(("key", "default", "meaning"), rows)


def _preset(name: str, text: str) -> str:
    """Head comment as a paragraph; ``key: value  # why`` lines as a table with dotted keys."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("# @package")]
    head = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    rows = []
    groups: list[str] = []
    for line in lines:
        if line.startswith("#"):
            continue
        entry, _, why = line.partition("  # ")
        key, _, value = entry.strip().partition(":")
        depth = (len(line) - len(line.lstrip())) // 2
        groups = [*groups[:depth], key]
        if value:
            rows.append((f"`{'.'.join(groups)}`", f"`{value.strip()}`", why.strip()))
    return f"### {name}\n{' '.join(head)}\n\n" + table(("key", "value", "why"), rows) + "\n"


def _becomes(treatment: Treatment) -> str:
    if isinstance(treatment, Renamed):
        return f"`{treatment.ours}`" + (f" ({treatment.note})" if treatment.note else "")
    if isinstance(treatment, Refused):
        return f"refused: {treatment.because}"
    values = " or ".join(f"`{value}`" for value in treatment.values)
    return f"only {values}: {treatment.because}"


if __name__ == "__main__":
    main()
