from __future__ import annotations

import numpy as np
import pytest

from tests.agents.policies.tiny_openvla import LIBERO_STATISTICS
from ttrl_env.agents.policies.openvla.actions import ActionCodec, choose_statistics
from ttrl_env.agents.policies.openvla.statistics import ActionStatistics
from ttrl_env.errors import CheckpointError


def _statistics(**changes) -> ActionStatistics:
    values = {**LIBERO_STATISTICS, **changes}
    return ActionStatistics(
        low=np.array(values["q01"]),
        high=np.array(values["q99"]),
        mask=np.array(values["mask"]),
        minimum=None,
        maximum=None,
    )


def test_actions_are_unnormalised_by_the_quantiles_worked_by_hand() -> None:
    codec = ActionCodec(_statistics(), epsilon=0.0)
    # -1 is q01, +1 is q99, 0 is half way
    actions = codec.postprocess([[-1.0, 1.0, 0.0, -1.0, 1.0, 0.0, 1.0]])
    assert actions[0] == pytest.approx([-0.5, 0.7, -0.05, -0.1, 0.2, -0.1, -1.0], abs=1e-12)


def test_openvla_oft_widens_the_range_by_1e_minus_8() -> None:
    # 0.5 * (1 + 1) * (q99 - q01 + 1e-8) + q01, worked for q01 = 0 and q99 = 1
    statistics = _statistics(q01=[0.0] * 7, q99=[1.0] * 7)
    assert ActionCodec(statistics, 1e-8).postprocess([1.0] * 7)[0] == pytest.approx(1.00000001, abs=1e-15)
    assert ActionCodec(statistics, 0.0).postprocess([1.0] * 7)[0] == 1.0


def test_an_open_gripper_is_minus_one_for_the_robot_and_a_closed_one_plus_one() -> None:
    codec = ActionCodec(_statistics(), 1e-8)
    opened, closed = np.full(7, 128), np.full(7, 128)
    opened[-1], closed[-1] = 0, 128  # bins of +0.996 and of 0
    assert codec.decode(opened)[-1] == -1.0
    assert codec.decode(closed)[-1] == 1.0


def test_the_two_highest_tokens_mean_the_same_action() -> None:
    """Vocabulary ids 31744 and 31745: 255 centres for 256 ids."""
    codec = ActionCodec(_statistics(), 1e-8)
    highest, next_to_it, lower = (codec.decode(np.full(7, token)) for token in (0, 1, 2))
    assert np.array_equal(highest, next_to_it)
    assert (lower[:6] < next_to_it[:6]).all()


def test_encoding_undoes_decoding_for_every_token() -> None:
    codec = ActionCodec(_statistics(), 1e-8)
    tokens = np.repeat(np.arange(256)[:, None], 7, axis=1)
    encoded = codec.encode(codec.decode(tokens))
    assert np.array_equal(encoded[1:, :6], tokens[1:, :6])
    assert (encoded[0, :6] == 1).all()  # 31744 reads back as 31745, the id that encoding writes
    again = codec.decode(encoded)
    assert np.array_equal(again, codec.decode(tokens))  # the gripper, too, means the same


def test_actions_beyond_the_quantiles_are_clipped_to_the_outer_bins() -> None:
    codec = ActionCodec(_statistics(), 1e-8)
    assert codec.encode(np.full(7, 5.0))[:6].tolist() == [0] * 6
    assert codec.encode(np.full(7, -5.0))[:6].tolist() == [255] * 6


def test_statistics_are_found_by_suite_name_or_by_being_the_only_ones() -> None:
    known = {"libero_10_no_noops": _statistics()}
    assert choose_statistics(known, "libero_10") == "libero_10_no_noops"
    assert choose_statistics(known, "libero_10_no_noops") == "libero_10_no_noops"
    assert choose_statistics(known, None) == "libero_10_no_noops"


def test_absent_statistics_name_what_is_there() -> None:
    known = {"bridge_orig": _statistics(), "libero_10_no_noops": _statistics()}
    with pytest.raises(CheckpointError, match=r"'libero_goal'.*bridge_orig, libero_10_no_noops"):
        choose_statistics(known, "libero_goal")
    with pytest.raises(CheckpointError, match=r"several.*bridge_orig, libero_10_no_noops"):
        choose_statistics(known, None)
