"""``python -m benchmarks.sampling`` where things go wrong. ``benchmarks/test_gpu.py`` runs all its cases."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks import sampling, sampling_baselines, sampling_cases
from tests.kernels.sampling_paths import HAS_GPU
from ttrl_env.kernels import sample_tokens

pytestmark = pytest.mark.slow  # Triton's interpreter


def dry_run(folder, *arguments):
    """The exit code and the JSON report."""
    code = sampling.main(["--dry-run", "--rounds", "2", "--output", str(folder), *arguments])
    return code, json.loads((folder / "sampling-dry-run.json").read_text())


@pytest.fixture
def few_cases(monkeypatch):
    """Two cases of sampling."""
    shapes = dataclasses.replace(
        sampling_cases.DRY_SHAPES,
        **dict.fromkeys(("graphs", "training", "ladders", "hidden", "hidden_graphs", "hidden_training"), ()),
        sampling=((3, 300, (40, 104)),),
    )
    monkeypatch.setattr(sampling, "DRY_SHAPES", shapes)


@pytest.mark.usefixtures("few_cases")
def test_a_failing_baseline_is_reported_and_the_others_are_timed(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no such kernel image\nlong trace")

    monkeypatch.setattr(sampling_baselines, "simplevla_rl", fail)
    code, report = dry_run(tmp_path)
    assert code == 0
    for case in report["cases"]:
        assert case["errors"] == {"SimpleVLA-RL style": "RuntimeError: no such kernel image"}
        assert {"ours", "torch multinomial", "RLinf style"} <= set(case["results"])
    assert "FAILED: RuntimeError" in capsys.readouterr().out


@pytest.mark.usefixtures("few_cases")
def test_wrong_tokens_are_not_timed_and_fail_the_run(tmp_path, monkeypatch):
    def wrong(*arguments, **keywords):
        sampled = sample_tokens(*arguments, **keywords)
        return dataclasses.replace(sampled, tokens=sampled.tokens + 1)

    monkeypatch.setattr(sampling_cases, "sample_tokens", wrong)
    code, report = dry_run(tmp_path)
    assert code == 1
    assert all(
        "results" not in case and "AssertionError" in case["errors"]["all"] for case in report["cases"]
    )


@pytest.mark.usefixtures("few_cases")
def test_cases_beyond_the_time_limit_are_named(tmp_path):
    code, report = dry_run(tmp_path, "--time-limit-s", "-1")
    assert code == 1
    assert [case["errors"]["all"] for case in report["cases"]] == ["not started: out of time"] * 2


@pytest.mark.usefixtures("few_cases")
def test_a_run_of_some_cases_keeps_those_of_earlier_runs(tmp_path):
    whole = dry_run(tmp_path)[1]["cases"]
    again = dry_run(tmp_path, "--only", "float32")[1]["cases"]
    assert [case["name"] for case in again] == [case["name"] for case in whole]
    assert [new == old for new, old in zip(again, whole, strict=True)] == [True, False]


@pytest.mark.usefixtures("few_cases")
def test_a_name_of_no_case_is_answered_with_all_names(tmp_path):
    with pytest.raises(
        SystemExit, match=r"--only: expected part of a case's name, got \['float64'\]"
    ) as error:
        dry_run(tmp_path, "--only", "float64")
    assert "sample 3 x 64 of 300 float32" in str(error.value)


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_without_a_gpu_it_says_what_it_needs(tmp_path, capsys):
    assert sampling.main(["--output", str(tmp_path)]) == 2
    assert "no CUDA GPU found" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_too_few_rounds_are_refused(capsys):
    with pytest.raises(SystemExit):
        sampling.main(["--rounds", "1"])
    assert "--rounds: expected at least 2, got 1" in capsys.readouterr().err
