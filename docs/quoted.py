"""The numbers that the documents quote. Each is made from a file and stands between two marks.

Usage: python docs/quoted.py, after publishing a run or repeating a benchmark. It rewrites what
stands between `<!-- name -->` and `<!-- end -->` in each document of BLOCKS; a test compares it.
"""

import importlib.util
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import arithmetic  # docs/arithmetic.py
import pandas as pd

from repro.analysis import published
from repro.config import recipe
from repro.config.tables import DEPTHS, EQUAL_LATENCY, RUN_TWICE, STEPS, TABLES
from repro.report import costs, text

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "benchmarks" / "results"
UNTESTED = "not testable here"
LABELS = (  # of the steps, in the order of config.tables.STEPS
    "soft labels",
    "matched layers",
    "a second pass (SPS-1)",
    "the swap (SPS-2)",
    "PTP alone",
    "PTP with SPS",
)
METRICS = ("accuracy", "f1")
ABSENT = "No results are published yet."
RELATED = TABLES["related"].pairs
HEADLINES = (
    ("comparisons2", "PeaBERT1", "BERT1-PatientKD"),
    ("comparisons2", "PeaBERT2", "BERT2-PatientKD"),
    ("comparisons2", "PeaBERT3", "BERT3-PatientKD"),
    ("comparisons4", "SPS-2", "BERT3"),
    ("comparisons5", "BERT3+SPS+PTP", "BERT3+SPS"),
)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]])


def benchmark(name: str) -> Any:
    """A committed report of benchmarks/."""
    return json.loads((MEASURED / f"{name}.json").read_text())


def by_its_benchmark(name: str) -> str:
    """The table that a benchmark makes of its own report."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        path = ROOT / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    table: str = module.markdown(benchmark(name))
    return table


def sums() -> str:
    """The paper's numbers that do not follow from the entries of its tables."""
    rows = []
    for row in arithmetic.sums().query("not adds_up").to_dict("records"):
        averages = "" if math.isnan(row["averages"]) else f"{row['averages']:.4g}"
        rows.append(
            [row["what"], row["where"], str(row["printed"]), f"{row['exact']:.5g}", averages]
        )
    return markdown(
        ["number", "where", "printed", "from the entries", "from the printed averages"], rows
    )


def techniques() -> str:
    """How much slower a distillation is without each technique; what it is stays as written."""
    meanings = {
        line.split(" | ")[0].strip("| `"): line.split(" | ")[-1].strip(" |")
        for line in marked("docs/benchmarks.md", "means").splitlines()[2:]
    }
    rows = [
        [f"`{name}`", f"{value['MRPC']:.2f}", f"{value['SST-2']:.2f}", meanings[name]]
        for name, value in benchmark("speed")["means, times faster"].items()
    ]
    return markdown(["technique", "MRPC", "SST-2", ""], rows)


def gates(name: str) -> str:
    """What baselines had to show: those of the demo, "gates", or of cpu, "gates_glue"."""
    rows = []
    for gate in pd.read_csv(MEASURED / f"{name}.csv").to_dict("records"):
        interval = "" if pd.isna(gate["low"]) else f" {text.interval(gate['low'], gate['high'])}"
        value = f"{gate['value']:.1f}{interval}"
        rows.append([gate["gate"], value, f"{gate['needed']:g}", "yes" if gate["passed"] else "no"])
    return markdown(["gate", "measured", "bound", "passed"], rows)


def teachers() -> str:
    """Held-out scores of the teacher of profile cpu, by optimiser and learning rate."""
    frame = pd.read_csv(MEASURED / "teachers.csv")
    last = frame[frame["epoch"] == frame["epoch"].max()]
    rows = []
    for (optimizer, rate), runs in last.groupby(["optimizer", "rate"]):
        shown_scores = [f"{runs[n].mean():.1f} ± {runs[n].std():.1f}" for n in METRICS]
        rows.append([str(optimizer), f"{rate:g}", f"{runs['loss'].mean():.2f}", *shown_scores])
    return markdown(["optimiser", "learning rate", "loss", "accuracy", "F1"], rows)


def students() -> str:
    """Held-out scores of students of profile cpu, by learning rate and epochs."""
    frame = pd.read_csv(MEASURED / "students.csv")
    names = [f"{run.epochs} epochs, {run.rate:g}" for run in frame.itertuples()]
    runs = frame.assign(run=names)
    by_run = runs.pivot_table(index=["task", "method"], columns="run", values="best", sort=False)
    rows = [
        [task, method, *("" if pd.isna(score) else f"{score:.1f}" for score in scores)]
        for (task, method), scores in zip(by_run.index, by_run.to_numpy(), strict=True)
    ]
    return markdown(["task", "student", *by_run.columns], rows)


