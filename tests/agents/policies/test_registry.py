"""Policies of kinds that a user registers; tests/contract/test_own_pages.py trains one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from tests.agents.policies.test_conformance import Bare
from ttrl_env.agents.config.loading import load_config
from ttrl_env.agents.config.schema import TrainConfig
from ttrl_env.agents.policies import PolicyOptions, TokenPolicy, load_policy, register_policy, registry
from ttrl_env.agents.policies.building import policy_options
from ttrl_env.agents.policies.cameras import PolicyCamera
from ttrl_env.agents.policies.loading import read_cameras
from ttrl_env.errors import CheckpointError, ConfigError, PolicyError, UnknownNameError


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


class Whole(Bare):
    """A policy with every member, of which nothing is called here."""

    num_features = 1
    cameras: tuple[PolicyCamera, ...] = ("robot0_eye_in_hand",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def check_image_size(self, image_size: int) -> None: ...

    def sharding_units(self) -> list[nn.Module]:
        return []

    def save_pretrained(self, save_directory: Any, *, state_dict: Any = None) -> None: ...


class WidthConfig(PreTrainedConfig):
    model_type = "width"
    width: int = 3


class WidthPolicy(PreTrainedModel):
    config_class = WidthConfig
    chunk_steps, num_features, cameras = 8, 3, ("agentview",)
    check_image_size, prepare, sample = Whole.check_image_size, Bare.prepare, Bare.sample
    evaluate, decode = Bare.evaluate, Bare.decode

    def __init__(self, config: WidthConfig) -> None:
        super().__init__(config)
        self.layer = nn.Linear(config.width, 1)
        self.post_init()


def _never_called(folder: Path) -> TokenPolicy:
    raise AssertionError


def _folder(path: Path, kind: object, **content: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": kind, **content}))
    return path


def test_a_function_loads_what_it_is_registered_for(tmp_path) -> None:
    policy, folder = Whole(), _folder(tmp_path / "mine", "mine")
    register_policy("mine", {folder: policy}.__getitem__, cameras=("robot0_eye_in_hand",))
    assert load_policy(folder) is policy
    assert load_policy(folder, PolicyOptions(kind="mine")) is policy
    assert read_cameras(folder) == ("robot0_eye_in_hand",)


def test_a_class_of_transformers_comes_back_as_it_was_saved(tmp_path) -> None:
    register_policy("width", WidthPolicy)
    saved = WidthPolicy(WidthConfig(width=5))
    saved.save_pretrained(tmp_path)
    loaded: Any = load_policy(tmp_path)
    assert torch.equal(loaded.layer.weight, saved.layer.weight)
    assert read_cameras(tmp_path) == ("agentview",)


def test_a_class_of_transformers_is_loaded_strictly(tmp_path) -> None:
    register_policy("width", WidthPolicy)
    WidthPolicy(WidthConfig(width=5)).save_pretrained(tmp_path)
    save_file({"layer.weight": torch.zeros(1, 4), "other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as raised:
        load_policy(tmp_path)
    for line in (
        "missing layer.bias [1]",
        "unexpected other [1]",
        "layer.weight: expected [1, 5], got [1, 4]",
    ):
        assert line in str(raised.value)
    _folder(tmp_path, "width", width="wide")
    with pytest.raises(CheckpointError, match=r"config\.json does not describe a WidthPolicy"):
        load_policy(tmp_path)


def test_nothing_in_a_folder_names_code(tmp_path) -> None:
    """Neither transformers' own keys of downloaded code nor a module beside the weights is heeded."""
    register_policy("width", WidthPolicy)
    WidthPolicy(WidthConfig()).save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit")
    names = {"auto_map": {"AutoModel": "evil.Evil"}, "attn_implementation": "owner/kernel", "dtype": "evil"}
    _folder(tmp_path, "width", width=3, **names)
    loaded: Any = load_policy(tmp_path)
    assert not hasattr(loaded.config, "auto_map")
    assert loaded.config._attn_implementation != "owner/kernel"


