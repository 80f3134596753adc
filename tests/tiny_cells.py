"""Cells of the demo that take about a second to compute."""

from repro.config.cells import plan

BUDGET = {
    "train_cap": 48,
    "dev_cap": 32,
    "teacher.epochs": 1,
    "ptp.epochs": 1,
    "student.epochs": 1,
    "student.batch_size": 16,
    "teacher.batch_size": 16,
    "ptp.batch_size": 16,
}


def tiny(table: str, recipe: str = "authors", **changes):
    return plan(table, "demo", "RTE", 1, recipe, BUDGET | changes)
