"""Profile of a distillation step: `where.py MRPC` writes results/profile_MRPC.txt."""

import sys
from pathlib import Path

import contenders
import torch
from torch.profiler import ProfilerActivity, profile

from repro.runs import machine

ROWS = 22


def main(task: str) -> None:
    """Run the package's contender once, and list operators by their share of the time."""
    machine.keep_memory()
    case = contenders.build_case(task, "auto")
    with profile(activities=[ProfilerActivity.CPU]) as run:
        contenders.package(case)
    events = sorted(run.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    lines = []
    for event in events[:ROWS]:
        share = 100 * event.self_cpu_time_total / total
        lines.append(f"{event.key[:56]:56} {share:5.1f} % {event.count:8} calls")
    head = (
        f"{task}, {len(case.times)} steps of 32, {torch.get_num_threads()} threads; "
        "the profiler itself slows small calls"
    )
    text = "\n".join([head, "", *lines]) + "\n"
    (Path(__file__).parent / "results" / f"profile_{task}.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    main(sys.argv[1])
