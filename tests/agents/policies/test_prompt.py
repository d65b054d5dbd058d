from __future__ import annotations

import pytest
import torch

from tests.agents.policies.tiny_openvla import tiny_tokenizer
from ttrl_env.agents.policies.openvla.prompt import MAX_PROMPT_TOKENS, PromptTokenizer
from ttrl_env.errors import CheckpointError


@pytest.fixture
def tokenizer() -> PromptTokenizer:
    return PromptTokenizer(tiny_tokenizer(512), bos_id=1, pad_id=512)


def test_the_prompt_is_the_published_sentence_in_lower_case(tokenizer) -> None:
    ids = tokenizer.token_ids("Open the Drawer")
    backend = tiny_tokenizer(512)
    assert ids[0] == 1
    assert ids[1] != 1  # BOS once, although the tokenizer's own post-processor adds one
    assert ids[-1] == backend.token_to_id("▁")
    text = backend.decode(ids[1:-1], skip_special_tokens=False).replace("▁", " ")
    assert text.strip() == "In: What action should the robot take to open the drawer?\nOut:"


def test_prompts_are_padded_to_one_length_between_bos_and_text(tokenizer) -> None:
    tokenizer_ids, lengths = tokenizer(["a", "a much longer one"])
    assert tokenizer_ids.shape == (2, MAX_PROMPT_TOKENS)
    for ids, length in zip(tokenizer_ids, lengths, strict=True):
        assert ids[0] == 1
        assert (ids[1 : -(length - 1)] == 512).all()
    assert tokenizer_ids[0, -int(lengths[0]) + 1 :].tolist() == tokenizer.token_ids("a")[1:]
    assert tokenizer_ids.dtype == lengths.dtype == torch.int64


def test_a_prompt_that_does_not_fit_is_refused(tokenizer) -> None:
    with pytest.raises(ValueError, match="instructions: expected prompts of at most 192 tokens"):
        tokenizer(["x" * 200])


def test_another_tokenizer_is_refused(tmp_path) -> None:
    from tokenizers import Tokenizer, models

    with pytest.raises(CheckpointError, match="not Llama's"):
        PromptTokenizer(Tokenizer(models.BPE()), 1, 2)
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        PromptTokenizer.from_folder(tmp_path, 1, 2)


def test_padding_truncation_and_dropout_that_a_file_was_saved_with_are_not_applied(
    tmp_path, tokenizer
) -> None:
    saved = tiny_tokenizer(512)
    saved.enable_padding(length=128, pad_id=5)
    saved.enable_truncation(8)
    saved.save(str(tmp_path / "tokenizer.json"))
    read = PromptTokenizer.from_folder(tmp_path, bos_id=1, pad_id=512)
    for text in ("open", "open the drawer"):
        assert read.token_ids(text) == tokenizer.token_ids(text)


def test_merges_are_not_dropped_at_random(tmp_path) -> None:
    from tokenizers import Tokenizer, models

    vocabulary = {"▁": 0, "a": 1, "aa": 2}
    saved = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "a")], dropout=1.0))
    saved.save(str(tmp_path / "tokenizer.json"))
    ids = PromptTokenizer.from_folder(tmp_path, bos_id=0, pad_id=0).token_ids("aaaa")
    assert ids.count(2) >= 2


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"model": {"type": "BPE"}}', "\x00\xff"])
def test_a_damaged_tokenizer_is_named(tmp_path, content) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is no tokenizer: "):
        PromptTokenizer.from_folder(tmp_path, 1, 2)


def test_a_folder_with_sentencepieces_file_only_says_how_to_make_the_other(tmp_path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"has only tokenizer\.model, .*pip install sentencepiece"):
        PromptTokenizer.from_folder(tmp_path, 1, 2)
