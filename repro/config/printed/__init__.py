"""The numbers that the paper prints (tables.csv), and other papers (related.csv). No torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from repro.config.tasks import GLUE, task

FOLDER = Path(__file__).parent
DIGITS = 4  # decimals of every stored number, so that a CSV has the same bytes on every machine


def numbers() -> pd.DataFrame:
    """Tables 2 to 5 as printed, indexed by table ("table2") and method; the columns are tasks."""
    frame = pd.read_csv(FOLDER / "tables.csv", dtype={"table": str, "parameters": str})
    return frame.assign(table="table" + frame["table"]).set_index(["table", "method"])


def related() -> pd.DataFrame:
    """Published scores of the methods in the table "related", indexed by method.

    The columns are tasks, the system as published, its parameters in millions, split and source.
    """
    return pd.read_csv(FOLDER / "related.csv").set_index("method")


def paper(table_name: str, method: str, columns: list[str]) -> float:
    """The mean of a row's printed numbers, in percent; NaN if one of them is not published.

    Args:
        table_name: "table2" to "table5", "related", or a table of ours, which nobody published.
        method: The row's printed name.
        columns: Printed columns, e.g. ["RTE", "MRPC"] or ["Avg"].
    """
    if table_name == "related":
        names = [task.name for task in GLUE] if columns == ["Avg"] else columns
        published = related().reindex([method])[names].to_numpy(float)  # (1, columns)
        return round(float(published.mean()), DIGITS)
    table = numbers()
    if table_name not in table.index.get_level_values("table"):
        return float("nan")
    printed = [float(str(table[column][table_name, method])) for column in columns]
    return round(float(np.mean(printed)), DIGITS)


def difference(table_name: str, method: str, against: str, columns: list[str]) -> float:
    """The difference of two rows' printed means; NaN if they are of different splits."""
    if table_name == "related":
        splits = related()["split"].reindex([method, against])
        if splits.nunique() > 1:
            return float("nan")
    return paper(table_name, method, columns) - paper(table_name, against, columns)


def parameters(table_name: str, method: str) -> int:
    """The printed number of parameters, e.g. 42,600,000 for "42.6M"."""
    return round(float(str(numbers()["parameters"][table_name, method]).removesuffix("M")) * 1e6)


def column(name: str) -> tuple[list[str], str]:
    """The printed column of a task, and its metric."""
    return [task(name).paper_name], task(name).metric


def average(names: list[str]) -> tuple[list[str], str]:
    """The printed columns to compare an average with, and the metric's name.

    For all four tasks it is the printed average, for fewer the tasks' own columns.
    """
    columns = [task(name).paper_name for name in names]
    return (["Avg"] if len(columns) == 4 else columns), f"mean of {len(columns)}"
