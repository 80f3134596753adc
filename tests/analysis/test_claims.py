"""The ledger: the paper's arithmetic by hand, verdicts by the rule, from made-up finished cells."""

import numpy as np
import pytest
from synthetic import finish, right

from repro.analysis import claims, paper_claims, tables, verification
from repro.analysis.inference import combine, mean_difference
from repro.config import cells as experiments
from repro.config.cells import plan
from repro.errors import MissingError
from repro.report import latex, sentences, study_figures
from repro.report import text as views

LEDGER = paper_claims.ledger().set_index("id", drop=False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path))
    return tmp_path


def make(table, tasks="", seeds=5, **counts):
    cells = finish(plan(table, "demo", tasks, seeds), right(**counts), rows=100)
    tables.write_table(table, "demo", tables.aggregate(cells), cells)


def of(frame, name):
    return frame[frame["id"] == name].iloc[0]


def claim(name):
    return LEDGER.loc[name].to_dict()


def test_every_claimed_difference_is_a_gain():
    """The rule takes the claimed side to be above 0."""
    assert (LEDGER.loc[LEDGER["unit"] == "points", "printed"] > 0).all()


def test_there_are_at_least_30_claims_with_ids_of_their_own():
    assert len(LEDGER) >= 30
    assert LEDGER.index.is_unique
    assert LEDGER["statement"].is_unique


@pytest.mark.parametrize(
    ("name", "value", "adds_up"),
    [
        ("gain-average", (4.675 + 5.0 + 3.3) / 3, "no"),
        ("gain-2", 5.0, "no"),  # the text has 5.1, from rounded averages
        ("gain-largest", 14.8, "yes"),
        ("gain-1-qnli", 11, "yes"),
        ("gain-significant", 3, "yes"),
        ("ptp-over-1", 0.95, "yes"),
        ("ptp-over-2", 0.625, "no"),  # 0.7 from the printed averages
        ("teacher-parameters", 109.48224, "yes"),
        ("gain-consistent", 12, "yes"),
        ("sota-average", 3.45, "yes"),
        ("score-2-peabert1", 74.925, "no"),
        ("ptp-average", 1.425, "no"),
        ("same-parameters-6", 6 * 7.087872, "no"),
        ("same-parameters-3", 3 * 7.087872, "yes"),
    ],
)
def test_the_papers_own_arithmetic(name, value, adds_up):
    again = paper_claims.recomputed(claim(name))
    assert again == pytest.approx(value, abs=1e-3)
    assert paper_claims.adds_up(claim(name), again) == adds_up


def test_a_layer_of_bert_base():
    maps, feed_forward, norms = 4 * (768 * 768 + 768), 2 * 768 * 3072 + 3072 + 768, 4 * 768
    assert maps + feed_forward + norms == paper_claims.BERT_LAYER


def test_claims_without_a_number_or_a_run_say_why():
    make("table2", seeds=1)
    frame = claims.judge_claims("demo")
    assert "Patient KD, not the original BERT" in of(frame, "baseline")["reason"]
    assert "all encoders" in of(frame, "generality")["reason"]
    assert "another encoder" in of(frame, "teacher-parameters")["reason"]
    assert "this instrument cannot tell" in of(frame, "gain-1-mrpc")["reason"]
    assert claims._untestable(claim("gain-1-mrpc"), "cpu") == ""


def test_verdicts_of_differences():
    make("table4", BERT3=40, SPS1=80, SPS2=80)
    frame = claims.judge_claims("demo")
    assert of(frame, "sps1-average")["direction"] == "reproduced"
    assert of(frame, "sps1-average")["size"] == "not comparable"  # miniature tasks
    assert of(frame, "sps1-everywhere")["direction"] == "reproduced"
    assert of(frame, "sps2-average")["direction"] == "inconclusive"
    assert "no difference" in of(frame, "sps2-average")["reason"]
    assert of(frame, "sps-free-4")["direction"] == "reproduced"


def test_a_loss_is_not_reproduced():
    make("table4", BERT3=80, SPS1=40, SPS2=41)
    frame = claims.judge_claims("demo")
    assert of(frame, "sps1-average")["direction"] == "not reproduced"
    assert of(frame, "sps1-everywhere")["direction"] == "not reproduced"
    assert (of(frame, "sps1-everywhere")["ours"], of(frame, "sps2-everywhere")["ours"]) == (0, 4)
    assert of(frame, "sps2-everywhere")["direction"] == "inconclusive"


def test_the_sample_that_would_decide():
    """An effect half as large as what the sample detects needs four times the sample."""
    own = found(ours=1.5, ci_low=-0.6, ci_high=3.6, p=0.16, p_holm=1.0)
    assert "about 4.0 times the sample (500 dev examples, 5 seeds)" in claims.reason(
        claim("sps1-average"), own
    )


