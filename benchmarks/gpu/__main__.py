"""Run every test and benchmark that wants a GPU, the most valuable first: ``python -m benchmarks.gpu``.

Each runs in a process of its own with a time limit. Results are written after each, so the same command
continues an interrupted run: what is done is not run again. The last output is a table, which is also
written as Markdown. The exit code is 1 if an item failed or timed out.

``--dry-run`` runs the same code with tiny sizes on a CPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.gpu.card import find_card
from benchmarks.gpu.catalogue import ITEMS, named
from benchmarks.gpu.figures import Setting
from benchmarks.gpu.results import DRY_RUN, Results
from benchmarks.gpu.run import run_items, timed_by
from benchmarks.gpu.summary import markdown, show
from ttrl_env.machine.whole_files import write_whole

RESULTS = Path(__file__).parents[1] / "results"

NO_CARD = """benchmarks.gpu: no CUDA GPU found ({found}).
Without one:
  python -m benchmarks.gpu --dry-run    only tries the code, with tiny sizes on the CPU"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    card, machine = (DRY_RUN, {}) if options.dry_run else find_card()
    if card is None:
        found = ", ".join(f"{name} {value}" for name, value in machine.items())
        print(NO_CARD.format(found=found), file=sys.stderr)
        return 2
    folder = options.results or (Path(tempfile.mkdtemp()) if options.dry_run else RESULTS)
    setting = Setting(
        results=folder.resolve(),
        dry_run=options.dry_run,
        egl_minutes=0.02 if options.dry_run else options.egl_minutes,
        suite=options.suite,
        task_id=options.task,
    )
    results = Results(setting.results, card, machine)
    chosen = [item for item in ITEMS if item.name in options.only]
    console = Console()
    console.print(f"{card}: {', '.join(item.name for item in chosen)}", highlight=False)
    left_out = run_items(
        timed_by(chosen, setting),
        setting,
        results,
        lambda line: console.print(line, highlight=False, markup=False),
        minutes=options.minutes,
        again=options.again,
    )
    show(results.items, console)
    write_whole(results.file.with_suffix(".md"), markdown(card, results.items))
    console.print(f"wrote {results.file} and .md", highlight=False, soft_wrap=True)
    if left_out:
        console.print(f"not run: {', '.join(item.name for item in left_out)}", highlight=False)
    bad = [
        item.name
        for item in chosen
        if results.items.get(item.name, {}).get("status") in ("failed", "timed out")
    ]
    return 1 if bad else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [item.name for item in ITEMS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--minutes", type=_positive, help="budget; an item that does not fit is not run")
    parser.add_argument("--again", action="store_true", help="run what is done, too")
    parser.add_argument("--results", type=Path, help="folder; benchmarks/results, for a dry run a new one")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on a CPU: only tries the code")
    cuda_and_egl = named("cuda_and_egl").title
    parser.add_argument("--egl-minutes", type=_positive, default=10.0, help=f"of {cuda_and_egl}; 10")
    parser.add_argument("--suite", default="libero_spatial", help="of the task that is simulated")
    parser.add_argument("--task", type=int, default=0, help="its number")
    return parser


def _positive(text: str) -> float:
    minutes = float(text)
    if not minutes > 0:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {text}")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
