"""Timing for the GPU benchmark: cold and warm caches, CUDA graphs, launches, and a stand-in without a GPU."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Variants = dict[str, Callable[[], Any]]

L2_BYTES = 256 * 2**20
"""Larger than any GPU's second-level cache."""
CYCLES_PER_US = 2000
"""Of a GPU's clock, or somewhat more."""
CASE_SECONDS = 8.0
"""No new round of a case starts after this, so that slow baselines leave time for the other cases."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Times of one variant of a case, in microseconds."""

    median_us: float
    """GPU time with an empty second-level cache."""
    p10_us: float
    p90_us: float
    warm_median_us: float
    """GPU time right after another call."""
    host_us: float
    """CPU time to issue one call, without waiting for it."""
    launches: int | None
    """Number of GPU kernels in a call; None if no profiler is available."""
    rounds: int


class Clock(Protocol):
    """The device-specific operations of timing."""

    host_calls: int
    """Number of calls over which a call's CPU time is averaged."""

    def describe(self) -> dict[str, Any]: ...
    def empty_cache(self) -> None: ...
    def microseconds(self, function: Callable[[], Any], host_us: float) -> float: ...
    def synchronize(self) -> None: ...
    def count_launches(self, function: Callable[[], Any]) -> int | None: ...
    def captured(self, function: Callable[[], Any]) -> Callable[[], Any]: ...
    def release_memory(self) -> None: ...


def time_interleaved(
    variants: Variants, clock: Clock, rounds: int, in_graph: bool
) -> tuple[dict[str, Timing], dict[str, Exception]]:
    """Time the variants in turn, round after round. Returns the timings and the errors, by variant."""
    errors: dict[str, Exception] = {}
    prepared: dict[str, tuple[Callable[[], Any], int | None, float]] = {}
    for name, function in variants.items():
        try:
            prepared[name] = _prepare(function, clock, in_graph)
        except Exception as error:  # noqa: BLE001  the caller reports it, the other variants are timed
            errors[name] = error
    cold: dict[str, list[float]] = {name: [] for name in prepared}
    warm: dict[str, list[float]] = {name: [] for name in prepared}
    started = time.monotonic()
    for done in range(rounds):
        if done >= 2 and time.monotonic() - started > CASE_SECONDS:
            break
        for name, (function, _, host_us) in prepared.items():
            clock.empty_cache()
            cold[name].append(clock.microseconds(function, host_us))
            warm[name].append(clock.microseconds(function, host_us))
    return {name: _timing(cold[name], warm[name], *prepared[name][1:]) for name in prepared}, errors


def _prepare(
    function: Callable[[], Any], clock: Clock, in_graph: bool
) -> tuple[Callable[[], Any], int | None, float]:
    """Warm up a function; returns the function to time, its launches, and a call's CPU time in us."""
    for _ in range(3):
        function()
    clock.synchronize()
    launches = clock.count_launches(function)
    if in_graph:
        function = clock.captured(function)
        function()
    clock.synchronize()
    started = time.perf_counter()
    for _ in range(clock.host_calls):
        function()
    host_us = (time.perf_counter() - started) / clock.host_calls * 1e6
    clock.synchronize()
    return function, launches, host_us


def _timing(cold: list[float], warm: list[float], launches: int | None, host_us: float) -> Timing:
    deciles = statistics.quantiles(cold, n=10, method="inclusive")
    return Timing(
        median_us=statistics.median(cold),
        p10_us=deciles[0],
        p90_us=deciles[-1],
        warm_median_us=statistics.median(warm),
        host_us=host_us,
        launches=launches,
        rounds=len(cold),
    )


class GpuClock:
    """Times calls on a GPU with CUDA events."""

    host_calls = 20

    def __init__(self) -> None:
        self._larger_than_cache = torch.zeros(L2_BYTES // 4, dtype=torch.float32, device="cuda")

    def describe(self) -> dict[str, Any]:
        """Description of the GPU and versions, with the bandwidth of a plain copy for comparison."""
        import triton

        source = torch.ones(2**30, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        target.copy_(source)
        best = min(self.microseconds(lambda: target.copy_(source), 50.0) for _ in range(20))
        properties = torch.cuda.get_device_properties()
        return {
            "gpu": torch.cuda.get_device_name(),
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "torch": torch.__version__,
            "triton": triton.__version__,
            "python": platform.python_version(),
            "copy_bytes_per_s": 2 * source.numel() / (best * 1e-6),
        }

    def empty_cache(self) -> None:
        """Read a larger array. Writing one would leave cache lines for the timed kernel to write back."""
        self._larger_than_cache.sum()

    def microseconds(self, function: Callable[[], Any], host_us: float) -> float:
        """GPU time of one call, without launch latency: first the GPU sleeps, for longer than that takes."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(int(CYCLES_PER_US * max(1000.0, 3 * host_us)))
        start.record()
        function()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def count_launches(self, function: Callable[[], Any]) -> int | None:
        """Number of kernels, copies and fills in one call, from the profiler."""
        from torch._C._autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            function()
            torch.cuda.synchronize()
        on_gpu = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
        return len(on_gpu) or None  # no events: the profiler lacks permission

    def captured(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Capture the function as a CUDA graph; returns its replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        return graph.replay

    def release_memory(self) -> None:
        torch.cuda.empty_cache()


class DryClock:
    """Times calls on a CPU, to test the benchmark without a GPU."""

    host_calls = 1

    def describe(self) -> dict[str, Any]:
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        return {"gpu": "dry run", "copy_bytes_per_s": 1e9, **versions}

    def empty_cache(self) -> None:
        pass

    def microseconds(self, function: Callable[[], Any], host_us: float) -> float:
        started = time.perf_counter()
        function()
        return (time.perf_counter() - started) * 1e6

    def synchronize(self) -> None:
        pass

    def count_launches(self, function: Callable[[], Any]) -> int | None:
        function()
        return None

    def captured(self, function: Callable[[], Any]) -> Callable[[], Any]:
        return function

    def release_memory(self) -> None:
        pass
