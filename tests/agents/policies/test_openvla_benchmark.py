from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import openvla_update
from ttrl_env.agents.policies.openvla.model import OpenVLAModel


@pytest.mark.thorough  # tests/benchmarks/test_gpu.py measures the same
def test_the_benchmark_measures_sampling_and_updates(tmp_path, monkeypatch) -> None:
    output = tmp_path / "report.json"
    arguments = ["openvla_update", "--tiny", "--rows", "2", "--rounds", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    openvla_update.main()
    report = json.loads(output.read_text())
    assert report["machine"]["torch"] == torch.__version__
    keys = ("what", "recompute", "compiled")
    assert [tuple(figure.get(key, False) for key in keys) for figure in report["figures"]] == [
        ("prepare", False, False),
        ("sample", False, False),
        ("update", False, False),
        ("update", True, False),
        ("sample", False, True),
        ("update", False, True),
    ]
    assert all(figure["median_s"] > 0 for figure in report["figures"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="says so only where there is no GPU")
def test_without_a_gpu_it_says_so(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["openvla_update"])
    with pytest.raises(SystemExit, match="needs a CUDA GPU"):
        openvla_update.main()


def test_its_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = OpenVLAModel(openvla_update.published_config())
    assert len(model.state_dict()) == 982
    assert model.projector.fc1.weight.shape == (8704, 2176)
