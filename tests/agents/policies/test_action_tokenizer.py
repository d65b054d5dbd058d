from __future__ import annotations

import numpy as np
import pytest

from ttrl_env.agents.policies.action_tokenizer import ActionRange, decode_tokens, encode_actions


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


def test_bins_cover_the_range_of_each_dimension() -> None:
    bins = ActionRange(low=np.array([-3.0, 0.0]), high=np.array([1.0, 1.0]))
    assert bins.encode([-3.0, 0.0]).tolist() == [255, 255]
    assert bins.encode([9.0, 1.0]).tolist() == [0, 0]  # beyond the range: its end
    assert bins.decode([128, 128]).tolist() == [-1.0, 0.5]
    assert bins.normalised([-3.0, 1.0]).tolist() == [-1.0, 1.0]
    tokens = np.arange(1, 256)[:, None].repeat(2, axis=1)
    assert bins.encode(bins.decode(tokens)).tolist() == tokens.tolist()


def test_the_usual_range_changes_no_bit() -> None:
    bins = ActionRange(low=-np.ones(1), high=np.ones(1))
    tokens, actions = np.arange(256)[:, None], np.random.default_rng(0).uniform(-1.2, 1.2, (10_000, 1))
    assert np.array_equal(bins.decode(tokens), decode_tokens(tokens))
    assert np.array_equal(bins.encode(actions), encode_actions(actions))
