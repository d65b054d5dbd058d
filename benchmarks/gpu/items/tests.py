"""The tests that only a GPU can run."""

from __future__ import annotations

import os
from collections import Counter

from benchmarks.gpu.figures import Figures, NotPossibleError, Setting
from benchmarks.gpu.process import ROOT

FILES = ("tests/kernels/test_gpu.py", "tests/agents/policies/test_openvla_gpu.py")


def measure(figures: Figures, setting: Setting) -> None:
    """Run them with pytest; without a GPU they are collected and skipped.

    Raises:
        SystemExit: a test failed, or the GPU is not seen by the tests.
    """
    try:
        import pytest
    except ImportError:
        raise NotPossibleError("pytest is not installed") from None
    os.chdir(ROOT)
    outcomes = _Outcomes()
    code = pytest.main([*FILES, "-q", "-p", "no:cacheprovider"], plugins=[outcomes])
    count = outcomes.count
    others = ", ".join(f"{count[outcome]} {outcome}" for outcome in ("failed", "skipped") if count[outcome])
    figures.add("passed", count["passed"], "tests", others)
    if code != pytest.ExitCode.OK:
        raise SystemExit(int(code))
    if not (setting.dry_run or count["passed"]):
        raise SystemExit("all GPU tests were skipped: PyTorch sees no GPU in this process")


class _Outcomes:
    """A plugin that counts the outcomes of tests."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: object) -> None:
        """Count a test by its call; a skipped or broken one by its set-up."""
        when, outcome = getattr(report, "when", None), getattr(report, "outcome", "")
        if when == "call" or outcome != "passed":
            self.count[outcome] += 1
