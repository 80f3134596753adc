"""LaTeX tables, the document, and the notebook that makes them, from synthetic tables."""

import re
import shutil

import matplotlib
import nbformat
import pytest
from synthetic import finish, finished

from repro import paths
from repro.analysis import comparisons, decisions, tables
from repro.errors import MissingError, ReproError
from repro.report import document, latex

matplotlib.use("Agg")
NOTEBOOK = paths.NOTEBOOKS / "paper.ipynb"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path / "figures"))
    return tmp_path


def make(*names, tasks="RTE,MRPC", seeds=2, **options):
    """Write tables as a run does; return them as the report reads them."""
    for name in names:
        cells = finished(name, tasks, seeds, rows=40, **options)
        frame = tables.table1(cells) if name == "table1" else tables.aggregate(cells)
        tables.write_table(name, "demo", frame, cells)
        if name == "table1":
            tables.write_table("thresholds", "demo", tables.threshold_sweep(cells), cells)
        elif name != "table3":
            compared = name.replace("table", "comparisons")
            tables.write_table(compared, "demo", comparisons.of(cells), cells)
    return tables.read_all("demo", ",".join(names))


def test_escapes():
    assert latex.escape("50 % of a_b & {c} #1 $2") == r"50 \% of a\_b \& \{c\} \#1 \$2"
    assert (
        latex.escape("\\ ~ ^ < ±")
        == r"\textbackslash{} \textasciitilde{} \textasciicircum{} $<$ $\pm$"
    )


def test_a_table_in_latex():
    frame = make("table3")["table3"]
    text = latex.latex("table3", frame)
    ours = frame[(frame["method"] == "PeaBERT") & (frame["task"] == "mini-RTE")].iloc[0]
    own = rf"{ours['mean']:.1f}$_{{\pm{ours['sd']:.1f}}}$"
    assert rf"PeaBERT & 0.60M & {own} & 73.6 &" in text
    assert r"DistilBERT$^\dagger$ & 42.6M &  & 59.9 &" in text
    assert r"\Delta" not in text  # miniature tasks: a difference to GLUE means nothing
    glue = latex.latex("table3", frame.assign(profile="paper"))
    assert rf"PeaBERT & 0.60M & {own} & 73.6 & ${ours['delta']:+.1f}$" in glue
    assert all(
        rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\cmidrule(lr){3-4}")
    )
    assert r"\multicolumn{2}{c}{mini-RTE (acc)}" in text
    assert r"\multicolumn{2}{c}{Avg of 2}" in text


def test_the_caption_describes_the_numbers():
    caption = latex.caption(make("table2")["table2"])
    words = (
        "2 seeds",
        "embedded miniature tasks: not GLUE",
        "GLUE's test server",
        "recipe: authors",
        "Checkpoint:",
        "optimistic",
        "encoder: embedded (float32)",
    )
    assert [word for word in words if word not in caption] == []


def test_special_characters_are_escaped():
    for name, frame in make("table1", "table4").items():
        if name == "thresholds":
            continue
        text = latex.latex(name, frame).replace("{!}{%", "").replace(r"\label{tab:", "")
        text = text.replace(r"$_{\pm", "")  # the subscript of a standard deviation
        assert re.findall(r"(?<!\\)[#_%~±†–]", text) == []


def test_changed_settings_are_escaped_in_the_caption():
    cells = finished("table4", "RTE", 1, rows=20, overrides={"student.batch_size": 16})
    assert r"Changed settings: student.batch\_size=16." in latex.caption(tables.aggregate(cells))


def test_the_document_includes_the_files_that_were_written(folders):
    frames = make("table1", "table4")
    written = {path.name for path in document.write_tables("demo", frames)}
    assert written == {"table1.tex", "table4.tex", "comparisons4.tex", "paper.tex"}
    text = (folders / "figures/demo/paper.tex").read_text()
    assert re.findall(r"\\input\{(.*?)\}", text) == ["table1", "table4", "comparisons4"]
    pictures = re.findall(r"\\includegraphics\[.*?\]\{(.*?)\}", text)
    assert pictures == ["figure1.pdf", "figure2.pdf", "table1.pdf", "table4.pdf", "thresholds.pdf"]


