"""GPU timings of token sampling and of log-probabilities for training: ``python -m benchmarks.sampling``.

Checks the tokens against the reference. Then times all variants of a case in turn, round after round, so that
all run at the same GPU clocks. The L2 cache is emptied before each timing. A variant that fails is reported,
and the others continue. Writes a JSON file after each case, and a plot, to ``benchmarks/results``. Needs a
CUDA GPU with 40 GB and takes less than 8 minutes.

``--dry-run`` runs the same code on a CPU with tiny inputs; its times are meaningless.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.sampling_cases import DRY_SHAPES, SHAPES, CaseSpec, all_cases
from benchmarks.sampling_timing import Clock, DryClock, GpuClock, time_interleaved

NO_GPU = """benchmarks.sampling: no CUDA GPU found (torch {torch}, built for {cuda}).
It needs one with 40 GB of memory and a build of PyTorch for it. Without:
  python -m pytest benchmarks/test_sampling.py     times the CPU path
  python -m benchmarks.sampling --dry-run          only tests this script"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every case and write the results; returns 1 if our kernel failed or sampled wrong tokens."""
    options = parse(arguments)
    clock: Clock
    if options.dry_run:
        os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported
        clock, specs = DryClock(), all_cases(DRY_SHAPES, "cpu")
    elif torch.cuda.is_available():
        clock, specs = GpuClock(), all_cases(SHAPES, "cuda")
    else:
        print(NO_GPU.format(torch=torch.__version__, cuda=torch.version.cuda or "CPUs"), file=sys.stderr)
        return 2
    import matplotlib  # noqa: F401  so that it is missed now, not after eight minutes

    chosen = [spec for spec in specs if any(part in spec.name for part in options.only)]
    if not chosen:
        names = "\n  ".join(spec.name for spec in specs)
        raise SystemExit(f"--only: expected part of a case's name, got {options.only}; there are\n  {names}")
    started = time.monotonic()
    machine = clock.describe()
    cases = earlier_cases(options.output, machine)
    report: dict[str, Any] = {"machine": machine, "rounds": options.rounds}
    for spec in chosen:
        is_late = time.monotonic() - started > options.time_limit_s
        late = {"name": spec.name, "errors": {"all": "not started: out of time"}}
        cases[spec.name] = late if is_late else run_case(spec, clock, options.rounds)
        print_case(cases[spec.name], machine["copy_bytes_per_s"])
        in_order = [cases[each.name] for each in specs if each.name in cases]
        report |= {"cases": in_order, "seconds": time.monotonic() - started}
        path = write_json(report, options.output)
    drawn = " and .png" if plot(report, path.with_suffix(".png")) else ""
    print(f"\nwrote {path}{drawn} in {report['seconds']:.0f} s")
    return 1 if any({"ours", "all"} & set(case["errors"]) for case in report["cases"]) else 0


def earlier_cases(folder: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """Cases by name that an earlier run left in ``folder``, if its card and versions are the same."""
    path = report_file(folder, machine["gpu"])
    if not path.is_file():
        return {}
    report = json.loads(path.read_text())
    same = all(report["machine"].get(key) == machine.get(key) for key in ("cuda", "torch", "triton"))
    return {case["name"]: case for case in report["cases"]} if same else {}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--output", type=Path, help="folder; by default benchmarks/results, or for a dry run a new one"
    )
    parser.add_argument("--rounds", type=int, default=50, help="timings of each variant, at least 2")
    parser.add_argument("--time-limit-s", type=float, default=420, help="start no case after this")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="only cases whose name has one of these texts; others stay as an earlier run left them",
    )
    parser.add_argument("--dry-run", action="store_true", help="tiny inputs on a CPU: only tests the script")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds: expected at least 2, got {options.rounds}")
    if options.output is None:
        results = Path(__file__).with_name("results")
        options.output = Path(tempfile.mkdtemp()) if options.dry_run else results
    return options


