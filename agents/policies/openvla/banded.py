"""Products with matrices that are zero but for a band: the weights of an image's resampling."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttrl_env.machine.compiled import CompiledCode

_CODE = CompiledCode("images", Path(__file__).parent, [Path(__file__)])


class Band(NamedTuple):
    """The part of a matrix ``[out, in]`` outside of which it is zero."""

    starts: NDArray[np.int64]
    """``[out]`` first column of each row."""
    weights: NDArray[np.float32]
    """``[out, taps]``."""

    @classmethod
    def of(cls, matrix: NDArray[np.floating]) -> Band:
        """The narrowest band, of one width for all rows, that holds every non-zero weight."""
        used = matrix != 0
        first = used.argmax(axis=1)
        taps = int((matrix.shape[1] - used[:, ::-1].argmax(axis=1) - first).max())
        starts = np.minimum(first, matrix.shape[1] - taps)
        columns = starts[:, None] + np.arange(taps)
        return cls(starts, np.take_along_axis(matrix, columns, axis=1).astype(np.float32))


def weigh_rows(planes: NDArray[np.float32], band: Band) -> NDArray[np.float32]:
    """Weighted sums ``[n, out, width]`` of the rows of planes ``[n, in, width]``.

    They are added in ascending order, in float32, as TensorFlow does.
    """
    return _weigh_rows(planes, *band)


@_CODE.njit(nogil=True)
def _weigh_rows(
    planes: NDArray[np.float32], starts: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    out = np.zeros((planes.shape[0], len(starts), planes.shape[2]), np.float32)
    for plane in range(planes.shape[0]):
        for row in range(len(starts)):
            target = out[plane, row]
            for tap in range(weights.shape[1]):
                weight, source = weights[row, tap], planes[plane, starts[row] + tap]
                for column in range(len(target)):
                    target[column] += weight * source[column]
    return out
