from __future__ import annotations

import json

import pytest
import torch

from tests.agents.policies.make_vision_golden import GOLDEN, TOWERS, fill, formula_image
from tests.agents.policies.tiny_openvla import PUBLISHED, model_config, tensor_shapes
from tests.agents.policies.tiny_openvla import write_json as write
from ttrl_env.agents.policies.openvla.config import read_config
from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.openvla.vision import VisionTransformer, ViTShape


def _shape(name: str) -> ViTShape:
    arguments = TOWERS[name]
    return ViTShape(
        embed_dim=arguments["embed_dim"],
        depth=arguments["depth"],
        num_heads=arguments["num_heads"],
        mlp_dim=int(arguments["embed_dim"] * arguments["mlp_ratio"]),
        class_token=arguments.get("class_token", True),
        reg_tokens=arguments.get("reg_tokens", 0),
        layer_scale="init_values" in arguments,
        attention_pool=arguments.get("global_pool") == "map",
    )


@pytest.mark.parametrize("name", TOWERS)
def test_features_equal_timms(name) -> None:
    tower = VisionTransformer(_shape(name), 28)
    fill(tower)
    with torch.no_grad():
        features = tower(formula_image())
    expected = torch.tensor(json.loads(GOLDEN.read_text())["features"][name])
    torch.testing.assert_close(features[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TOWERS)
def test_last_block_norm_and_pool_never_matter_and_do_not_train(name) -> None:
    tower = VisionTransformer(_shape(name), 28)
    fill(tower)
    with torch.no_grad():
        before = tower(formula_image())
        for module in tower.unused_modules():
            for parameter in module.parameters():
                parameter.fill_(float("nan"))
        assert torch.equal(tower(formula_image()), before)
    tower(formula_image()).sum().backward()
    without = {key for key, parameter in tower.named_parameters() if parameter.grad is None}
    frozen = {key for key, parameter in tower.named_parameters() if not parameter.requires_grad}
    assert without == frozen
    assert frozen


def test_the_published_checkpoint_has_982_tensors_and_the_model_the_same(tmp_path) -> None:
    shapes = tensor_shapes(PUBLISHED)
    assert len(shapes) == 982
    write(tmp_path / "config.json", model_config(PUBLISHED))
    from tests.agents.policies.tiny_openvla import preprocessor_config

    write(tmp_path / "preprocessor_config.json", preprocessor_config(224))
    with torch.device("meta"):
        model = OpenVLAModel(read_config(tmp_path))
    assert {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == shapes
    config = model.language_model.config
    assert (config.rms_norm_eps, config.max_position_embeddings) == (1e-6, 2048)  # not Llama 2's own
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(7.54e9, rel=0.01)