def test_the_differences_in_latex():
    frames = make("table4")
    text = latex.latex("comparisons4", frames["comparisons4"])
    row = frames["comparisons4"].iloc[0]
    interval = rf"\\[-1pt]\scriptsize [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]"
    estimate = f"{row['difference']:+.1f} (+2.1)"  # 63.5 - 61.4, printed
    cell = rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{estimate}{interval}\end{{tabular}}"
    assert f"SPS-1 -- BERT3 & {cell}" in text
    assert r"95 \% intervals over seeds and examples" in text
    assert "No verdicts: fewer than 5 seeds." in text


def test_the_commands_of_the_appendix_exist(folders):
    document.write_tables("demo", make("table4"))
    text = (folders / "figures/demo/paper.tex").read_text()
    targets = re.findall(r"^make (\w+)", text.partition(r"\section*{Artifact appendix}")[2], re.M)
    assert {"table2", "tables", "claims", "paper", "test", "verify"} == {*targets}
    makefile = (paths.ROOT / "Makefile").read_text()
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []


def test_decisions_are_reported_where_they_were_run(folders):
    cells = finish(decisions.plan("demo", "RTE", 1), rows=20)
    tables.write_table("decisions", "demo", decisions.decision_effects(cells), cells)
    frames = make("table4")
    assert "decisions.tex" in {path.name for path in document.write_tables("demo", frames)}
    assert "D3 KL averaged over batch only" in (folders / "figures/demo/decisions.tex").read_text()


def test_the_same_tables_give_the_same_bytes(folders):
    frames = make("table4")
    first = [path.read_bytes() for path in document.write_tables("demo", frames)]
    assert [path.read_bytes() for path in document.write_tables("demo", frames)] == first


@pytest.mark.parametrize("write", [document.write_tables, document.write_figures])
def test_no_old_pdf_stays_beside_new_tables_or_figures(folders, write):
    old = folders / "figures/demo/paper.pdf"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"%PDF of older tables")
    write("demo", make("table4"))
    assert not old.exists()


def test_without_latex_one_line_says_what_to_install_and_no_old_pdf_stays(monkeypatch, folders):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    old = folders / "figures/demo/paper.pdf"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"%PDF of older tables")
    line = document.write_pdf("demo")
    assert not old.exists()
    assert "latexmk" in line
    assert "apt-get install" in line
    assert "\n" not in line


@pytest.mark.skipif(not shutil.which("latexmk"), reason="latexmk is not installed")
def test_paper_pdf_and_the_message_of_a_failure(folders):
    folder = folders / "figures/demo"
    frames = make("table1", "table3", tasks="RTE")
    document.write_tables("demo", frames)
    document.write_figures("demo", frames)
    assert document.write_pdf("demo") == f"wrote {folder / 'paper.pdf'}"
    assert (folder / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert {path.suffix for path in folder.iterdir()} == {".pdf", ".png", ".tex"}
    (folder / "table3.tex").write_text(r"\nonsense")
    with pytest.raises(ReproError, match="Undefined control sequence"):
        document.write_pdf("demo")


def test_teacher_depth():
    assert document.teacher_depth({}) == 12
    assert document.teacher_depth(make("table2")) == 4
    assert document.teacher_depth(make("table4")) == 12


def code_cells():
    return [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]


def test_the_notebook_is_thin():
    cells = code_cells()
    assert len(nbformat.read(NOTEBOOK, 4).cells) <= 11
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert not any(re.search(r"^\s*(def|class) ", cell.source, re.M) for cell in cells)
    (parameters,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    assert re.findall(r"^(\w+): (\w+) =", parameters.source, re.M) == [
        ("profile", "str"),
        ("tables", "str"),
        ("recipe", "str"),
    ]


def run_notebook(**parameters):
    """Execute the notebook's code in this process with other parameters."""
    space: dict = {}
    for cell in code_cells():
        exec(cell.source, space)
        space |= parameters


def test_the_notebook_writes_all_files(folders, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)  # paper.pdf has its own test
    make("table4", tasks="RTE", seeds=1)
    run_notebook(tables="4")
    assert "Table 4, profile demo: Ablation of SPS" in capsys.readouterr().out
    written = {path.name for path in (folders / "figures/demo").iterdir()}
    pictures = {
        f"{name}.{kind}" for name in ("figure1", "figure2", "table4") for kind in ("pdf", "png")
    }
    assert written == pictures | {"paper.tex", "table4.tex", "comparisons4.tex"}


def test_the_notebook_stops_at_missing_tables(folders):
    with pytest.raises(MissingError, match="no table2, table3, comparisons2 for profile cpu in"):
        run_notebook(profile="cpu", tables="2,3")
    assert not (folders / "figures").exists()