def part_of_table2() -> str:
    """The teacher and the three-layer students of the published Table 2."""
    frame = published.read_table("table2", "demo")
    if frame is None:
        return ABSENT
    title, blank, *lines = text.to_text(frame).splitlines()
    heads = ("  ", "method", "BERT-base", "BERT3-PatientKD", "PeaBERT3")
    shown = [line for line in lines if line.startswith(heads)][:5]
    return "\n".join(["```text", title, blank, *shown, "```"])


def difference(name: str, method: str, against: str) -> dict | None:
    """One average difference of a published table of comparisons; None if it is not there."""
    frame = published.read_table(name, "demo", "textbook")
    if frame is None:
        return None
    of_pair = (frame["method"] == method) & (frame["against"] == against)
    (pair,) = frame[of_pair & (frame["task"] == "Avg")].to_dict("records")
    return pair


def shown(pair: dict) -> list[str]:
    """A difference in points, and its interval."""
    interval = f"{pair['ci_low']:+.1f} to {pair['ci_high']:+.1f}"
    return [f"{pair['difference']:+.1f}", interval]


def printed(pair: dict) -> str:
    """The paper's difference, or nothing."""
    return "" if pd.isna(pair["paper"]) else f"{pair['paper']:+.1f}"


def headlines() -> str:
    """The differences that the paper is about."""
    pairs = [difference(*names) for names in HEADLINES]
    rows = [
        [f"{pair['method']} vs {pair['against']}", *shown(pair), printed(pair)]
        for pair in pairs
        if pair is not None
    ]
    return markdown(["", "ours", "95 % interval", "paper"], rows) if rows else ABSENT


def comparisons(profile: str = "demo", task: str = "Avg") -> str:
    """The differences of Tables 2, 4 and 5 on a task, as far as they are published."""
    rows = []
    for number in (2, 4, 5):
        frame = published.read_table(f"comparisons{number}", profile, "textbook")
        if frame is None:
            continue
        for pair in frame[frame["task"] == task].to_dict("records"):
            name = f"Table {number}: {pair['method']} vs {pair['against']}"
            name += " [ours]" if pair["compared_by"] == "us" else ""
            rows.append([name, *shown(pair), pair["verdict"], printed(pair)])
    head = ["", "ours", "95 % interval", "verdict", "paper, on GLUE"]
    return markdown(head, rows) if rows else ABSENT


def scores(profile: str, task: str) -> str:
    """The scores of the published Table 2 on a task: mean and sd over seeds."""
    frame = published.read_table("table2", profile, "textbook")
    if frame is None:
        return ABSENT
    rows = [
        [row.method, f"{row.mean:.1f} ± {row.sd:.1f}", f"{row.paper:.1f}"]
        for row in frame[frame["task"] == task].itertuples()
    ]
    return markdown(["", "ours, dev", "paper, test"], rows)


def steps() -> str:
    """What each step adds on average, by stored layers: the baselines of the demo."""
    frame = published.read_table("baselines_comparisons", "demo", "textbook")
    if frame is None:
        return ABSENT
    view = text.pair_view(frame)["Avg"]
    rows = []
    for label, (new, old) in zip(LABELS, STEPS, strict=True):
        pairs = [f"{new.format(n)} – {old.format(n)} [ours]" for n in DEPTHS]
        rows.append([label, *(view[pair] for pair in pairs)])
    return markdown(["step", *(f"{n} layer{'s' * (n > 1)}" for n in DEPTHS)], rows)


def equal_depth() -> str:
    """Layers that run twice, beside students that store as many layers as are run."""
    return beside_costs(
        "baselines",
        [(new.format(n), old.format(2 * n)) for n in RUN_TWICE for new, old in EQUAL_LATENCY],
    )


