"""``OpenVLAPolicy``: an OpenVLA checkpoint with the interface of token policies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ttrl_env.agents.policies.cameras import PolicyCamera, image_of
from ttrl_env.agents.policies.openvla import pixels as pixel_path
from ttrl_env.agents.policies.openvla.actions import OFT_EPSILON, ActionCodec
from ttrl_env.agents.policies.openvla.config import OpenVLAConfig
from ttrl_env.agents.policies.openvla.decoding import Autoregressive, Parallel
from ttrl_env.agents.policies.openvla.lora import adapters_disabled
from ttrl_env.agents.policies.openvla.model import OpenVLAModel
from ttrl_env.agents.policies.openvla.prompt import PromptTokenizer
from ttrl_env.agents.policies.openvla.records import ActionSpace, Source
from ttrl_env.agents.policies.openvla.saving import model_weights, save_adapter, save_model
from ttrl_env.agents.policies.openvla.senses import cameras_of, robot_state
from ttrl_env.agents.policies.openvla.statistics import StateStatistics
from ttrl_env.agents.policies.protocol import PolicyInputs, TokenEvaluation
from ttrl_env.kernels import SampledTokens, token_logprobs_from_hidden

if TYPE_CHECKING:
    from peft import LoraConfig


class OpenVLAPolicy(nn.Module):
    """Implements :class:`ttrl_env.agents.policies.protocol.TokenPolicy`.

    Inputs of one row:

    - ``pixels`` uint8 ``[3 * num_images, S, S]``: images after the published preprocessing;
    - ``prompt_ids`` int64 ``[192]``: padded between BOS and text;
    - ``prompt_lengths`` int64;
    - ``proprio`` float32 ``[state_dim]``, if it sees the robot's state: normalised.
    """

    cameras: tuple[PolicyCamera, ...]

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: OpenVLAConfig,
        model: OpenVLAModel,
        tokenizer: PromptTokenizer,
        action_space: ActionSpace,
        source: Source,
        *,
        state: StateStatistics | None = None,
        autocast: bool = False,
    ) -> None:
        """Make the policy; ``state`` normalises the robot's state, which ``model`` then has a token for."""
        super().__init__()
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.action_space = action_space
        self.source = source
        self.state = state
        self.autocast = autocast
        self.chunk_steps = action_space.chunk_steps
        self.num_features = model.hidden_size
        parallel = action_space.decoding == "parallel"
        decoder = Parallel if parallel else Autoregressive
        statistics = config.statistics[action_space.unnorm_key]
        self.action_dim = len(statistics.low)
        self.world = statistics.world
        self.cameras = cameras_of(self.world, action_space.num_images)
        self.decoder = decoder(model, self.chunk_steps * self.action_dim, config.window)
        self.codec = ActionCodec(statistics, OFT_EPSILON if parallel else 0.0)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_means).view(6, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_stds).view(6, 1, 1), persistent=False)

    def check_image_size(self, image_size: int) -> None:
        """Raise ``ValueError`` unless the training images were squares of this size, in pixels."""
        self.check_image_shape(image_size, image_size)

    def check_image_shape(self, height: int, width: int) -> None:
        """Raise ``ValueError`` unless images have height and width of the training images, in pixels."""
        expected = pixel_path.camera_shape(self.world, self.config.image_size)
        if (height, width) != expected:
            raise ValueError(
                f"OpenVLA's training images were rendered at {expected[0]} x {expected[1]} pixels; other "
                f"sizes look different to it, got {height} x {width}"
            )

    def prepare(self, observations: dict[str, NDArray[Any]], instructions: Sequence[str]) -> PolicyInputs:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.prepare`."""
        pixels = [self._pixels(observations, camera) for camera in self.cameras]
        ids, lengths = self.tokenizer(instructions)
        inputs = {"pixels": torch.cat(pixels, dim=1), "prompt_ids": ids, "prompt_lengths": lengths}
        if self.state is not None:
            inputs["proprio"] = torch.from_numpy(self.state.normalised(robot_state(observations, self.world)))
        return inputs

    def _pixels(self, observations: dict[str, NDArray[Any]], camera: PolicyCamera) -> Tensor:
        """``[rows, 3, S, S]`` uint8 of one camera's images."""
        images, size = image_of(observations, camera), self.config.image_size
        self.check_image_shape(*images.shape[1:3])
        prepare = pixel_path.prepare_images if self.world == "LIBERO" else pixel_path.crop_images
        return torch.from_numpy(prepare(images, size))

    @torch.no_grad()
    def sample(
        self, inputs: PolicyInputs, temperatures: Tensor, seeds: Tensor, step: int = 0
    ) -> SampledTokens:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.sample`."""
        device = self.pixel_mean.device
        with self._precision():
            prefix = self.decoder.prefix(self.visual_tokens(inputs), inputs)
            return self.decoder.sample(prefix, temperatures.to(device), seeds.to(device), step)

    def evaluate(self, inputs: PolicyInputs, tokens: Tensor, temperatures: Tensor) -> TokenEvaluation:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.evaluate`."""
        with self._precision():
            hidden = self.hidden_states(inputs, tokens)
        rows, count = tokens.shape
        head = self.decoder.head()
        logprobs, entropies = token_logprobs_from_hidden(
            hidden.flatten(0, 1).to(head.dtype),
            head,
            tokens.flatten().to(hidden.device),
            temperatures.repeat_interleave(count).to(hidden.device),
        )
        return TokenEvaluation(
            logprobs=logprobs.view(rows, count),
            entropies=entropies.view(rows, count),
            features=self.decoder.features(hidden).float(),
        )

    def hidden_states(self, inputs: PolicyInputs, tokens: Tensor) -> Tensor:
        """Last hidden states ``[rows, K, hidden]`` that predict ``tokens`` ``[rows, K]``."""
        prefix = self.decoder.prefix(self.visual_tokens(inputs), inputs)
        return self.decoder.hidden_states(prefix, tokens.to(self.pixel_mean.device))

    def decode(self, tokens: Tensor) -> NDArray[np.float64]:
        """See :meth:`ttrl_env.agents.policies.protocol.TokenPolicy.decode`."""
        shape = (len(tokens), self.chunk_steps, self.action_dim)
        return self.codec.decode(tokens.cpu().numpy().reshape(shape))

    def encode(self, actions: NDArray[Any]) -> Tensor:
        """Tokens ``[rows, K]`` of actions ``[rows, chunk_steps, action_dim]``, for demonstrations."""
        return torch.from_numpy(self.codec.encode(actions)).flatten(1)

    def sharding_units(self) -> list[nn.Module]:
        """Every transformer block, and the modules that are in the checkpoint but never used."""
        towers = self.model.vision_backbone.towers
        blocks = [block for tower in towers for block in (*tower.used_blocks, *tower.unused_modules())]
        return [*blocks, *self.model.language_model.model.layers]

    def save_pretrained(
        self, save_directory: str | Path, *, state_dict: dict[str, Tensor] | None = None
    ) -> None:
        """Write a checkpoint in the published layout; files of the same names are overwritten.

        ``state_dict`` has the whole weights, for a sharded policy whose own are only slices.
        """
        weights = None if state_dict is None else model_weights(state_dict)
        save_model(self.model, self.source, self.action_space, Path(save_directory), weights)

    def visual_tokens(self, inputs: PolicyInputs) -> Tensor:
        """Visual tokens ``[rows, tokens, hidden]``: the patches of each image, then the robot's state.

        Pixels are normalised for each tower.
        """
        device, dtype = self.pixel_mean.device, self.decoder.head().dtype
        rows = len(inputs["pixels"])
        images = inputs["pixels"].to(device).unflatten(1, (-1, 3)).flatten(0, 1)
        pixels = images.float().div_(255).repeat(1, 2, 1, 1)
        patches = self.model.embed_pixels(((pixels - self.pixel_mean) / self.pixel_std).to(dtype))
        tokens = patches.unflatten(0, (rows, -1)).flatten(1, 2)
        if self.state is None:
            return tokens
        state = self.model.embed_state(inputs["proprio"].to(device, dtype))
        return torch.cat([tokens, state.to(tokens.dtype)], dim=1)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if not self.autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.pixel_mean.device.type, torch.bfloat16)


