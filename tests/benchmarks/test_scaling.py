"""The model of an iteration's time: by hand, at its bounds, and against runs; what replaces assumptions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.scaling import results
from benchmarks.scaling.assumptions import OPENVLA_LORA
from benchmarks.scaling.check import predicted_seconds, summarise
from benchmarks.scaling.gpu_results import measured_parts
from benchmarks.scaling.model import Cluster, Workload, predict
from benchmarks.scaling.parts import NAMES, Part, require
from benchmarks.scaling.report import CORES, GPUS, VLA, parts_table, plot, predictions_table

WORKLOAD = Workload(rows=4, horizon=16, chunk_steps=8, success_rate=0.5, finish_share=0.5, epochs=2)
"""Two rounds: four rows in the first, two in the second."""


def parts(**values: float) -> dict[str, Part]:
    """Parts of 0 seconds but for those given; a byte a second on every wire."""
    given = {**dict.fromkeys(NAMES, 0.0), "network": 1.0, "interconnect": 1.0, **values}
    return {
        name: Part(value=value, unit="s", source="by hand", measured=True) for name, value in given.items()
    }


@pytest.mark.parametrize(
    ("values", "cluster", "name", "seconds"),
    [
        ({"control_step": 1.0}, Cluster(gpus=1, cores=1), "control steps", (4 + 2) * 8),
        ({"control_step": 1.0}, Cluster(gpus=1, cores=3), "control steps", (2 + 1) * 8),
        ({"image": 1.0}, Cluster(gpus=1, cores=2), "images", 2 + 1),
        ({"image": 1.0}, Cluster(gpus=1, cores=99), "images", 1 + 1),
        ({"prepare": 1.0}, Cluster(gpus=1, cores=4), "preparation", 1 + 1),
        ({"sample_pass": 1.0}, Cluster(gpus=4, cores=1), "policy", 2),
        ({"sample_row": 1.0}, Cluster(gpus=2, cores=1), "policy", 2 + 1),
        ({"message_bytes": 3.0, "latency": 0.5}, Cluster(gpus=2, cores=1), "transfer", 2 * 0.5 + (2 + 1) * 3),
        ({"update_chunk": 1.0, "update_step": 0.5}, Cluster(gpus=1, cores=1), "update", 2 * 6 + 2 * 0.5),
        ({"update_chunk": 1.0, "gradient_bytes": 5.0}, Cluster(gpus=2, cores=1), "update", 2 * 3 + 2 * 2 * 5),
    ],
)
def test_each_part_as_worked_by_hand(values, cluster, name, seconds) -> None:
    predicted = predict(parts(**values), WORKLOAD, cluster)
    assert predicted.seconds[name] == pytest.approx(seconds)
    assert predicted.total == pytest.approx(seconds)
    assert predicted.bottlenecks[0] == name


def test_more_gpus_or_cores_never_take_longer_but_for_averaging() -> None:
    of = {
        **OPENVLA_LORA,
        **{name: parts(**{name: 0.01})[name] for name in ("control_step", "image", "prepare")},
    }
    for cores in CORES:
        totals = [predict(of, VLA, Cluster(gpus=gpus, cores=cores)).total for gpus in GPUS]
        assert totals == sorted(totals, reverse=True)
    for gpus in GPUS:
        totals = [predict(of, VLA, Cluster(gpus=gpus, cores=cores)).total for cores in CORES]
        assert totals == sorted(totals, reverse=True)


def test_cores_beyond_the_rows_change_nothing() -> None:
    seconds = [predict(parts(image=1.0), VLA, Cluster(gpus=1, cores=cores)).total for cores in (512, 4096)]
    assert seconds[0] == seconds[1]


def test_missing_parts_and_empty_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="image are missing"):
        require({name: part for name, part in parts().items() if name != "image"})
    with pytest.raises(ValueError, match="expected numbers from 0, got image"):
        require(parts(image=-1.0))
    with pytest.raises(ValueError, match="at least one GPU and one core"):
        predict(parts(), WORKLOAD, Cluster(gpus=0, cores=1))


def test_figures_of_a_card_replace_assumptions() -> None:
    figures = [(f"sample, {rows} chunks", 5.0 + 2.0 * rows) for rows in (8, 32, 64)]
    figures += [(f"update, {rows} chunks, activations recomputed", 9.0 * rows) for rows in (8, 32)]
    figures += [("update, 8 chunks", 1.0), ("prepare, 8 chunks", 1.0)]
    entry = {"figures": [{"name": name, "value": value} for name, value in figures]}
    found = measured_parts({"card": "Card 1", "items": {"openvla": entry}})
    assert {name: round(1e3 * part.value, 6) for name, part in found.items()} == {
        "sample_pass": 5.0,
        "sample_row": 2.0,
        "update_step": 0.0,
        "update_chunk": 9.0,
    }
    assert all(part.measured and "Card 1" in part.source for part in found.values())
    assert set(found) < set(OPENVLA_LORA)


def test_a_card_without_openvla_leaves_assumptions_alone() -> None:
    assert measured_parts({"card": "Card 1", "items": {}}) == {}


def test_what_no_clock_gave_is_called_assumed() -> None:
    table = parts_table(parts() | OPENVLA_LORA)
    assert table.count("| assumed |") == len(OPENVLA_LORA)
    assert table.count("| measured |") == len(NAMES) - len(OPENVLA_LORA)


def test_the_committed_results_predict_every_point_and_its_bottlenecks(tmp_path) -> None:
    of = results.openvla_parts(tmp_path)  # a folder without cards
    table = predictions_table(of)
    assert len(table.splitlines()) == 2 + len(GPUS)
    plot(of, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert {name for name, part in of.items() if part.measured} == {"control_step", "image", "prepare"}


def test_a_run_is_summarised_and_compared(tmp_path) -> None:
    record = (
        '{"iteration": 1, "rollout/success": [true, false], "rollout/finish_steps": [8, 16], '
        '"update/steps": 4, "update/chunks": 3, '
        '"seconds/simulation": 10.0, "seconds/policy": 1.0, "seconds/update": 5.0}\n'
    )
    (tmp_path / "metrics.jsonl").write_text(record)
    run = summarise(tmp_path, "a run")
    (iteration,) = run["iterations"]
    assert iteration["played_chunks"] == 3
    seconds = predicted_seconds(parts(control_step=1.0, sample_row=1.0, update_chunk=1.0), iteration)
    assert seconds == {"simulation": 24.0, "policy": 3.0, "update": 12.0}
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="expected a run of ttrl train"):
        summarise(tmp_path, "none")


def test_the_model_is_within_a_factor_of_two_of_the_committed_runs() -> None:
    compared = results.checks()
    assert len(compared) >= 2
    for name, ratios in compared:
        assert 0.5 < ratios["total"] < 2, name


def test_a_workload_that_never_succeeds_plays_all_rounds() -> None:
    assert replace(WORKLOAD, success_rate=0.0).active_rows() == [4, 4]