def beside_costs(table: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Differences of the demo on average, and the ratios of what the two students cost."""
    frame = published.read_table(f"{table}_comparisons", "demo", "textbook")
    spent = published.read_table(f"{table}_costs", "demo", "textbook")
    if frame is None or spent is None:
        return ABSENT
    view = costs.beside_differences(frame, spent)
    names = [f"{new} – {old}" for new, old in pairs]
    rows = [[name, *view.loc[f"{name} [ours]"]] for name in names]
    return markdown(["", *view.columns], rows)


def related() -> str:
    """The average scores of the other methods on the demo, and what each costs."""
    frame = published.read_table("related", "demo", "textbook")
    spent = published.read_table("related_costs", "demo", "textbook")
    if frame is None or spent is None:
        return ABSENT
    average = frame[frame["task"] == "Avg"].set_index("method")
    view = costs.view(spent)[["parameters (M)", "trained (M)", "latency (ms)"]]
    training = spent.groupby("method")["training_flops"].mean()
    one = training["BERT3-PatientKD"]
    rows = [
        [
            name,
            f"{row['mean']:.1f} ± {row['sd']:.1f}",
            *view.loc[name],
            f"{training[name] / one:.1f}",
        ]
        for name, row in average.iterrows()
    ]
    return markdown(["", "score", *view.columns, "training (Patient KD 3: 1)"], rows)


def verdicts() -> str:
    """How many claims got which verdict."""
    frame = published.read_table("ledger", "demo", "textbook")
    if frame is None:
        return ABSENT
    rows = [[verdict, str(count)] for verdict, count in frame["direction"].value_counts().items()]
    return markdown(["verdict", "claims"], rows)


def claims() -> str:
    """The claims that the demo tests, the supported ones first."""
    frame = published.read_table("ledger", "demo", "textbook")
    if frame is None:
        return ABSENT
    order = ["reproduced", "not reproduced"]
    tested = frame[frame["direction"] != UNTESTED].copy()
    tested["rank"] = [order.index(d) if d in order else 9 for d in tested["direction"]]
    rows = []
    for claim in tested.sort_values("rank", kind="stable").to_dict("records"):
        interval = ""
        if claim["unit"] == "points":
            interval = f" {text.interval(claim['ci_low'], claim['ci_high'])}"
        sign = "+" if claim["unit"] == "points" else ""
        values = [f"{claim[name]:{sign}.{len(sign)}f}" for name in ("printed", "ours")]
        statement = f"{claim['statement']} ({claim['section']})"
        rows.append([statement, claim["unit"], values[0], values[1] + interval, claim["direction"]])
    return markdown(["claim (section)", "unit", "paper", "ours", "verdict"], rows)


def untested() -> str:
    """How many claims the demo does not test, by reason."""
    frame = published.read_table("ledger", "demo", "textbook")
    if frame is None:
        return ABSENT
    reasons = frame[frame["direction"] == UNTESTED]["reason"].value_counts()
    return markdown(["reason", "claims"], [[name, str(count)] for name, count in reasons.items()])


BLOCKS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "table2"): part_of_table2,
    ("README.md", "results"): headlines,
    ("REPRODUCIBILITY.md", "decisions"): recipe.markdown,
    ("REPRODUCIBILITY.md", "sums"): sums,
    ("docs/benchmarks.md", "means"): techniques,
    ("docs/benchmarks.md", "grid"): lambda: by_its_benchmark("grid"),
    ("docs/calibration.md", "gates"): lambda: gates("gates"),
    ("docs/real-glue.md", "teachers"): teachers,
    ("docs/real-glue.md", "students"): students,
    ("docs/real-glue.md", "gates"): lambda: gates("gates_glue"),
    ("docs/report.md", "claims"): claims,
    ("docs/report.md", "untested"): untested,
    ("docs/results.md", "comparisons"): comparisons,
    ("docs/results.md", "real_scores"): lambda: scores("cpu", "SST-2"),
    ("docs/results.md", "real_comparisons"): lambda: comparisons("cpu", "SST-2"),
    ("docs/results.md", "steps"): steps,
    ("docs/results.md", "equal"): equal_depth,
    ("docs/results.md", "related"): related,
    ("docs/results.md", "related_pairs"): lambda: beside_costs("related", RELATED),
    ("docs/tables.md", "costs"): lambda: by_its_benchmark("tables"),
    ("docs/tables.md", "speed"): lambda: by_its_benchmark("speed"),
    ("docs/tables.md", "verdicts"): verdicts,
}


def split(document: str, name: str) -> tuple[str, str, str]:
    """A document before, between and after the marks of a block."""
    before, mark, rest = (ROOT / document).read_text().partition(f"<!-- {name} -->\n")
    between, end, after = rest.partition("\n<!-- end -->")
    if not (mark and end):
        raise ValueError(f"{document} has no block {name!r}")
    return before + mark, between, end + after


def marked(document: str, name: str) -> str:
    """What stands between the marks of a block."""
    return split(document, name)[1]


def main() -> None:
    """Rewrite every block, and name the documents that changed."""
    for (document, name), make in BLOCKS.items():
        before, between, after = split(document, name)
        block = make()
        if block != between:
            (ROOT / document).write_text(before + block + after)
            print(f"{document}: {name}")


if __name__ == "__main__":
    main()