class AdaptedOpenVLAPolicy(OpenVLAPolicy):
    """An OpenVLA policy whose LoRA adapters are trained while the checkpoint's weights stay frozen."""

    def __init__(
        self,
        config: OpenVLAConfig,
        model: OpenVLAModel,
        tokenizer: PromptTokenizer,
        action_space: ActionSpace,
        source: Source,
        *,
        lora: LoraConfig,
        state: StateStatistics | None = None,
        autocast: bool = False,
    ) -> None:
        """Make the policy; ``model`` has the adapters, and ``lora`` is their configuration."""
        super().__init__(config, model, tokenizer, action_space, source, state=state, autocast=autocast)
        self.lora = lora

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Switch the adapters off: the policy is then the frozen reference of a KL penalty."""
        with adapters_disabled(self.model):
            yield

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        state_dict: dict[str, Tensor] | None = None,
        merge: bool = False,
    ) -> None:
        """Write the adapter and the name of its base; with ``merge``, the whole model with it merged."""
        if state_dict is not None:
            raise ValueError("state_dict: a policy with adapters always has its whole weights itself")
        if merge:
            save_model(self.model, self.source, self.action_space, Path(save_directory))
        else:
            save_adapter(self.model, self.lora, self.source, self.action_space, Path(save_directory))
