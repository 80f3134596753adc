"""What students cost: units, and scores over costs and over depth."""

import pandas as pd
import pytest

from repro.report import costs


def test_costs_are_shown_in_readable_units():
    spent = {
        "method": ["A", "A"],
        "parameters": [1_000_000, 2_000_000],
        "trained": [500_000, 500_000],
        "megabytes": [4.0, 8.0],
        "effective_layers": [6, 6],
        "training_flops": [1e12, 2e12],
        "training_seconds": [10.0, 11.0],
        "latency_ms": [0.5, 0.7],
        "throughput": [1000.0, 3000.0],
    }
    (row,) = costs.view(pd.DataFrame(spent)).to_dict("records")
    expected = ["1.500", "0.500", "6.00", "6", "1.50", "10.5", "0.60", "2,000"]
    assert list(row.values()) == expected


def related_frame():
    """The table "related" of three students and their teacher, on one task."""
    cells = [
        ("BERT-base", 0, 80.0),
        ("BERT3-PatientKD", 3, 70.0),
        ("MiniLM3", 3, 72.0),
        ("TinyBERT4", 4, 75.0),
    ]
    common = {"task": "Avg", "table": "related", "profile": "demo"}
    frame = pd.DataFrame(
        [
            {
                "method": name,
                "layers": layers,
                "mean": mean,
                "ci_low": mean - 2,
                "ci_high": mean + 3,
            }
            | common
            for name, layers, mean in cells
        ]
    )
    spent = pd.DataFrame(
        {
            "method": [name for name, _, _ in cells] * 2,
            "parameters": [12e6, 3e6, 3e6, 4e6] * 2,
            "trained": [12e6, 3e6, 3e6, 4e6] * 2,
            "training_flops": [0, 1e12, 3e12, 2e12, 0, 3e12, 5e12, 4e12],
            "latency_ms": [12.0, 3.0, 3.0, 4.0] * 2,
        }
    )
    return frame, spent


def test_scores_over_costs_show_each_student_with_its_interval():
    panels = costs.scores_over_costs(*related_frame())
    assert len(panels) == 4
    training = panels[2]
    points = [container.lines[0].get_xydata()[0].tolist() for container in training.containers]
    assert points == [[2.0, 70.0], [4.0, 72.0], [3.0, 75.0]]  # 10^12, mean over tasks
    (bar,) = training.containers[1].lines[2]
    assert bar.get_segments()[0][:, 1].tolist() == [70.0, 75.0]
    stored = [c.lines[0].get_xdata()[0] for c in panels[0].containers]
    assert stored[0] < stored[1] == pytest.approx(3.0, abs=0.1)  # side by side
    assert stored[2] == pytest.approx(4.0, abs=0.1)
    teacher = [line for line in panels[3].lines if line.get_linestyle() == "--"]
    assert {*teacher[0].get_ydata()} == {80.0}


def test_scores_over_depth_join_the_depths_of_a_method():
    rows = [
        ("BERT-base", 4, 90.0),  # the embedded teacher's layers: no student
        ("BERT1-KD", 1, 70.0),
        ("BERT6-KD", 6, 85.0),
        ("PeaBERT1", 1, 80),
    ]
    frame = pd.DataFrame(
        [
            {"task": task, "method": name, "layers": layers, "mean": mean + shift}
            | {"ci_low": mean - 2, "ci_high": mean + 3}
            for task, shift in (("mini-RTE", 0), ("mini-QNLI", 1), ("Avg", 0.5))
            for name, layers, mean in rows
        ]
    )
    panels = costs.scores_over_depth(frame)
    assert [ax.get_title() for ax in panels] == ["mini-RTE", "mini-QNLI", "average", ""]
    kd, pea = (container.lines[0].get_xydata() for container in panels[1].containers)
    assert kd[:, 1].tolist() == [71, 86] and pea[:, 1].tolist() == [81]
    assert kd[:, 0].round().tolist() == [1, 6] and pea[0, 0] > kd[0, 0]  # side by side
    assert [label.get_text() for label in panels[2].get_xticklabels()] == ["1", "6"]
    assert panels[0].get_ylim() == panels[2].get_ylim()
    legend = panels[3].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["KD", "PeaBERT", "teacher"]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("BERT3-PatientKD", "Patient KD"),
        ("BERT6-FineTuned", "fine-tuned"),
        ("BERT1-SPS-2", "SPS-2"),
        ("PeaBERT3", "PeaBERT"),
        ("MiniLMv2-6", "MiniLMv2"),
        ("TinyBERT4", "TinyBERT"),
        ("BERT-base", "BERT-base"),
    ],
)
def test_the_family_of_a_method(method, name):
    assert costs.family(method) == name
