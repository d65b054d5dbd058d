from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integrations


@pytest.fixture
def local_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray of this test's own, which leaves nothing in the user's folders."""
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path))
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("local_ray")
def test_ppo_trains_and_a_callback_reads_success(run_page: Callable) -> None:
    played = run_page("ray.rllib")["results"]["env_runners"]
    assert played["success_rate"] == 1  # both single environments have one row, which succeeds
    assert played["episode_len_mean"] == 3
    assert played["episode_return_mean"] == pytest.approx(1 / (1 + 3 / 220))
