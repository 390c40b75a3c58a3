"""The notebook of the examples runs from its first cell to its last."""

import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FILE = Path(__file__).parents[1] / "examples" / "first_steps.ipynb"


def test_it_runs(tmp_path):
    book = nbformat.read(FILE, as_version=4)
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output
        for cell in book.cells
        for output in cell.get("outputs", ())
        if output.output_type in ("execute_result", "display_data")
    ]
    assert sum("text/html" in output.data for output in shown) >= 1
    assert sum("image/png" in output.data for output in shown) == 1
    assert not any(
        output.output_type == "error" for cell in book.cells for output in cell.get("outputs", ())
    )


def test_it_is_kept_without_outputs():
    cells = json.loads(FILE.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
