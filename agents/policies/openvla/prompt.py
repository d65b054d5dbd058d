"""The prompt as token ids: BOS, a fixed sentence with the instruction in lower case, a lone space token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ttrl_env.errors import CheckpointError

MAX_PROMPT_TOKENS = 192
"""Every prompt is padded to this length, so that inputs of different steps and tasks concatenate.

Padding costs nothing: the network sees the batch's longest prompt only."""

_SPACE = "▁"


class PromptTokenizer:
    """A checkpoint's own tokenizer. BOS is not left to its post-processor: versions differ in adding it."""

    def __init__(self, tokenizer: Tokenizer, bos_id: int, pad_id: int) -> None:
        space_id = tokenizer.token_to_id(_SPACE)
        if space_id is None:
            raise CheckpointError(
                f"policy.path: tokenizer.json has no token {_SPACE!r}; it is not Llama's tokenizer"
            )
        self._tokenizer = tokenizer
        self.bos_id, self.pad_id, self.space_id = bos_id, pad_id, space_id

    @classmethod
    def from_folder(cls, folder: Path, bos_id: int, pad_id: int) -> PromptTokenizer:
        """Read ``tokenizer.json``, Hugging Face's serialised pipeline."""
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError(
                f"policy.path: {folder} has no tokenizer.json; published OpenVLA folders do. Save one with "
                f"transformers: LlamaTokenizerFast.from_pretrained(folder).save_pretrained(folder)"
            )
        return cls(Tokenizer.from_file(str(file)), bos_id, pad_id)

    @property
    def vocab_size(self) -> int:
        """Ids of the vocabulary, tokens added to it (such as padding) left out."""
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def token_ids(self, instruction: str) -> list[int]:
        """Ids of one prompt, BOS and the final space token included (29871 in Llama's vocabulary)."""
        prompt = f"In: What action should the robot take to {instruction.lower()}?\nOut:"
        ids = [self.bos_id, *self._tokenizer.encode(prompt, add_special_tokens=False).ids]
        return ids if ids[-1] == self.space_id else [*ids, self.space_id]

    def __call__(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids ``[rows, MAX_PROMPT_TOKENS]`` int64 and the prompts' lengths ``[rows]`` int64.

        BOS is column 0; the text ends in the last column, padding fills what is between.
        """
        ids = torch.full((len(instructions), MAX_PROMPT_TOKENS), self.pad_id, dtype=torch.int64)
        prompts = {text: self.token_ids(text) for text in set(instructions)}
        for row, instruction in enumerate(instructions):
            bos, *text = prompts[instruction]
            if len(text) >= MAX_PROMPT_TOKENS:
                raise ValueError(
                    f"instructions: expected prompts of at most {MAX_PROMPT_TOKENS} tokens, got "
                    f"{len(text) + 1} for {instruction!r}"
                )
            ids[row, 0] = bos
            ids[row, -len(text) :] = torch.tensor(text)
        return ids, torch.tensor([len(prompts[text]) for text in instructions], dtype=torch.int64)
