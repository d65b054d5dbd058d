"""The table and the plots of ``docs/scaling.md``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.scaling.model import Cluster, Prediction, Workload, predict
from benchmarks.scaling.parts import NAMES, Parts
from benchmarks.worlds.tables import table

GPUS = (1, 2, 4, 8, 16, 32, 64)
CORES = (16, 64, 256, 1024, 4096)

VLA = Workload(rows=512, horizon=220, chunk_steps=8, success_rate=0.5, finish_share=0.6)
"""An iteration as published, 64 groups of 8, on libero_spatial; half of the episodes succeed."""


def parts_table(parts: Parts) -> str:
    """Every part with its source."""
    rows = [
        (
            meaning,
            _amount(parts[name].value, parts[name].unit),
            _kind(parts[name].measured),
            parts[name].source,
        )
        for name, meaning in NAMES.items()
    ]
    return table(("part", "value", "", "source"), rows)


def predictions_table(parts: Parts) -> str:
    """Seconds of an iteration by GPUs and cores, with the two parts that take longest."""
    rows = []
    for gpus in GPUS:
        predicted = [predict(parts, VLA, Cluster(gpus=gpus, cores=cores)) for cores in CORES]
        rows.append((str(gpus), *(_cell(each) for each in predicted)))
    return table(("GPUs", *(f"{cores:,} cores" for cores in CORES)), rows)


def checks_table(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Measured over predicted seconds of each run."""
    sides = ("simulation", "policy", "update", "total")
    cells = [(name, *(f"{ratios[side]:.2f}" for side in sides)) for name, ratios in rows]
    return table(("run", *sides), cells)


def plot(parts: Parts, file: Path) -> None:
    """Seconds by cores, a line for each number of GPUs; and what eight GPUs' iterations are spent on."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for gpus in (1, 8, 64):
        totals = [predict(parts, VLA, Cluster(gpus=gpus, cores=cores)).total for cores in CORES]
        left.plot(CORES, totals, "o-", label=f"{gpus} GPU{'s' if gpus > 1 else ''}")
    left.set(xlabel="cores", ylabel="seconds an iteration, predicted", yscale="log")
    left.legend(frameon=False)
    of_eight = [predict(parts, VLA, Cluster(gpus=8, cores=cores)) for cores in CORES]
    names = list(of_eight[0].seconds)
    shares = [[100 * each.seconds[name] / each.total for each in of_eight] for name in names]
    right.stackplot(CORES, shares, labels=names)
    right.set(xlabel="cores, with 8 GPUs", ylabel="% of an iteration", ylim=(0, 100))
    right.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), reverse=True)
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(CORES, labels=[f"{cores:,}" for cores in CORES])
        axis.minorticks_off()
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _cell(predicted: Prediction) -> str:
    return f"{predicted.total:,.0f} s: {', '.join(predicted.bottlenecks)}"


def _kind(measured: bool) -> str:
    return "measured" if measured else "assumed"


def _amount(value: float, unit: str) -> str:
    """A number with its unit, in thousandths or billions where that reads better."""
    if unit == "s":
        return f"{1e3 * value:.3g} ms"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}B{unit.removeprefix('bytes')}"
    return f"{value:.3g} B{unit.removeprefix('bytes')}"
