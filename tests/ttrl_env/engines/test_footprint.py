"""Environments that cannot fit into memory are refused with the figure, before anything is allocated."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Any

import pytest

from ttrl_env.errors import ConfigError
from ttrl_env.machine import memory
from ttrl_env.single_env import LiberoEnv
from ttrl_env.vector_entry import make_vec
from ttrl_env.vector_env import TTRLVectorEnv

pytestmark = pytest.mark.libero

SUITE = "libero_spatial"


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sixteen gigabytes are free, and whoever takes four in spite of it dies of a ``MemoryError``."""
    monkeypatch.setattr(memory, "free_memory", lambda: 16_000_000_000)
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (4_000_000_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, limits)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("settings", "gigabytes"),
    [
        ({"n_samples": 1_000_000}, "1,687"),
        ({"num_groups": 10**9}, ""),
        ({"num_groups": 10**6, "n_samples": 10**6, "image_size": 1}, ""),
        ({"image_size": 20_000}, ""),
        ({"image_size": 10**9}, ""),
        ({"chunk_steps": 10**9}, "448"),
        ({"n_samples": 20, "engine": "upstream"}, "20"),
        ({"n_samples": 100_000, "image_size": 1}, "90"),
        ({"n_samples": 12_000, "cameras": ("agentview", "robot0_eye_in_hand")}, ""),
    ],
)
def test_what_cannot_fit_is_refused_with_the_figure(settings: dict[str, Any], gigabytes: str) -> None:
    with pytest.raises(ConfigError, match=rf"num_envs=.* needs about {gigabytes}.* GB .* and 16 GB are free"):
        TTRLVectorEnv(SUITE, **settings)


@pytest.mark.usefixtures("little_memory")
def test_other_ways_to_make_one_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="image_size=20000"):
        LiberoEnv(SUITE, image_size=20_000)
    with pytest.raises(ConfigError, match="num_envs=1000000"):
        make_vec(1_000_000, suite=SUITE)


def test_images_larger_than_opengl_draws_are_refused_whatever_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 60)
    with pytest.raises(ValueError, match=r"image_size: expected at most 16384 pixels.*, got 20000"):
        TTRLVectorEnv(SUITE, image_size=20_000)
