"""The gates of the profile `cpu` on real GLUE: whether teachers learn and depth matters.

Trains the teacher and the students of one and three layers of Table 2 (Patient KD, textbook recipe)
on MRPC, SST-2 and QNLI, and compares the averages over the three tasks. RTE is not used: this
encoder stays near chance there. The gates were declared before the runs: three layers above one and
the teacher above three layers, each beyond its interval, and a teacher's score for each task.

Usage: GLUE_DIR=... python benchmarks/gates_glue.py [SEEDS]. Finished cells are kept, and `make
table2 PROFILE=cpu RECIPE=textbook` uses them. Writes results/gates_glue.csv below this folder.
"""

import sys
from pathlib import Path

import pandas as pd
from gates import compare

from repro.analysis.groups import groups
from repro.config.cells import plan
from repro.runs.engine import run_cells

OUT = Path(__file__).parent / "results" / "gates_glue.csv"
TEACHER, DEEP, SHALLOW = "BERT-base", "BERT3-PatientKD", "BERT1-PatientKD"
NEEDED = {  # percent, the mean over seeds
    ("MRPC", "accuracy"): 78.0,
    ("MRPC", "f1"): 85.0,
    ("SST-2", "accuracy"): 88.0,
    ("QNLI", "accuracy"): 80.0,
}


def main(seeds: int) -> None:
    """Train what is missing, and write and print each gate."""
    tasks = dict.fromkeys(task for task, _ in NEEDED)
    table = plan("table2", "cpu", ",".join(tasks), seeds, "textbook")
    cells = [cell for cell in table if cell.row in (TEACHER, DEEP, SHALLOW)]
    run_cells(cells, "processes", 0)
    by_key = groups(cells)
    pairs = ((DEEP, SHALLOW), (TEACHER, DEEP))
    gates = [compare(by_key, new, old, 0.0) for new, old in pairs]
    for (task, metric), needed in NEEDED.items():
        scores = [result["metrics"][metric] for result in by_key[TEACHER, task].results]
        mean = sum(scores) / len(scores)
        gates.append({"gate": f"{metric} of the teacher on {task}", "value": mean})
        gates[-1] |= {"needed": needed, "passed": mean >= needed}
    frame = pd.DataFrame(gates).assign(seeds=seeds).round(2)
    frame.to_csv(OUT, index=False, lineterminator="\n")
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
