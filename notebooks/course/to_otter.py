"""Convert a master notebook into the format of Otter Assign.

    python to_otter.py source/1-soft-targets/1-soft-targets.ipynb 1-soft-targets.ipynb
    otter assign 1-soft-targets.ipynb otter/

An exercise becomes a question whose test cells become its tests, with the same points. A test cell
gives all of its points or none, since Otter has no partial credit within one.
"""

import re
import sys

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_raw_cell

CONFIG = "# ASSIGNMENT CONFIG\ninit_cell: true\nexport_cell: false\nfiles: []\ngenerate: true"


def convert(master):
    """The Otter master of an nbgrader master, in which tests directly follow their exercise."""
    cells, in_tests = [new_raw_cell(CONFIG)], False
    for cell in master.cells:
        kind = cell.metadata.get("nbgrader", {})
        if in_tests and not kind.get("grade"):
            cells += [new_raw_cell("# END TESTS"), new_raw_cell("# END QUESTION")]
            in_tests = False
        if kind.get("solution"):
            source = cell.source.replace("### BEGIN SOLUTION", "# BEGIN SOLUTION")
            source = source.replace("### END SOLUTION", "# END SOLUTION")
            question = f"# BEGIN QUESTION\nname: {cell.id.replace('-', '_')}"
            cells += [new_raw_cell(question), new_raw_cell("# BEGIN SOLUTION")]
            cells += [new_code_cell(source), new_raw_cell("# END SOLUTION")]
            cells += [new_raw_cell("# BEGIN TESTS")]
            in_tests = True
        elif kind.get("grade"):
            cells.append(new_code_cell(_test(cell.source, kind["points"])))
        else:
            cells.append(cell)
    return new_notebook(cells=cells, metadata=master.metadata)


def _test(source, points):
    """A test with Otter's settings; a number that nbgrader takes as points must be all of them."""
    hidden = "### BEGIN HIDDEN TESTS" in source
    source = re.sub(r"### (BEGIN|END) HIDDEN TESTS\n?", "", source).rstrip()
    head, _, last = source.rpartition("\nint(")
    if head:
        source = f"{head}\nassert int({last.partition('  #')[0]} == {points}"
    settings = f"points: {points}\nhidden: {str(hidden).lower()}"
    return f'""" # BEGIN TEST CONFIG\n{settings}\n""" # END TEST CONFIG\n{source}'


if __name__ == "__main__":
    nbformat.write(convert(nbformat.read(sys.argv[1], as_version=4)), sys.argv[2])