@pytest.mark.parametrize(("seeds", "covered"), [(1, True), (3, False)])
def test_few_seeds_give_no_verdict(seeds, covered):
    make("table4", BERT3=40, SPS1=80, SPS2=80, seeds=seeds)
    row = of(claims.judge_claims("demo"), "sps1-average")
    assert row["ci_low"] > 0 and row["direction"] == "inconclusive"
    assert "fewer than 5 seeds" in row["reason"]
    assert ("covers examples only" in row["reason"]) == covered


def by_task(better):
    """Predictions of Table 2: Patient KD has 40 of 100 right, PeaBERT better(cell)."""

    def predict(cell, labels):
        count = better(cell) if cell.row.startswith("PeaBERT") else 40
        return np.eye(2)[np.where(np.arange(len(labels)) < count, labels, 1 - labels)] * 4.0

    cells = finish(plan("table2", "demo", "", 5), predict, rows=100)
    tables.write_table("table2", "demo", tables.aggregate(cells), cells)
    return claims.judge_claims("demo")


def test_the_largest_gain_is_compared_with_every_other_one():
    frame = by_task(lambda cell: 95 if (cell.row, cell.task) == ("PeaBERT1", "mini-QNLI") else 50)
    row = of(frame, "gain-1-qnli")
    assert (row["ours"], row["direction"]) == (11, "reproduced")
    assert np.isnan(row["ci_low"])
    assert of(frame, "gain-consistent")["ours"] == 12


def test_a_gain_that_is_not_the_largest_is_refuted():
    frame = by_task(lambda cell: 95 if (cell.row, cell.task) == ("PeaBERT3", "mini-QNLI") else 50)
    row = of(frame, "gain-1-qnli")
    assert row["direction"] == "not reproduced" and row["ours"] < 11
    assert of(frame, "gain-largest")["ours"] == 10  # its size is of the named cell


def test_the_mean_of_three_pairs_shares_their_examples():
    frame = by_task(lambda cell: 50 + 10 * cell.layers)
    row, rows = of(frame, "gain-average"), [of(frame, f"gain-{k}") for k in (1, 2, 3)]
    assert row["ours"] == pytest.approx(np.mean([own["ours"] for own in rows]), abs=1e-3)
    finished = claims._finished("table2", "demo")
    pairs = [(f"PeaBERT{k}", f"BERT{k}-PatientKD") for k in (1, 2, 3)]
    gains = [
        mean_difference(np.mean([claims._gain_scores([p], name, finished) for p in pairs], axis=0))
        for name in ("RTE", "MRPC", "SST-2", "QNLI")
    ]
    assert row["ci_low"] == pytest.approx(combine(gains).low, abs=1e-4)


def found(**changes):
    """Our value of a claim whose interval is 0.5 to 2.5 points."""
    values = {"ours": 1.5, "ci_low": 0.5, "ci_high": 2.5, "seeds": 5, "p": 0.01, "p_holm": 0.02}
    return values | {"detectable": 3.0, "examples": 500} | changes


@pytest.mark.parametrize(
    ("changes", "direction", "size"),
    [
        ({}, "reproduced", "reproduced in size"),  # SPS-1 is printed as +1.1
        ({"p_holm": 0.06}, "inconclusive after adjustment", "reproduced in size"),
        ({"ours": 2.0, "ci_low": 1.2}, "reproduced", "refuted in size"),
        ({"ci_low": -0.1, "p": 0.06, "p_holm": 0.5}, "inconclusive", "inconclusive"),
        ({"ci_low": -30, "ci_high": 30, "p": 0.9, "p_holm": 1}, "inconclusive", "inconclusive"),
        ({"ours": -2.0, "ci_low": -3, "ci_high": -1}, "not reproduced", "refuted in size"),
        ({"seeds": 4}, "inconclusive", "inconclusive"),
    ],
)
def test_direction_and_size_are_separate(changes, direction, size):
    one, own = claim("sps1-average"), found(**changes)
    assert claims.direction(one, own) == direction
    assert claims.size(one, own, "paper") == size
    assert claims.size(one, own, "demo") == "not comparable"


def test_verdicts_are_adjusted_over_the_ledger():
    make("table4", BERT3=54, SPS1=60, SPS2=60)
    frame = claims.judge_claims("demo")
    tested = frame["p"].notna()
    assert tested.sum() == 5  # Table 4's claims about differences
    assert (frame["p_holm"][tested] >= frame["p"][tested]).all()
    assert frame["p_holm"].isna().equals(~tested)


