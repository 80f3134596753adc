"""The ledger: the paper's arithmetic by hand, verdicts by the rule, from made-up finished cells."""

import pytest
from synthetic import finish, right

from repro.analysis import claims, comparisons, tables, verification
from repro.config.cells import plan
from repro.errors import MissingError
from repro.report import latex, sentences, study_figures
from repro.report import text as views

LEDGER = claims.ledger().set_index("id", drop=False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path))
    return tmp_path


def make(table, tasks="", seeds=3, **counts):
    cells = finish(plan(table, "demo", tasks, seeds), right(**counts), rows=100)
    tables.write_table(table, "demo", tables.aggregate(cells), cells)
    if table != "table3":
        compared = table.replace("table", "comparisons")
        tables.write_table(compared, "demo", comparisons.of(cells), cells)


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
        ("gain-consistent", 12, "yes"),
        ("sota-average", 3.45, "yes"),
        ("score-2-peabert1", 74.925, "no"),
        ("ptp-average", 1.425, "no"),
        ("same-parameters-6", 6 * 7.087872, "no"),
        ("same-parameters-3", 3 * 7.087872, "yes"),
    ],
)
def test_the_papers_own_arithmetic(name, value, adds_up):
    again = claims.recomputed(claim(name))
    assert again == pytest.approx(value, abs=1e-3)
    assert claims.adds_up(claim(name)["printed"], again) == adds_up


def test_a_layer_of_bert_base():
    maps, feed_forward, norms = 4 * (768 * 768 + 768), 2 * 768 * 3072 + 3072 + 768, 4 * 768
    assert maps + feed_forward + norms == claims.BERT_LAYER


def test_verdicts_of_differences():
    make("table4", BERT3=50, SPS1=60, SPS2=60)
    frame = claims.of("demo")
    assert of(frame, "sps1-average")["verdict"] == "reproduced"
    assert of(frame, "sps1-average")["size_in_interval"] == "no"  # 10 points, not 1.1
    assert of(frame, "sps1-everywhere")["verdict"] == "reproduced"
    assert of(frame, "sps2-average")["verdict"] == "inconclusive"
    assert "no difference to find" in of(frame, "sps2-average")["reason"]
    assert of(frame, "sps-free-4")["verdict"] == "reproduced"


def test_a_loss_is_not_reproduced():
    make("table4", BERT3=80, SPS1=60, SPS2=62)
    frame = claims.of("demo")
    assert of(frame, "sps1-average")["verdict"] == "not reproduced"
    assert of(frame, "sps1-everywhere")["verdict"] == "not reproduced"
    assert (of(frame, "sps1-everywhere")["ours"], of(frame, "sps2-everywhere")["ours"]) == (0, 4)
    assert (
        of(frame, "sps2-average")["ci_low"] > 0
        or "times the sample" in of(frame, "sps2-average")["reason"]
    )


def test_one_seed_gives_no_verdict():
    make("table4", BERT3=50, SPS1=60, SPS2=60, seeds=1)
    row = of(claims.of("demo"), "sps1-average")
    assert (
        row["ci_low"] > 0
        and row["verdict"] == "inconclusive"
        and "fewer than 3 seeds" in row["reason"]
    )


def test_the_sample_that_would_settle_it():
    """An effect half as large as what the sample detects needs four times the sample."""
    found = {
        "ours": 1.0,
        "ci_low": -0.4,
        "ci_high": 2.4,
        "lows": [-0.4],
        "highs": [2.4],
        "detectable": 2.0,
        "examples": 500,
        "seeds": 3,
    }
    said = claims.verdict(claim("sps1-average"), found)
    assert said["verdict"] == "inconclusive"
    assert said["reason"].startswith("about 4.0 times the sample (500 dev examples, 3 seeds)")


def test_what_cannot_be_tested_says_why():
    make("table4")
    frame = claims.of("demo")
    assert "two T4" in of(frame, "cost-least")["reason"]
    assert "make table5 PROFILE=demo" in of(frame, "ptp-average")["reason"]
    assert "DistilBERT and TinyBERT are not run" in of(frame, "sota-average")["reason"]
    assert "another encoder" in of(frame, "score-4-sps-2")["reason"]
    untested = frame[frame["verdict"] == "not testable here"]
    assert untested["ours"].isna().all() and (untested["reason"] != "").all()


def test_a_score_is_testable_with_the_papers_encoder():
    """Of the paper profile a dev score has a verdict; one of GLUE's test server has none."""
    found = {"ours": 80.4, "ci_low": 79.0, "ci_high": 82.0, "seeds": 5}
    assert claims.verdict(claim("score-4-bert3"), found)["verdict"] == "reproduced"
    assert (
        claims.verdict(claim("score-4-bert3"), found | {"ci_low": 80.2})["verdict"]
        == "not reproduced"
    )
    assert claims._untestable(claim("score-4-bert3"), "paper") == ""
    assert "test server" in claims._untestable(claim("score-2-peabert3"), "paper")


def test_tasks_that_were_not_run_are_named():
    make("table4", "RTE,MRPC")
    reason = of(claims.of("demo"), "sps1-average")["reason"]
    assert reason == "not run on QNLI, SST-2: make table4 PROFILE=demo"


def test_every_claim_has_a_verdict_and_reads_the_same_again():
    for table in ("table2", "table4", "table5"):
        make(table)
    frame = claims.of("demo")
    assert set(frame["verdict"]) <= set(claims.VERDICTS)
    assert (frame["verdict"] != "").all() and len(frame) == len(LEDGER)
    tables.write_table("ledger", "demo", frame)
    again = tables.read_table("ledger", "demo")
    assert views.claims_view(again).equals(views.claims_view(frame))
    assert sentences.claims(again) == sentences.claims(frame)
    assert verification.verify("demo").findings == []


def test_an_edited_verdict_is_found(folder):
    make("table4", BERT3=80, SPS1=60, SPS2=62)
    path = tables.write_table("ledger", "demo", claims.of("demo"))
    path.write_text(path.read_text().replace("not reproduced", "reproduced", 1))
    assert (
        "column verdict: stored reproduced, recomputed not reproduced"
        in verification.verify("demo").findings[0]
    )


def test_no_tables_is_one_line():
    with pytest.raises(MissingError, match="make tables PROFILE=cpu"):
        claims.of("cpu")


def test_latex_and_forest_plot():
    make("table4", BERT3=50, SPS1=60, SPS2=60)
    frame = claims.of("demo")
    text = latex.latex("ledger", frame)
    assert (
        r"Sharing in pairs (SPS-1) gains on average & 4.3 & +1.1 & +1.1 & +10.3 [" in text
    )  # F1 gains more
    assert "+5.0 !" in text
    ax = study_figures.claims(frame)
    tested = frame[(frame["unit"] == "points") & frame["ci_low"].notna()]
    assert len(ax.get_yticklabels()) == len(tested) == 3
