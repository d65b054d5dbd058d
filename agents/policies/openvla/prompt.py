"""Tokenizes prompts: BOS, a fixed sentence with the instruction in lower case, and a single space token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ttrl_env.agents.common.checkpoint_files import read_own_file
from ttrl_env.errors import CheckpointError

MAX_PROMPT_TOKENS = 192
"""Length that every prompt is padded to, so that inputs of different steps and tasks can be concatenated.

The network itself gets only as many columns as the batch's longest prompt has."""

_FILE = "tokenizer.json"

_SPACE = "▁"


class PromptTokenizer:
    """A checkpoint's own tokenizer.

    BOS is added here, because versions of the tokenizer's post-processor differ in adding it.
    """

    def __init__(self, tokenizer: Tokenizer, bos_id: int, pad_id: int) -> None:
        """Use ``tokenizer``, and switch off its padding, truncation and dropout."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if getattr(tokenizer.model, "dropout", None):
            tokenizer.model.dropout = None
        space_id = tokenizer.token_to_id(_SPACE)
        if space_id is None:
            raise CheckpointError(
                f"policy.path: tokenizer.json has no token {_SPACE!r}; it is not Llama's tokenizer"
            )
        self._tokenizer = tokenizer
        self.bos_id, self.pad_id, self.space_id = bos_id, pad_id, space_id

    @classmethod
    def from_folder(cls, folder: Path, bos_id: int, pad_id: int) -> PromptTokenizer:
        """Read ``tokenizer.json``, in Hugging Face's format."""
        if not (folder / _FILE).exists():
            raise CheckpointError(_advice_without_file(folder))
        content = read_own_file(folder, _FILE)
        try:
            tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises only this class
            raise CheckpointError(f"policy.path: {folder / _FILE} is no tokenizer: {error}") from error
        return cls(tokenizer, bos_id, pad_id)

    @property
    def largest_id(self) -> int:
        """The largest id, including those of tokens added to the vocabulary."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, without tokens added to it, such as padding."""
        return self._tokenizer.get_vocab_size(with_added_tokens=False)

    def token_ids(self, instruction: str) -> list[int]:
        """Ids of one prompt, from BOS to the final space token (29871 in Llama's vocabulary)."""
        prompt = f"In: What action should the robot take to {instruction.lower()}?\nOut:"
        ids = [self.bos_id, *self._tokenizer.encode(prompt, add_special_tokens=False).ids]
        return ids if ids[-1] == self.space_id else [*ids, self.space_id]

    def __call__(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids ``[rows, MAX_PROMPT_TOKENS]`` int64 and the prompts' lengths ``[rows]`` int64.

        BOS is column 0, and the text ends in the last column; padding fills the columns between them.
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


def _advice_without_file(folder: Path) -> str:
    """Advice for a missing ``tokenizer.json``; transformers can convert Llama's ``tokenizer.model`` to it."""
    convert = (
        'python -c "from transformers import LlamaTokenizerFast as T; '
        f'T.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"'
    )
    if (folder / "tokenizer.model").exists():
        return (
            f"policy.path: {folder} has only tokenizer.model, no {_FILE}. Make that once: "
            f"pip install sentencepiece protobuf, then {convert}; or copy {_FILE} from the checkpoint that "
            f"training started from"
        )
    return (
        f"policy.path: {folder} has no {_FILE}; published OpenVLA folders do. Copy it from the checkpoint "
        f"that training started from"
    )
