"""The numbers that the paper prints, as data: tables.csv. No torch here."""

from pathlib import Path

import numpy as np
import pandas as pd

from repro.config.tasks import task

FOLDER = Path(__file__).parent
DIGITS = 4  # decimals of every stored number, so that a CSV is the same to the byte wherever it is derived


def numbers() -> pd.DataFrame:
    """The numbers of the paper's tables 2 to 5 as printed: tables.csv, indexed by ("table2", method)."""
    frame = pd.read_csv(FOLDER / "tables.csv", dtype={"table": str, "parameters": str})
    return frame.assign(table="table" + frame["table"]).set_index(["table", "method"])


def paper(table_name: str, method: str, columns: list[str]) -> float:
    """The mean of a method's printed numbers in these columns ("RTE", ..., "Avg"), in percent."""
    table = numbers()
    return round(
        float(np.mean([float(str(table[name][table_name, method])) for name in columns])), DIGITS
    )


def parameters(table_name: str, method: str) -> int:
    """42,600,000 for the printed "42.6M"."""
    return round(float(str(numbers()["parameters"][table_name, method]).removesuffix("M")) * 1e6)


def column(name: str) -> tuple[list[str], str]:
    """The printed column of a task, and its metric."""
    return [task(name).paper_name], task(name).metric


def average(names: list[str]) -> tuple[list[str], str]:
    """The printed columns an average is compared with: the printed Avg if all four tasks are there, else its parts."""
    columns = [task(name).paper_name for name in names]
    return (["Avg"] if len(columns) == 4 else columns), f"mean of {len(columns)}"
