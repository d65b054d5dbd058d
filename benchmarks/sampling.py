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

    started = time.monotonic()
    report: dict[str, Any] = {"machine": clock.describe(), "rounds": options.rounds, "cases": []}
    for spec in specs:
        if not any(part in spec.name for part in options.only):
            continue
        is_late = time.monotonic() - started > options.time_limit_s
        case = {"name": spec.name, "errors": {"all": "not started: out of time"}} if is_late else None
        report["cases"].append(case or run_case(spec, clock, options.rounds))
        print_case(report["cases"][-1], report["machine"]["copy_bytes_per_s"])
        report["seconds"] = time.monotonic() - started
        path = write_json(report, options.output)
    plot(report, path.with_suffix(".png"))
    print(f"\nwrote {path} and .png in {report['seconds']:.0f} s")
    return 1 if any({"ours", "all"} & set(case["errors"]) for case in report["cases"]) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--output", type=Path, help="folder; by default benchmarks/results, or for a dry run a new one"
    )
    parser.add_argument("--rounds", type=int, default=50, help="timings of each variant, at least 2")
    parser.add_argument("--time-limit-s", type=float, default=420, help="start no case after this")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="only cases whose name has one of these texts"
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


def plot(report: dict[str, Any], path: Path) -> None:
    """Plot median and spread of every variant as bars, one panel a case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = [case for case in report["cases"] if case.get("results")]
    if not cases:
        return
    figure, axes = pyplot.subplots(
        len(cases), 1, figsize=(9, 1.6 * len(cases)), layout="constrained", squeeze=False
    )
    for axis, case in zip(axes[:, 0], cases, strict=True):
        results = case["results"]
        medians = [numbers["median_us"] for numbers in results.values()]
        below = [max(numbers["median_us"] - numbers["p10_us"], 0.0) for numbers in results.values()]
        above = [max(numbers["p90_us"] - numbers["median_us"], 0.0) for numbers in results.values()]
        axis.barh(list(results), medians, xerr=[below, above])
        axis.set_xscale("log")
        axis.invert_yaxis()
        axis.set_title(case["name"], fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel(f"median microseconds on {report['machine']['gpu']}, p10 to p90")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
