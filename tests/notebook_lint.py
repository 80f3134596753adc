"""Notebook lint, a part of `make lint`: sources stay thin, without outputs, with one cell of annotated parameters."""

import ast
import re
import sys
from pathlib import Path

import nbformat
import papermill


def problems(path: Path) -> list[str]:
    """What is wrong with one notebook; [] if nothing."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [f"{len(notebook.cells)} cells, at most 12"] if len(notebook.cells) > 12 else []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel must be python3")
    if any(cell.outputs or cell.execution_count for cell in code):
        found.append("committed with outputs or execution counts")
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        found.append(f"{len(tagged)} cells tagged parameters, 1 is needed")
    for cell in tagged:
        found += _parameter_problems(
            ast.parse(cell.source), set(papermill.inspect_notebook(str(path)))
        )
    for cell in code:
        found += _code_problems(ast.parse(cell.source))
    if re.search(r"[\"'](/|[A-Z]:\\)\w", "".join(cell.source for cell in notebook.cells)):
        found.append("an absolute path")
    return found


def _parameter_problems(tree: ast.Module, readable: set[str]) -> list[str]:
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign) or node.value is None:
            return ["the parameters cell may hold annotated assignments only"]
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return [f"parameter {ast.unparse(node.target)} is not a literal"]
        if ast.unparse(node.target) not in readable:
            return [
                f"papermill cannot read parameter {ast.unparse(node.target)}: one = per line, in its comment too"
            ]
    return []


def _code_problems(tree: ast.Module) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    return [
        f"a {type(node).__name__}: it belongs in repro/"
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


if __name__ == "__main__":
    wrong = [f"{path}: {problem}" for path in sys.argv[1:] for problem in problems(Path(path))]
    print("\n".join(wrong) if wrong else f"{len(sys.argv) - 1} notebooks are fine")
    sys.exit(bool(wrong))
