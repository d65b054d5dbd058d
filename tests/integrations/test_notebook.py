"""The notebook of the documentation runs from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.integrations, pytest.mark.libero]

NOTEBOOK = Path(__file__).parents[2] / "docs/quickstart.ipynb"


@pytest.mark.timeout(600)
def test_the_notebook_runs_and_shows_what_it_says() -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client(notebook, timeout=400, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [_shown(cell.outputs) for cell in cells]
    assert "pick up the salad dressing" in shown[0]
    assert "of 4 episodes, 95 % interval" in shown[2]
    assert "iteration 2: success" in shown[3]
    assert ["image/png" in text for text in shown] == [False, True, False, False, True, False]


def test_the_notebook_is_kept_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def _shown(outputs: list[dict]) -> str:
    """Text and kinds of data in a cell's outputs."""
    return " ".join(f"{output.get('text', '')} {output.get('data', {})}" for output in outputs)
