"""Description and peak speed of this machine, and the times of computed stages."""

import json
import os
import platform
import time
from pathlib import Path

import torch

SIZE, ROUNDS = 2048, 12


def description() -> dict[str, str | int]:
    """Processor, number of usable cores, versions, and the GPU if there is one."""
    processor, cpuinfo = platform.processor(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":")[1].strip()
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    } | gpu


def ceiling(precision: str, device: str = "cpu", size: int = SIZE) -> float:
    """The best rate of a square matrix product in float32 or bfloat16, in FLOP/s."""
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, precision)) for _ in range(2))
    best = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(4):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - start))
    return best


def stage_seconds(cache: Path) -> list[float]:
    """Seconds of every stage in the cache, in the order in which they ended."""
    files = sorted(cache.glob("*/*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(path.read_text())["meta"]["seconds"] for path in files]
