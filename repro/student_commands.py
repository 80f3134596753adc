"""The commands that make and use trained models: `distill`, `predict`, `export`, `models`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from repro.config.own import METHODS, RECIPE
from repro.config.profiles import assignments
from repro.errors import InputError, one_of
from repro.options import Changes, OneSeed, Profile, RecipeName, Tasks, number
from repro.paths import results, shown

_Data = Annotated[Path, typer.Option(metavar="FILE", help="a CSV, TSV or JSONL file")]
_Text = Annotated[str, typer.Option(metavar="NAME", help="the text column, or two for pairs: a,b")]


def register(app: typer.Typer) -> None:
    """Add the commands to a command line."""
    for command in (distill, predict, export, models):
        app.command()(command)


def distill(
    train: _Data,
    dev: _Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder for the student and its report")],
    text: _Text = "text",
    label: Annotated[str, typer.Option(metavar="NAME", help="the label column")] = "label",
    encoder: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="a folder, a model on the hub, or 'embedded'; default: the teacher"
        ),
    ] = "",
    teacher: Annotated[
        str, typer.Option(metavar="FOLDER", help="a fine-tuned teacher; default: train one")
    ] = "",
    method: Annotated[str, typer.Option(metavar="NAME", help=", ".join(METHODS))] = "pea-kd",
    layers: Annotated[int, number("--layers", "layers that the student stores")] = 3,
    epochs: Annotated[
        int, number("--epochs", "epochs of each training; 0: chosen from encoder and data")
    ] = 0,
    seed: OneSeed = 0,
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="authors, textbook, or either with +option=value")
    ] = RECIPE,
    changes: Changes = None,
) -> None:
    """Train a teacher on your texts and distil it.

    The small student and a report are written to a folder; predict and export read it.
    """
    from repro import api
    from repro.data import own

    _check_out(out, api.REPORT)
    result = api.distill(
        own.read_table(train),
        own.read_table(dev),
        encoder,
        method,
        layers,
        text=_columns(text),
        label=label,
        teacher=teacher,
        epochs=epochs,
        seed=seed,
        recipe=recipe,
        settings=assignments(changes),
        sources=(str(train), str(dev)),
    )
    result.save(out)
    typer.echo(f"\n{result}\nwritten: {shown(out)}")


def predict(
    student: Annotated[
        str, typer.Argument(metavar="DIR", help="a folder that distill or export wrote")
    ],
    data: _Data,
    text: _Text = "text",
    out: Annotated[Path, typer.Option(metavar="FILE", help="a CSV file")] = Path("predictions.csv"),
) -> None:
    """Write predicted labels and probabilities for a file."""
    from repro import api
    from repro.data import own
    from repro.files import write_atomic

    if out.suffix.lower() != ".csv":
        raise one_of("format of --out", out.suffix, (".csv",))
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file")
    _check_writable(out.parent)
    frame = own.read_table(data)
    texts = own.texts_of(frame, _columns(text), str(data))
    model = api.load_student(student)
    probabilities, labels = model.probabilities(texts), model.report["labels"]
    frame["prediction"] = [labels[best] for best in probabilities.argmax(axis=1)]
    for name, column in zip(labels, probabilities.T.round(6), strict=True):
        frame[f"p({name})"] = column
    write_atomic(out, lambda path: frame.to_csv(path, index=False))
    typer.echo(f"{len(frame)} rows\nwritten: {shown(out)}")


def export(
    source: Annotated[
        str, typer.Argument(metavar="CELL|DIR", help="a cell's id, or a folder of distill")
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="where the model goes")],
    shared: Annotated[
        bool, typer.Option("--shared", help="store parameters that layers share once")
    ] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="write model.onnx too")] = False,
) -> None:
    """Write a model that plain transformers loads.

    A model card is written beside it.
    """
    from repro import api

    _check_out(to, api.REPORT)
    if onnx:
        from repro.models import onnx_file

        onnx_file.check()
    api.load_student(source).export(to, shared, onnx)
    typer.echo(f"written: {shown(to)}")


def models(profile: Profile = "demo", tasks: Tasks = "", recipe: RecipeName = "authors") -> None:
    """Export Table 2's teacher and three-layer students.

    Those of seed 0, as folders that plain transformers loads.
    """
    from repro import api

    frame = api.models(profile, tasks, recipe)
    typer.echo(frame.drop(columns="sha256").to_string(index=False))
    typer.echo(f"written: {shown(results(profile) / 'models')}")


def _columns(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _check_out(folder: Path, report: str) -> None:
    """InputError, before anything is trained, if results cannot go to a folder."""
    _check_writable(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / report).is_file():
        raise InputError(f"{folder} has other files in it; name a new or an empty folder")


def _check_writable(folder: Path) -> None:
    """InputError if no file can be written to a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"{existing} is a file; name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing} is not writable; name another folder")
