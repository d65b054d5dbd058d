"""Compares what two environments return: observations, rewards, flags and infos."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np


def assert_same_returns(ours: Any, theirs: Any, but: Collection[str] = ("group",)) -> None:
    """Fail where values, shapes or dtypes differ. Infos ``but`` some, and only in the rows that have them."""
    if isinstance(ours, (tuple, list)):
        for one, other in zip(ours, theirs, strict=True):
            assert_same_returns(one, other, but)
    elif isinstance(ours, dict):
        assert set(ours) == set(theirs)
        for key in set(ours) - {*but, *(f"_{name}" for name in but)}:
            one, other = ours[key], theirs[key]
            if f"_{key}" in ours and not isinstance(one, dict):
                rows = ours[f"_{key}"]
                one, other = one[rows], other[rows]
            assert_same_returns(one, other, but)
    elif isinstance(ours, np.ndarray) and ours.dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert_same_returns(one, other, but)
    elif isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, theirs, strict=True)
    else:
        np.testing.assert_equal(ours, theirs)
