from __future__ import annotations

import numpy as np
import pytest

from ttrl_env.agents.policies.action_tokenizer import decode_tokens, encode_actions


def test_tokens_stand_for_openvla_bin_centres() -> None:
    # id 31999 -> -0.996078, id 31872 -> 0, ids 31744 and 31745 -> +0.996078; token = id - 31744
    assert decode_tokens([255, 128, 1, 0]) == pytest.approx([-0.9960784, 0.0, 0.9960784, 0.9960784])


def test_encoding_counts_down_from_the_lowest_action() -> None:
    # 32000 - digitize(a, linspace(-1, 1, 256)), minus 31744
    assert encode_actions([-1.0, 0.0, 1.0]).tolist() == [255, 128, 0]


def test_actions_beyond_the_range_are_clipped() -> None:
    assert encode_actions([-7.0, 7.0]).tolist() == encode_actions([-1.0, 1.0]).tolist()


def test_decoding_an_encoding_is_off_by_at_most_half_a_bin() -> None:
    actions = np.linspace(-1, 1, 10_001)
    error = np.abs(decode_tokens(encode_actions(actions)) - actions)
    assert error.max() <= 1 / 255 + 1e-12


def test_every_token_but_the_doubled_one_survives_decoding_and_encoding() -> None:
    tokens = np.arange(1, 256)
    assert encode_actions(decode_tokens(tokens)).tolist() == tokens.tolist()


def test_unusable_values_are_named() -> None:
    with pytest.raises(ValueError, match="actions: expected finite"):
        encode_actions([np.nan])
    with pytest.raises(ValueError, match=r"tokens: expected ids in 0..255, got 0 to 256"):
        decode_tokens([0, 256])
