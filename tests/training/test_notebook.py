"""The notebook of docs/ runs as it stands and is as short as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from fake_study import make, save_model

from likewise.study import Study
from training.rank import rank

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"

# In a process of its own: the kernel's event loop and sockets stay out of this one.
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.mark.slow
def test_the_notebook_runs_and_ranks_anew(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=12)
    save_model(study, "second", scores={"cv_average_precision": 0.1})
    rank(study, model="linear-svc")
    answer = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(tmp_path / "done.ipynb")],
        env={**os.environ, "LIKEWISE_STUDY": str(study.root), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert Study.open(study.root).require("scores").extra["model"] == "second"
    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    said = "".join(o.get("text", "") for c in done.cells for o in c.get("outputs", []))
    assert "second - " in said  # followed by what may be said of twelve authors: nothing


def test_the_notebook_is_short_and_holds_no_results() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [line for cell in code for line in cell.source.splitlines() if line.strip()]
    assert len(lines) <= 20
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
