"""Notebook lint, part of `make lint`: thin code, no outputs, one cell of annotated parameters."""

import ast
import re
import sys
from pathlib import Path

import nbformat
import papermill


def problems(path: Path) -> list[str]:
    """List the problems of one notebook."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [f"{len(notebook.cells)} cells, at most 22"] if len(notebook.cells) > 22 else []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel must be python3")
    if any(cell.outputs or cell.execution_count for cell in code):
        found.append("committed with outputs or execution counts")
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        found.append(f"{len(tagged)} cells tagged parameters, 1 is needed")
    readable = set(papermill.inspect_notebook(str(path))) if tagged else set()
    for cell in tagged:
        found += _parameter_problems(ast.parse(cell.source), readable)
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    for cell in code:
        found += [
            f"a {type(node).__name__}: it belongs in repro/"
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, definitions)
        ]
    if re.search(r"[\"'](/|[A-Z]:\\)\w", "".join(cell.source for cell in notebook.cells)):
        found.append("an absolute path")
    return found


def _parameter_problems(tree: ast.Module, readable: set[str]) -> list[str]:
    """The first problem of a parameters cell. readable: the parameters that papermill sees."""
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign) or node.value is None:
            return ["the parameters cell may hold annotated assignments only"]
        name = ast.unparse(node.target)
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return [f"parameter {name} is not a literal"]
        if name not in readable:
            return [f"papermill cannot read parameter {name}: one = per line, comments included"]
    return []


if __name__ == "__main__":
    wrong = [f"{path}: {problem}" for path in sys.argv[1:] for problem in problems(Path(path))]
    print("\n".join(wrong) if wrong else f"{len(sys.argv) - 1} notebooks are fine")
    sys.exit(bool(wrong))