@pytest.mark.parametrize("kind", ["mine", 3, None, [], "../mine"])
def test_a_kind_that_nobody_has_registered_is_an_error_that_lists_the_known(tmp_path, kind) -> None:
    register_policy("width", WidthPolicy)
    with pytest.raises(UnknownNameError, match=r"Known: openvla, tiny_vla, width\..*docs/own-policy\.md"):
        load_policy(_folder(tmp_path, kind))


def test_a_kind_that_is_asked_for_is_checked_before_anything_is_loaded() -> None:
    config = load_config(TrainConfig, ["policy.kind=mime", "policy.path=anything"])
    with pytest.raises(UnknownNameError, match=r"policy\.kind: no such name 'mime'"):
        policy_options(config.policy, 0)


def test_options_that_change_nothing_are_refused(tmp_path) -> None:
    register_policy("mine", lambda folder: Whole(), cameras=("agentview",))
    folder = _folder(tmp_path, "mine")
    for options in (PolicyOptions(lora_rank=8), PolicyOptions(chunk_steps=4)):
        with pytest.raises(ConfigError, match="the checkpoint is a mine"):
            load_policy(folder, options)
    assert load_policy(folder, PolicyOptions(chunk_steps=8))


def test_a_policy_that_lacks_a_method_is_refused_as_it_is_registered_or_loaded(tmp_path) -> None:
    lacking: Any = Bare()
    register_policy("mine", lambda folder: lacking, cameras=("agentview",))
    with pytest.raises(PolicyError, match="got Bare, which has no num_features"):
        load_policy(_folder(tmp_path, "mine"))
    with pytest.raises(PolicyError, match=r"expected a transformers\.PreTrainedModel or a function"):
        register_policy("whole", Whole)
    with pytest.raises(PolicyError, match=r"config_class with model_type = 'other'.*got 'width'"):
        register_policy("other", WidthPolicy)


@pytest.mark.parametrize(
    ("kind", "policy", "cameras", "message"),
    [
        ("tiny_vla", WidthPolicy, None, "'tiny_vla' is the package's own"),
        ("auto", WidthPolicy, None, "'auto' is the package's own"),
        ("my kind", WidthPolicy, None, "expected a name of letters"),
        ("mine", "my_policy", ("agentview",), r"expected a class or a function load\(folder\)"),
        ("mine", len, None, "cameras: expected a tuple of agentview"),
        ("mine", len, ("front",), r"cameras: expected a tuple of agentview.*got \('front',\)"),
    ],
)
def test_what_cannot_be_registered_is_named(kind, policy, cameras, message) -> None:
    with pytest.raises((ConfigError, PolicyError), match=message):
        register_policy(kind, policy, cameras=cameras)


def test_two_policies_of_one_kind_are_refused_but_a_cell_may_run_twice() -> None:
    register_policy("width", WidthPolicy)
    register_policy("width", WidthPolicy)
    with pytest.raises(ConfigError, match=r"'width' is taken by .*WidthPolicy, got .*_never_called"):
        register_policy("width", _never_called, cameras=("agentview",))


def test_a_module_that_is_not_there_is_named_with_what_helps(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TTRL_POLICIES", "no_such_policies")
    with pytest.raises(
        ConfigError, match=r"TTRL_POLICIES: there is no module 'no_such_policies'.*PYTHONPATH"
    ):
        load_policy(_folder(tmp_path, "mine"))
    (tmp_path / "broken_policies.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TTRL_POLICIES", " broken_policies ,")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_policy(tmp_path)
    assert "broken_policies" not in sys.modules


def test_an_entry_point_that_registers_nothing_is_named(tmp_path, monkeypatch) -> None:
    distribution = tmp_path / "idle-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: idle\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[ttrl_env.policies]\nidle = json\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"entry point 'idle' of the group ttrl_env\.policies does not call"
    ):
        load_policy(_folder(tmp_path / "policy", "idle"))


def test_the_packages_own_kinds_import_no_module_of_the_users(monkeypatch) -> None:
    monkeypatch.setenv("TTRL_POLICIES", "no_such_policies")
    assert load_policy("tiny-vla-libero-object")
