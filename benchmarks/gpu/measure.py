"""One item in this process: ``python -m benchmarks.gpu.measure NAME OUTPUT SETTING``, for ``process.run``."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from benchmarks.gpu.figures import Figures, NotPossibleError, Setting


def main(name: str, output: str, setting: str) -> None:
    """Measure an item; ``setting`` is JSON of the fields of :class:`Setting`."""
    fields = json.loads(setting)
    chosen = Setting(**{**fields, "results": Path(fields["results"])})
    if chosen.dry_run:  # before PyTorch and Triton are imported
        os.environ.update(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    figures = Figures(Path(output))
    try:
        importlib.import_module(f"benchmarks.gpu.items.{name}").measure(figures, chosen)
    except NotPossibleError as reason:
        figures.not_possible(str(reason))


if __name__ == "__main__":
    main(*sys.argv[1:])
