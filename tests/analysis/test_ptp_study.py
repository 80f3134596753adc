"""The PTP study from synthetic results: ten examples by hand, and every error."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score
from synthetic import finish, finished, gold, result

from repro.analysis import ptp_study, tables
from repro.analysis.groups import make_command
from repro.analysis.verification import verify
from repro.config.cells import variant as variant_of
from repro.data import ptp_labels
from repro.errors import InputError, MissingError
from repro.report import sentences, study_figures
from repro.runs import results as files

CC, UC, CW, UW = ptp_labels.LABELS
MAKERS = {
    "ptp_labels": ptp_study.shares,
    "ptp_difficulty": ptp_study.difficulty,
    "ptp_agreement": ptp_study.agreement,
}
BEFORE, AFTER = {0, 1, 4, 7}, {0, 1, 2, 5, 9}  # which of the ten examples each student has right


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name in ("RESULTS", "FIGURES"):
        monkeypatch.setenv(f"REPRO_{name}", str(tmp_path / name.lower()))
    yield tmp_path
    plt.close("all")


def teacher(seed, labels):
    """4 confident and correct, 3 unconfident and correct, 2 confident and wrong, 1 neither.

    Seed 1 is confident of the fifth, too.
    """
    sure = np.array([0.95] * 4 + [0.7] * 3 + [0.9] * 2 + [0.55])
    sure[4] = 0.95 if seed == 1 else 0.7
    told = np.where(np.arange(10) < 7, labels, 1 - labels)
    logits = np.zeros((10, 2))
    logits[np.arange(10), told] = np.log(sure / (1 - sure))
    return logits


def predict(cell, labels):
    if cell.method.kind != "student":
        return teacher(cell.seed, labels)
    right = BEFORE if cell.method.ptp == "none" else AFTER
    return np.eye(2)[np.where([k in right for k in range(10)], labels, 1 - labels)] * 4.0


def study(seeds=1, tasks="RTE"):
    return finish(ptp_study.plan("demo", tasks, seeds), predict, rows=10)


def rewrite(cell, **changes):
    labels = gold(cell.task, 10)
    logits = predict(cell, labels)
    files.write(cell, result(cell, labels, logits) | changes, labels, logits)


def by_label(frame, rule="two"):
    return frame[frame["rule"] == rule].set_index("label")


def test_the_plan_is_one_teacher_on_both_splits_and_two_students():
    plan = ptp_study.plan("demo", "RTE,QNLI", 2)
    assert len(plan) == 4 * 2 * 2
    assert {(cell.table, cell.row) for cell in plan} == {
        ("table1", "PTP labels"),
        ("table2", "BERT-base"),
        ("table5", "BERT3+SPS"),
        ("table5", "BERT3+SPS+PTP"),
    }


# labels


def test_shares_by_hand_under_every_rule():
    frame = ptp_study.shares(study())
    every = frame[frame["gold"] == "all"].pivot(index="rule", columns="label", values="count")[
        [*ptp_labels.LABELS]
    ]
    assert every.loc["two"].tolist() == [4, 3, 2, 1]  # 0.80 and 0.60
    assert every.loc["one"].tolist() == [4, 3, 2, 1]  # 0.80 for both
    assert every.loc["median"].tolist() == [0, 7, 0, 3]  # 0.95 and 0.90, which nothing is above
    cuts = frame.groupby("rule")[["t1", "t2"]].first()
    assert cuts.loc["two"].tolist() == [0.8, 0.6]
    assert cuts.loc["one"].tolist() == [0.8, 0.8]
    assert cuts.loc["median"].tolist() == pytest.approx([0.95, 0.9])


def test_shares_are_those_of_each_class_and_teacher():
    frame = ptp_study.shares(study(2))
    totals = frame.groupby(["rule", "seed", "gold"])[["share", "count"]].sum()
    assert totals["share"].to_numpy() == pytest.approx(100, abs=1e-3)
    assert (
        totals["count"].unstack("gold")[["entailment", "not_entailment"]].sum(axis=1) == 10
    ).all()
    sure = frame[(frame["gold"] == "all") & (frame["rule"] == "two") & (frame["label"] == CC)]
    assert sure[["seed", "count"]].values.tolist() == [[0, 4], [1, 5]]
    assert set(frame["split"]) == {"train"}


def test_shares_agree_with_table_1():
    cells = ptp_study.plan("demo", "RTE,MRPC", 3)
    finish(cells, rows=60)
    ours, table = (
        ptp_study.shares(cells),
        tables.table1([cell for cell in cells if cell.table == "table1"]),
    )
    mean = ours[ours["rule"] == "two"].groupby(["task", "gold", "label"])["share"].mean()
    for row in table[table["task"] != "Avg"].to_dict("records"):
        assert mean[row["task"], row["gold"], row["method"]] == pytest.approx(row["mean"], abs=1e-3)


# difficulty


def test_difficulty_by_hand():
    frame = by_label(ptp_study.difficulty(study()))
    assert frame["count"].to_dict() == {CC: 4, UC: 3, CW: 2, UW: 1, "all": 10}
    assert frame["before"].to_dict() == pytest.approx(
        {CC: 50, UC: 100 / 3, CW: 50, UW: 0, "all": 40}, abs=1e-3
    )
    assert frame["after"].to_dict() == pytest.approx(
        {CC: 75, UC: 100 / 3, CW: 0, UW: 100, "all": 50}, abs=1e-3
    )
    assert frame["difference"].to_dict() == {CC: 25, UC: 0, CW: -50, UW: 100, "all": 10}
    assert (frame["ci_low"] <= frame["difference"]).all() and (
        frame["difference"] <= frame["ci_high"]
    ).all()
    assert frame.loc[UW, ["ci_low", "ci_high"]].tolist() == [-100, 100]  # one example shows nothing
    assert set(frame["verdict"]) == {"no verdict: fewer than 5 seeds"}
    assert (frame["p_holm"] >= frame["p"]).all()
    assert set(frame["split"]) == {"dev"} and set(frame["checkpoint"]) == {"best_dev"}


def test_every_seed_has_its_own_teachers_labels():
    frame = by_label(ptp_study.difficulty(study(2)))
    assert frame["count"].to_dict() == {CC: 4.5, UC: 2.5, CW: 2, UW: 1, "all": 10}
    assert frame.loc[CC, "before"] == pytest.approx(
        100 * (2 + 3) / (4 + 5), abs=1e-3
    )  # the fifth counts for seed 1
    assert frame.loc[UC, "after"] == pytest.approx(100 * (1 + 1) / (3 + 2), abs=1e-3)


def test_the_recorded_thresholds_are_used():
    cells = study()
    rewrite(cells[-1], ptp={"thresholds": [0.96, 0.92]})
    frame = by_label(ptp_study.difficulty(cells))
    assert frame["count"].to_dict() == {CC: 0, UC: 7, CW: 0, UW: 3, "all": 10}
    assert frame.loc[CC, ["before", "after", "difference", "ci_low", "ci_high"]].isna().all()


def test_without_a_record_the_recipe_s_rule_gives_them():
    cells = finish(
        ptp_study.plan("demo", "RTE", 1, "authors+ptp_thresholds=median"), predict, rows=10
    )
    frame = by_label(ptp_study.difficulty(cells), "median")
    assert frame["count"].to_dict() == {CC: 0, UC: 7, CW: 0, UW: 3, "all": 10}


def test_students_of_another_teacher_are_an_error():
    cells = study()
    for cell in cells:
        rewrite(cell, stages={"outputs": "other" if cell.table == "table2" else "same"})
    with pytest.raises(
        InputError, match=r"mini-RTE come from different teachers .*make ptp PROFILE=demo"
    ):
        ptp_study.difficulty(cells)


def test_results_of_other_data_are_an_error():
    cells = study()
    rewrite(cells[0], data={"train": "other", "dev": "b" * 8})
    with pytest.raises(InputError, match="2 versions"):
        ptp_study.difficulty(cells)


def test_a_missing_cell_is_named():
    cells = study()
    files.path(cells[-1]).unlink()
    with pytest.raises(MissingError, match=cells[-1].id.replace("+", r"\+")):
        ptp_study.difficulty(cells)


# agreement


def test_agreement_by_hand():
    frame = by_label(ptp_study.agreement(study(2)))
    assert frame.loc["all", ["agreement", "chance"]].tolist() == [
        90,
        31,
    ]  # 4·5 + 3·2 + 2·2 + 1·1 of 100
    assert frame.loc[UC, ["agreement", "chance"]].tolist() == [80, 24]  # 2·2 of 3 + 2
    assert frame.loc[CW, ["agreement", "kappa"]].tolist() == [100, 1]
    assert set(frame["pairs"]) == {1}


def test_kappa_is_scikit_learns():
    cells = finished("table1", "MRPC", 3, rows=200)
    frame = by_label(ptp_study.agreement(cells))
    made = [
        ptp_labels.labels(one.filter(like="logit").to_numpy(), one["label"].to_numpy(), (0.8, 0.6))
        for one in map(files.predictions, cells)
    ]
    pairs = [(made[a], made[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert frame.loc["all", "kappa"] == pytest.approx(
        np.mean([cohen_kappa_score(*pair) for pair in pairs]), abs=1e-4
    )
    assert frame.loc["all", "agreement_low"] == pytest.approx(
        min(100 * np.mean(a == b) for a, b in pairs), abs=1e-4
    )
    binary = [cohen_kappa_score(a == 2, b == 2) for a, b in pairs]
    assert frame.loc[CW, "kappa"] == pytest.approx(np.mean(binary), abs=1e-4)
    assert frame.loc["all", "pairs"] == 3


def test_a_label_of_neither_teacher_has_no_agreement():
    frame = by_label(ptp_study.agreement(study(2)), "median")
    assert frame.loc[CW, "pairs"] == 0
    assert np.isnan(frame.loc[CW, "agreement"])


def test_one_teacher_has_no_agreement():
    frame = ptp_study.agreement(study(1))
    assert set(frame["pairs"]) == {0} and list(frame) == list(ptp_study.AGREEMENT)
    assert frame[["agreement", "chance", "kappa"]].isna().all(axis=None)


# files, sentences, pictures


@pytest.mark.parametrize("seeds", [1, 2])
def test_written_and_read_again(seeds):
    cells = study(seeds)
    for name, make in MAKERS.items():
        tables.write_table(name, "demo", make(cells), cells)
        pd.testing.assert_frame_equal(tables.read_table(name, "demo"), make(cells))


@pytest.mark.parametrize(
    ("recipe", "changes"), [("authors", {}), ("textbook", {"student.epochs": 3})]
)
def test_verify_derives_the_csvs_again(recipe, changes):
    cells = finish(ptp_study.plan("demo", "RTE,QNLI", 2, recipe, changes), predict, rows=10)
    variant = variant_of(recipe, changes)
    made = [
        tables.write_table(name, "demo", make(cells), cells, variant)
        for name, make in MAKERS.items()
    ]
    assert (verify("demo").tables, verify("demo").findings) == (3, [])
    made[1].write_text(made[1].read_text().replace(",25.0,", ",26.0,", 1))
    (finding,) = verify("demo").findings
    assert f"(mini-RTE, {UC}), column share: stored 26.0, recomputed 25.0" in finding
    command = (
        f"python -m repro ptp --profile demo --tasks mini-QNLI,mini-RTE --seeds 2 --recipe {recipe}"
    )
    assert make_command(cells, "ptp").startswith(
        command if changes else "make ptp PROFILE=demo TASKS=mini-"
    )


def test_a_missing_csv_is_named_with_its_command():
    with pytest.raises(MissingError, match="make ptp PROFILE=demo"):
        tables.read_table("ptp_labels", "demo")


def test_sentences_have_the_numbers_of_the_csvs():
    cells = study(2)
    said = sentences.ptp(*(make(cells) for make in MAKERS.values()))
    assert (
        "wrong on 30.0 %; confident on 64 % of the correct and 67 % of the wrong predictions"
        in said
    )
    assert f"{CC} 56 %" in said and f"{UW} 0 %" in said
    assert "excludes 0, in points: none." in said
    assert (
        "**mini-RTE** (rule two): same label on 90.0 % of the examples (chance 31.0 %; "
        "kappa 0.86), "
        "mean over 1 pair of teachers." in said
    )
    alone = study(1)
    said = sentences.ptp(*(make(alone) for make in MAKERS.values()))
    assert "Use two or more seeds." in said and "1 seed (intervals cover the examples only)" in said


def test_label_picture_has_a_bar_per_class_rule_and_teacher():
    frame = ptp_study.shares(study(2, "RTE,QNLI"))
    axes = study_figures.ptp_labels(frame)
    assert axes.shape == (2, 3)
    for ax in axes.ravel():
        assert len(ax.patches) == 2 * 2 * 4  # classes, teachers, labels
        assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(2 * 2 * 100, abs=0.01)
    assert axes[0, 2].get_title() == "$t_1$ 0.95, $t_2$ 0.90"
    assert "2 teachers" in axes[-1, 1].get_xlabel()


def test_accuracy_picture_draws_both_accuracies_and_the_difference():
    frame = ptp_study.difficulty(study())
    frame.loc[frame["label"] == "all", ["ci_low", "ci_high"]] = [-20, 40]  # sets the range
    given = plt.subplots(1, 2, squeeze=False)[1]
    axes = study_figures.ptp_difficulty(frame, given)
    assert axes[0, 0] is given[0, 0]
    after, before = (line.get_xdata() for line in axes[0, 0].lines)
    assert [*before] == frame["before"].tolist() and [*after] == frame["after"].tolist()
    assert [text.get_text() for text in axes[0, 0].get_yticklabels()][:2] == [
        f"{CC} (4)",
        f"{UC} (3)",
    ]
    arrows = [line for line in axes[0, 1].lines if line.get_marker() in "<>"]
    low, high = axes[0, 1].get_xlim()
    assert len(arrows) == (frame["ci_low"] < low).sum() + (frame["ci_high"] > high).sum() > 0


def test_a_label_without_examples_has_a_name_and_no_mark():
    cells = study()
    rewrite(cells[-1], ptp={"thresholds": [0.96, 0.6]})
    (left, right), *_ = study_figures.ptp_difficulty(ptp_study.difficulty(cells))
    assert left.get_yticklabels()[0].get_text() == f"{CC} (0)"
    assert np.isnan(np.asarray(left.lines[0].get_xdata(), float)[0])
    assert np.isnan(np.asarray(right.lines[1].get_xdata(), float)).all()


def test_pictures_are_saved_under_their_names(folder):
    cells = study()
    made = study_figures.write_ptp(
        "demo", ptp_study.shares(cells), ptp_study.difficulty(cells), "x"
    )
    assert [path.name for path in made] == [
        f"{name}.x.{kind}" for name in ("ptp_labels", "ptp_difficulty") for kind in ("pdf", "png")
    ]
    assert all(path.is_file() for path in made)
