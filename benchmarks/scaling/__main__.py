"""Predict the time of an iteration on 1 to 64 GPUs and 16 to 4,096 cores: ``python -m benchmarks.scaling``.

Prints the tables of ``docs/scaling.md`` and draws its plot. What needs a GPU is arithmetic until
``python -m benchmarks.gpu`` has measured it on a card; the table of parts says which is which.

``--measure`` first times the parts of this machine's cores, which takes a minute of CPU time. ``--runs`` adds
runs of ``ttrl train`` on one core, with ``env.num_workers=1`` and one optimiser step an epoch, that the model
is checked with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.scaling import results
from benchmarks.scaling.check import summarise
from benchmarks.scaling.report import checks_table, parts_table, plot, predictions_table

FIGURE = Path(__file__).parents[2] / "docs/images/scaling.png"


def main() -> None:
    """Measure what was asked for, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="time this machine's parts first")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="folders of finished runs")
    options = parser.parse_args()
    if options.measure or options.runs:
        _measure(options.measure, options.runs)
    parts = results.openvla_parts()
    print(parts_table(parts), predictions_table(parts), sep="\n")
    print(checks_table(results.checks()))
    plot(parts, FIGURE)
    print(f"\n{FIGURE}; python docs/make_tables.py brings the page up to date")


def _measure(again: bool, folders: list[Path]) -> None:
    """Write the results anew; what was not asked for stays."""
    if again:
        from benchmarks.scaling.measure import measure_tiny, measure_vla, shipped_policy

        tiny = measure_tiny("libero_object", 0, shipped_policy("tiny-vla-libero-object"))
        vla = measure_vla("libero_spatial", 0)
    else:
        tiny, vla = results.tiny_parts(), results.vla_parts()
    runs = [summarise(folder, folder.name) for folder in folders] or results.runs()
    results.save(tiny, vla, runs)


if __name__ == "__main__":
    main()
