"""Videos of a report: selected episodes, replayed with the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttrl_env.agents.evaluation.episode_queue import Episode
from ttrl_env.agents.evaluation.evaluate import Evaluation
from ttrl_env.agents.evaluation.reports.comparison import Comparison
from ttrl_env.agents.evaluation.reports.evaluated_policy import EvaluatedPolicy
from ttrl_env.agents.evaluation.reports.statements import mode
from ttrl_env.agents.evaluation.reports.summary import paired
from ttrl_env.agents.evaluation.videos import write_video
from ttrl_env.engines.interface import CONTROL_FREQ_HZ
from ttrl_env.machine.whole_files import replacing

Recorder = Callable[[EvaluatedPolicy, float, Episode], NDArray[Any]]
"""Replays a subject's episode at a temperature; returns its frames ``[T, H, W, 3]`` uint8."""

_Shown = tuple[str, float, list[tuple[EvaluatedPolicy, Episode]]]
"""A video: file name, temperature, and the episodes shown side by side."""


def write_videos(
    subjects: Sequence[EvaluatedPolicy],
    folder: Path,
    per_outcome: int,
    record: Recorder,
    progress: Callable[[int, int], None] | None = None,
    fps: float = CONTROL_FREQ_HZ,
) -> list[dict[str, Any]]:
    """Write the videos that do not exist yet, with ``fps`` steps a second; ``{"file", "title"}`` of each.

    For one subject: up to ``per_outcome`` successes and as many failures at each temperature. For baseline
    and checkpoint, side by side: up to ``per_outcome`` gained episodes and as many lost ones. If no episode
    was gained or lost, the first ``per_outcome`` pairs are shown.
    """
    shown = [
        video
        for number in range(len(subjects[0].evaluations))
        for video in (
            _single(subjects[0], number, per_outcome)
            if len(subjects) == 1
            else _pairs(subjects, number, per_outcome)
        )
    ]
    folder.mkdir(exist_ok=True)
    entries = []
    for done, (name, temperature, played) in enumerate(shown, start=1):
        file = folder / f"{name}.mp4"
        titles = [_title(subject, temperature, episode) for subject, episode in played]
        if not file.is_file():
            recordings = [record(subject, temperature, episode) for subject, episode in played]
            with replacing(file, folder / f".{name}.mp4") as draft:
                write_video(draft, recordings, fps=fps)
        entries.append({"file": f"{folder.name}/{file.name}", "title": "; ".join(titles)})
        if progress is not None:
            progress(done, len(shown))
    return entries


def _single(subject: EvaluatedPolicy, number: int, per_outcome: int) -> list[_Shown]:
    result = subject.evaluations[number]
    return [
        (_name(outcome, result, episode), result.temperature, [(subject, episode)])
        for outcome, wanted in (("success", True), ("failure", False))
        for episode in [each for each in result.episodes if each.success is wanted][:per_outcome]
    ]


def _pairs(subjects: Sequence[EvaluatedPolicy], number: int, per_outcome: int) -> list[_Shown]:
    comparison, result = paired(subjects)[number], subjects[0].evaluations[number]
    chosen = [
        (outcome, pair)
        for outcome, wanted in (("gained", (False, True)), ("lost", (True, False)))
        for pair in _with_outcomes(comparison, wanted)[:per_outcome]
    ] or [("same", pair) for pair in comparison.pairs[:per_outcome]]
    return [
        (_name(outcome, result, pair[0]), result.temperature, list(zip(subjects, pair, strict=True)))
        for outcome, pair in chosen
    ]


def _with_outcomes(comparison: Comparison, wanted: tuple[bool, bool]) -> list[tuple[Episode, Episode]]:
    return [pair for pair in comparison.pairs if (pair[0].success, pair[1].success) == wanted]


def _name(outcome: str, result: Evaluation, episode: Episode) -> str:
    temperature = f"{result.temperature:g}".replace(".", "_")
    return (
        f"{outcome}_T{temperature}_task{episode.task_id}_state{episode.init_state_id}_episode{episode.repeat}"
    )


def _title(subject: EvaluatedPolicy, temperature: float, episode: Episode) -> str:
    outcome = f"success after {episode.finish_step} steps" if episode.success else "failure"
    played = f"task {episode.task_id}, state {episode.init_state_id}"
    return f"{subject.name}, {mode(temperature)}, {played}: {outcome}"
