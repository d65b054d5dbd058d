"""``python -m benchmarks.gpu``: its processes, its budget, its tables, and every item with tiny sizes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from benchmarks import sampling
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import measure
from benchmarks.gpu.catalogue import ITEMS, named
from benchmarks.gpu.figures import Setting
from benchmarks.gpu.process import run_command
from benchmarks.gpu.results import Results, read_all
from benchmarks.gpu.run import run_items, timed_by
from benchmarks.gpu.summary import by_card, markdown, show

FIGURES = {"figures": [{"name": "rate", "value": 3.0, "unit": "/s", "note": ""}], "details": {}}


def run_script(script, limit_s=30.0):
    """The outcome of a process that has ``output``, the file for its figures."""
    head = f"import json, os, pathlib, signal, subprocess, sys, time; figures = {FIGURES!r}\n"
    head += "output = pathlib.Path(sys.argv[1])\n"
    return run_command(lambda output: [sys.executable, "-c", head + script, str(output)], limit_s)


WRITE = "output.write_text(json.dumps({**figures, 'not_possible': ''}))\n"


def test_a_crash_keeps_the_figures_and_the_end_of_the_output() -> None:
    entry = run_script(WRITE + "print('last words', flush=True); os.kill(os.getpid(), signal.SIGSEGV)")
    assert entry["status"] == "failed"
    assert entry["reason"] == "killed by SIGSEGV"
    assert entry["figures"] == FIGURES["figures"]
    assert entry["tail"] == ["last words"]


def test_an_error_is_the_reason_of_a_failure() -> None:
    entry = run_script("raise ValueError('rows: expected 8')")
    assert (entry["status"], entry["reason"]) == ("failed", "ValueError: rows: expected 8")
    assert entry["figures"] == []


def test_after_its_limit_an_item_ends_with_all_that_it_started(tmp_path) -> None:
    pids = tmp_path / "pids"
    script = WRITE + (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}'); time.sleep(60)"
    )
    entry = run_script(script, limit_s=3.0)
    assert entry["status"] == "timed out"
    assert entry["figures"] == FIGURES["figures"]
    deadline = time.monotonic() + 10
    while any(map(_runs, pids.read_text().split())):  # whoever adopted the child takes a moment to reap it
        assert time.monotonic() < deadline, "a process outlived its item"
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class FakeItems:
    """Runs items in no time, and counts the minutes that they would have taken."""

    def __init__(self, **statuses: str) -> None:
        self.statuses, self.seconds = statuses, 0.0
        self.started: list[str] = []

    def run(self, item, setting, limit_s):
        self.started.append(item.name)
        taken = min(60 * item.minutes, limit_s)
        self.seconds += taken
        status = self.statuses.get(item.name, "done")
        return {"status": status, "seconds": taken, "reason": "" if status == "done" else "x", **FIGURES}


def run_fake(folder, fake, **keywords):
    results = Results(folder, "Card 1", {})
    lines: list[str] = []
    left_out = run_items(
        ITEMS,
        Setting(results=folder),
        results,
        lines.append,
        run_one=fake.run,
        clock=lambda: fake.seconds,
        **keywords,
    )
    return [item.name for item in left_out], lines


def test_the_most_valuable_items_come_first_and_what_does_not_fit_is_named(tmp_path) -> None:
    fake = FakeItems()
    left_out, lines = run_fake(tmp_path, fake, minutes=8)
    assert fake.started == ["tests", "sampling", "agreement", "tiny_vla"]
    assert left_out == [item.name for item in ITEMS[4:]]
    assert fake.seconds <= 480
    assert lines[-1] == "cuda_and_egl: not run, takes 11 minutes and 0.0 are left"


def test_a_shorter_item_may_run_where_a_longer_one_does_not_fit(tmp_path) -> None:
    fake = FakeItems()
    left_out, _ = run_fake(tmp_path, fake, minutes=10)
    assert fake.started == ["tests", "sampling", "agreement", "tiny_vla", "egl", "engine"]
    assert "openvla" in left_out


def test_a_failing_item_stops_no_other_and_is_tried_again_later(tmp_path) -> None:
    first = FakeItems(sampling="failed", egl="not possible", engine="timed out")
    assert run_fake(tmp_path, first)[0] == []
    assert first.started == [item.name for item in ITEMS]
    second = FakeItems()
    run_fake(tmp_path, second)
    assert second.started == ["sampling", "egl", "engine"]
    third = FakeItems()
    run_fake(tmp_path, third, again=True)
    assert third.started == first.started


def test_cuda_and_egl_takes_the_minutes_that_were_asked_for(tmp_path) -> None:
    items = {each.name: each for each in timed_by(ITEMS, Setting(results=tmp_path, egl_minutes=3))}
    assert items["cuda_and_egl"].minutes == 4
    assert items["cuda_and_egl"].limit_minutes > 4
    assert items["egl"] == named("egl")


def test_figures_of_several_cards_stand_side_by_side_and_dry_runs_do_not(tmp_path) -> None:
    for card in ("Card 1", "Card 2", "dry run"):
        Results(tmp_path, card, {}).keep("tests", {"status": "done", "seconds": 1, **FIGURES})
    failed = {"status": "failed", "seconds": 1, "reason": "no image", "figures": [], "tail": ["trace"]}
    Results(tmp_path, "Card 2", {}).keep("egl", failed)
    page = by_card(read_all(tmp_path))
    assert page.splitlines()[0] == "| what | Card 1 | Card 2 |"
    assert "| GPU tests of kernels and OpenVLA: rate | 3 /s | 3 /s |" in page
    assert "| images by the GPU | owed | failed: no image |" in page
    assert "dry run" not in page
    content = json.loads((tmp_path / "gpu-card-2.json").read_text())
    assert set(content["items"]) == {"tests", "egl"}
    assert "## egl: failed\n```\ntrace\n```" in markdown("Card 2", content["items"])


def test_without_any_card_everything_is_owed() -> None:
    assert by_card([]).count("| owed |") == len(ITEMS)


def test_the_summary_lists_what_was_not_run(capsys) -> None:
    show({"tests": {"status": "done", "seconds": 1, **FIGURES}}, Console(width=200))
    printed = capsys.readouterr().out
    assert "3 /s" in printed
    assert printed.count("not run") == len(ITEMS) - 1


def test_without_a_gpu_it_says_what_it_found(monkeypatch, capsys) -> None:
    monkeypatch.setattr(command, "find_card", lambda: (None, {"torch": "2.11"}))
    assert command.main([]) == 2
    assert "no CUDA GPU found (torch 2.11)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_starts_processes_and_writes_results(tmp_path, capsys) -> None:
    arguments = ["--dry-run", "--only", "tests", "--results", str(tmp_path)]
    assert command.main(arguments) == 0
    entry = json.loads((tmp_path / "gpu-dry-run.json").read_text())["items"]["tests"]
    assert entry["status"] == "done", entry
    assert "skipped" in entry["figures"][0]["note"]
    assert "| tests | passed | 0 tests |" in (tmp_path / "gpu-dry-run.md").read_text()
    assert command.main(arguments) == 0
    assert "tests: done before" in capsys.readouterr().out


OF_EVERY_ITEM = {
    "sampling": "sample 4 x 64 bfloat16",
    "agreement": "tiny OpenVLA, bfloat16: equal tokens",
    "tiny_vla": "training step, 2 chunks",
    "openvla": "update, 2 chunks, activations recomputed",
    "egl": "mean difference from software OpenGL",
    "engine": "steps of chunks with an image each, 1 threads",
    "iteration": "whole iteration",
    "nccl": "sharded policy against the whole one",
    "cuda_and_egl": "without a fault",
}
"""A figure of each."""


@pytest.mark.slow
@pytest.mark.libero
@pytest.mark.parametrize("name", OF_EVERY_ITEM)
def test_every_item_runs_with_tiny_sizes(name, tmp_path, monkeypatch) -> None:
    """In this process, which has imported everything already: only ``egl`` starts others."""
    pytest.importorskip("triton")
    for variable in ("TRITON_INTERPRET", "CUDA_VISIBLE_DEVICES"):  # what the item sets is undone
        monkeypatch.setenv(variable, "1" if variable.startswith("TRITON") else "")
    setting = json.dumps({"results": str(tmp_path), "dry_run": True, "egl_minutes": 0.001})
    measure.main(name, str(tmp_path / "figures.json"), setting)
    got = json.loads((tmp_path / "figures.json").read_text())
    assert not got["not_possible"]
    figures = {figure["name"]: figure["value"] for figure in got["figures"]}
    assert figures[OF_EVERY_ITEM[name]] >= 0
    if name in ("agreement", "egl", "nccl"):  # both sides are the CPU
        assert {"agreement": 100.0}.get(name, 0.0) == figures[OF_EVERY_ITEM[name]]
    if name == "sampling":
        _check_report(json.loads((tmp_path / "sampling-dry-run.json").read_text()))
        assert not (tmp_path / "sampling-dry-run.png").exists()  # tiny cases are not bound by memory


def test_a_cards_report_is_plotted(tmp_path) -> None:
    report = json.loads((command.RESULTS / "sampling-nvidia-h200.json").read_text())
    assert sampling.plot(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def _check_report(report) -> None:
    """Every variant of every case was timed, those of other projects excepted."""
    from benchmarks.sampling_cases import DRY_SHAPES as shapes

    kinds = (
        shapes.sampling,
        shapes.graphs,
        shapes.hidden,
        shapes.hidden_graphs,
        shapes.training * 2,
        shapes.ladders,
        shapes.hidden_training,
    )
    assert len(report["cases"]) == 2 * sum(map(len, kinds))
    for case in report["cases"]:
        assert not case["errors"]
        assert case["results"]["ours"]["rounds"] == 2
        assert all(numbers["median_us"] > 0 for numbers in case["results"].values())


def test_every_item_of_the_catalogue_has_a_module_and_a_dry_run() -> None:
    folder = Path(command.__file__).parent / "items"
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == {item.name for item in ITEMS}
    assert {*OF_EVERY_ITEM, "tests"} == {item.name for item in ITEMS}
