"""Where the time of a distillation step goes: where.py MRPC|SST-2 writes results/profile_TASK.txt."""

import sys
from pathlib import Path

import contenders
import torch
from torch.profiler import ProfilerActivity, profile

from repro.runs import memory

ROWS = 22


def main(task: str) -> None:
    """One run of the package's contender; operators by their own time, as shares of all."""
    memory.keep()
    made = contenders.case(task, "auto")
    with profile(activities=[ProfilerActivity.CPU]) as run:
        contenders.package(made)
    events = sorted(run.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    lines = [
        f"{event.key[:56]:56} {100 * event.self_cpu_time_total / total:5.1f} % {event.count:8} calls"
        for event in events[:ROWS]
    ]
    threads = torch.get_num_threads()
    head = f"{task}, {len(made.times)} steps of 32, {threads} threads; the profiler itself slows small calls"
    text = "\n".join([head, "", *lines]) + "\n"
    (Path(__file__).parent / "results" / f"profile_{task}.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    main(sys.argv[1])
