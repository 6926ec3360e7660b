"""Seconds and peak memory of several sides, taken in turn in one process so that noise hits all alike."""

import ctypes
import ctypes.util
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

LONG = 10.0  # seconds
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Cost:
    """seconds: the median of a call; bytes: the most that a call held at once beyond what was held before it."""

    seconds: float
    bytes: int


def in_turn(sides: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, Cost]:
    """Calls each side once to warm up, once for its memory, and then all of them `rounds` times in turn; a side that
    takes longer than `LONG` only once.
    """
    held, times = {}, {}
    for name, call in sides.items():
        call()
        held[name] = peak(call, device)
    for name, call in sides.items():
        times[name] = [_seconds(call, device)]
    for _ in range(rounds - 1):
        for name, call in sides.items():
            if times[name][0] < LONG:
                times[name].append(_seconds(call, device))
    return {name: Cost(median(times[name]), held[name]) for name in sides}


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def peak(call: Callable[[], object], device: torch.device) -> int:
    """Bytes; 0 where the system does not report them (a CPU without /proc)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not STATUS.is_file():
        return 0
    # give freed pages back first, or the call would reuse them unseen
    ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the high-water mark
    call()
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
