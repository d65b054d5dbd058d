"""Token sampling, sampling from hidden states and log-probabilities, against other implementations."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import sampling
from benchmarks.gpu.figures import Figures, Setting

ROUNDS = 50


def measure(figures: Figures, setting: Setting) -> None:
    """Run ``benchmarks.sampling``, whose own report and plot lie beside the results.

    Raises:
        SystemExit: one of our kernels failed or gave wrong tokens; the figures of the others are kept.
    """
    arguments = ["--output", str(setting.results), "--rounds", "2" if setting.dry_run else str(ROUNDS)]
    code = sampling.main([*arguments, "--dry-run"] if setting.dry_run else arguments)
    if code == 2:
        raise SystemExit("benchmarks.sampling sees no GPU in this process")
    report = json.loads(sampling.report_file(setting.results, _card(setting)).read_text(encoding="utf-8"))
    bandwidth = report["machine"]["copy_bytes_per_s"]
    figures.add("copy bandwidth", bandwidth / 1e9, "GB/s")
    for case in report["cases"]:
        if "ours" in case.get("results", {}):
            _add(figures, case, bandwidth)
    figures.detail("errors", {case["name"]: case["errors"] for case in report["cases"] if case["errors"]})
    if code:
        raise SystemExit("one of our kernels failed: see its errors in the details")


def _card(setting: Setting) -> str:
    if setting.dry_run:
        return "dry run"
    import torch

    return torch.cuda.get_device_name()


def _add(figures: Figures, case: dict[str, Any], bandwidth: float) -> None:
    """One case: our median, its share of the copy's bandwidth, and how much longer the others take."""
    results = case["results"]
    ours = results["ours"]["median_us"]
    share = case["bytes"] / (ours * 1e-6) / bandwidth
    others = [
        f"{name} {numbers['median_us'] / ours:.2f}x" for name, numbers in results.items() if name != "ours"
    ]
    figures.add(case["name"], ours, "us", "; ".join([f"{share:.0%} of copy bandwidth", *others]))