def test_what_cannot_be_tested_says_why():
    make("table4")
    frame = claims.judge_claims("demo")
    assert "two T4" in of(frame, "cost-least")["reason"]
    assert "make table5 PROFILE=demo" in of(frame, "ptp-average")["reason"]
    assert "DistilBERT and TinyBERT are not run" in of(frame, "sota-average")["reason"]
    assert "another encoder" in of(frame, "score-4-sps-2")["reason"]
    untested = frame[frame["direction"] == "not testable here"]
    assert untested["ours"].isna().all() and (untested["reason"] != "").all()


def test_a_score_is_testable_with_the_papers_encoder():
    """Of the paper profile a dev score has a size; one of GLUE's test server is not testable."""
    one, own = claim("score-4-bert3"), {"ours": 80.2, "ci_low": 79.5, "ci_high": 80.9, "seeds": 5}
    assert claims.direction(one, own) == ""
    assert claims.size(one, own, "paper") == "reproduced in size"
    assert claims.size(one, own | {"ci_low": 80.1}, "paper") == "refuted in size"
    assert claims.size(one, own | {"ci_low": 70.0}, "paper") == "inconclusive"  # too wide
    assert claims._untestable(one, "paper") == ""
    assert "test server" in claims._untestable(claim("score-2-peabert3"), "paper")


def test_tasks_that_were_not_run_are_named():
    make("table4", "RTE,MRPC")
    reason = of(claims.judge_claims("demo"), "sps1-average")["reason"]
    assert reason == "not run on QNLI, SST-2: make table4 PROFILE=demo"


def test_claims_that_were_not_run_count_in_the_family():
    """Otherwise a verdict would be easier if fewer tables were run."""
    rows = [
        {"kind": "difference", "table": "table4", "task": "Avg", "pairs": "SPS-1>BERT3"}
        for _ in range(3)
    ]
    cost = {"kind": "cost", "table": "table2", "task": "", "pairs": ""}
    results = [{"p": 0.01}, {"reason": "not run"}, {"reason": "not run"}, {"reason": "a time"}]
    adjusted = claims.adjusted_p([*rows, cost], results, "demo")
    assert adjusted[0] == pytest.approx(0.03) and np.isnan(adjusted[1:]).all()


def test_every_claim_has_a_verdict_and_reads_the_same_again():
    for table in ("table2", "table4", "table5"):
        make(table)
    frame = claims.judge_claims("demo")
    directions = {"reproduced", "not reproduced", "inconclusive", "inconclusive after adjustment"}
    assert set(frame["direction"]) <= directions | {"not testable here"}
    assert set(frame["size"]) <= {"not comparable", ""} and len(frame) == len(LEDGER)
    tables.write_table("ledger", "demo", frame)
    again = tables.read_table("ledger", "demo")
    assert views.claims_view(again).equals(views.claims_view(frame))
    assert sentences.claims(again) == sentences.claims(frame)
    assert verification.verify("demo").findings == []


@pytest.mark.parametrize("recipe", ["authors", "textbook"])
def test_an_edited_verdict_is_found(folder, recipe):
    variant = experiments.variant(recipe)
    cells = finish(plan("table4", "demo", "", 5, recipe), right(BERT3=80, SPS1=40, SPS2=42))
    tables.write_table("table4", "demo", tables.aggregate(cells), cells, variant)
    frame = claims.judge_claims("demo", variant)
    path = tables.write_table("ledger", "demo", frame, variant=variant)
    path.write_text(path.read_text().replace("not reproduced", "reproduced", 1))
    assert (
        "column direction: stored reproduced, recomputed not reproduced"
        in verification.verify("demo").findings[0]
    )


def test_a_ledger_without_its_cells_is_a_finding(folder):
    make("table4", seeds=1)
    tables.write_table("ledger", "demo", claims.judge_claims("demo"))
    for path in (folder / "demo" / "cells").iterdir():
        path.unlink()
    findings = verification.verify("demo").findings
    assert any("ledger.csv: cannot be recomputed: 12 of 12 cells" in line for line in findings)


def test_no_tables_is_one_line():
    with pytest.raises(MissingError, match="make tables PROFILE=cpu"):
        claims.judge_claims("cpu")


def test_latex_and_forest_plot():
    make("table4", BERT3=50, SPS1=60, SPS2=60)
    frame = claims.judge_claims("demo")
    text = latex.latex("ledger", frame)
    assert (
        r"Sharing in pairs (SPS-1) gains on average & 4.3 & +1.1 & +1.1 & +10.3 [" in text
    )  # F1 gains more
    assert "+5.0 !" in text
    assert "not comparable" in text
    ax = study_figures.claims(frame)
    tested = frame[(frame["unit"] == "points") & frame["ci_low"].notna()]
    assert len(ax.get_yticklabels()) == len(tested) == 3
