from __future__ import annotations

import resource
import signal

import numpy as np
import pytest

from ttrl_env.agents.evaluation.videos import write_video

EPISODE = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)


def test_a_full_disk_is_no_video(tmp_path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
        with pytest.raises(OSError, match=r"were not written; is the disk full\?.*video\.mp4"):
            write_video(tmp_path / "video.mp4", [EPISODE])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    write_video(tmp_path / "video.mp4", [EPISODE])