def run_case(spec: CaseSpec, clock: Clock, rounds: int) -> dict[str, Any]:
    """Results and errors of one case. Errors are reported and not raised, so that the other cases run."""
    torch.manual_seed(0)
    torch.compiler.reset()  # else the tenth shape of a compiled baseline would silently run uncompiled
    try:
        case = spec.make()
        results, errors = time_interleaved(case.variants, clock, rounds, case.in_graph)
    except Exception as error:  # noqa: BLE001
        return {"name": spec.name, "errors": {"all": describe_error(error)}}
    finally:
        clock.release_memory()
    return {
        "name": spec.name,
        "bytes": case.bytes_moved,
        "results": {name: dataclasses.asdict(timing) for name, timing in results.items()},
        "errors": {name: describe_error(error) for name, error in errors.items()},
    }


def describe_error(error: Exception) -> str:
    """Type and first line of an error: compilers' messages fill pages."""
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def print_case(case: dict[str, Any], copy_bytes_per_s: float) -> None:
    """Print a table: median, ratio to ours, fraction of the copy bandwidth, launches."""
    print(f"\n{case['name']}")
    results = case.get("results", {})
    ours = results.get("ours", {}).get("median_us", float("nan"))
    for name, numbers in results.items():
        share = case["bytes"] / (numbers["median_us"] * 1e-6) / copy_bytes_per_s
        print(
            f"  {name:48s} {numbers['median_us']:9.1f} us  x{numbers['median_us'] / ours:7.2f}"
            f"  {share:6.1%} of copy  {numbers['launches']} launches"
            f"  (p10 {numbers['p10_us']:.1f}, p90 {numbers['p90_us']:.1f},"
            f" warm {numbers['warm_median_us']:.1f}, host {numbers['host_us']:.0f})"
        )
    for name, error in case["errors"].items():
        print(f"  {name:48s} FAILED: {error}")
    sys.stdout.flush()


def write_json(report: dict[str, Any], folder: Path) -> Path:
    """Write the report; done after each case, so that an interrupted run keeps its results."""
    folder.mkdir(parents=True, exist_ok=True)
    path = report_file(folder, report["machine"]["gpu"])
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def report_file(folder: Path, gpu: str) -> Path:
    """The file of a card's report, ``sampling-GPU.json``."""
    return folder / f"sampling-{gpu.lower().replace(' ', '-')}.json"


BOUND_BY_MEMORY = 25 * 10**6
"""Bytes from which on a case is plotted: smaller ones are bound by launches."""


def plot(report: dict[str, Any], path: Path) -> bool:
    """Plot each variant's share of the copy's bandwidth as bars, a panel for each case that memory bounds.

    The share is of the least bytes that the case must move, so whoever moves more of them has less.
    Products are left out: arithmetic bounds them. Returns whether there was anything to plot.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = [
        case
        for case in report["cases"]
        if case.get("results") and case["bytes"] >= BOUND_BY_MEMORY and "hidden" not in case["name"]
    ]
    if not cases:
        return False
    pairs = [cases[start : start + 2] for start in range(0, len(cases), 2)]  # one in each type
    heights = [1.4 + len(pair[0]["results"]) for pair in pairs]
    figure, axes = pyplot.subplots(
        len(pairs),
        2,
        figsize=(12, 0.2 * sum(heights)),
        height_ratios=heights,
        sharex=True,
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    for axis, case in zip(axes.flat, cases, strict=False):
        _plot_shares(axis, case, report["machine"]["copy_bytes_per_s"])
    figure.supxlabel(f"% of the bandwidth of a plain copy, {report['machine']['gpu']}", fontsize=9)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return True


def _plot_shares(axis: Any, case: dict[str, Any], copy_bytes_per_s: float) -> None:
    results = case["results"]
    shares = [
        100 * case["bytes"] / (each["median_us"] * 1e-6) / copy_bytes_per_s for each in results.values()
    ]
    colours = ["tab:blue" if name == "ours" else "lightgrey" for name in results]
    axis.bar_label(axis.barh(list(results), shares, color=colours), fmt="%.0f", fontsize=7, padding=2)
    axis.set_title(case["name"], fontsize=7, loc="left")
    axis.tick_params(labelsize=7)
    axis.set_xlim(0, 108)
    axis.set_ylim(len(results) - 0.4, -0.6)


if __name__ == "__main__":
    sys.exit(main())
