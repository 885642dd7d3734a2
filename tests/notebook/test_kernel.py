"""The API in a real Jupyter kernel: progress shows, results are a table, figures are pictures.

One notebook: a search of toys on a real Ray, then the demo at its smoke scale within the kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[2]
TOY_CELLS = [
    """
import os, sys
from pathlib import Path
os.environ.pop("RAY_ADDRESS", None)
storage = Path("storage")
import dwp_sweep
from dwp_sweep.harness.run import run_sweep
from dwp_sweep.store.local.store import LocalStore
from tests.harness.toy_search import SEARCH_STAGES, search_space, search_sweep
outcome = run_sweep(
    search_sweep(search_space(n_trials=3), epoch_s=0.15), LocalStore(storage), stages=SEARCH_STAGES
)
outcome.exit_code
""",
    'dwp_sweep.search_figures("toy", storage)',
    'dwp_sweep.search_figures("toy", storage)["slice"]',
    'dwp_sweep.search_report("toy", storage)',
]
DEMO_CELLS = [
    f"""
run = dwp_sweep.run_sweep("{ROOT}/search_spaces/demo.yaml", "demo", smoke=True, here=True)
run
""",
    """
uri = "sqlite:///demo/mlflow.db"
dwp_sweep.results("demo-smoke", tracking_uri=uri)
""",
    'dwp_sweep.best_config("demo-smoke", tracking_uri=uri)',
    'dwp_sweep.best_configs("demo-smoke", by="method", tracking_uri=uri)',
]


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """All cells, which ran one after the other."""
    return executed([*TOY_CELLS, *DEMO_CELLS], tmp_path_factory.mktemp("notebook"))


def test_a_search_runs_in_a_notebook_and_its_figures_display(notebook: list[Any]) -> None:
    run, figures, figure, report = notebook[: len(TOY_CELLS)]
    assert text(run, "text/plain")[-1] == "0"
    shown = text(run, "text/html")
    assert len(shown) == 1, "one output, redrawn in place"
    assert "all done" in shown[0] and "target" in shown[0]
    assert not [one for one in run.outputs if one.output_type == "stream" and "Traceback" in one.text]
    assert text(figures, "text/html")[0].count("data:image/png;base64") >= 2
    assert "image/png" in figure.outputs[0].data
    assert "3 configurations" in text(report, "text/html")[0]


def test_the_demo_runs_in_a_notebook_and_its_answers_are_tables(notebook: list[Any]) -> None:
    run, results, best, by_method = notebook[len(TOY_CELLS) :]
    shown = text(run, "text/html")
    assert "all done" in shown[0] and "Best of 4 configurations" in shown[-1]
    assert "<table" in text(results, "text/html")[0] and "train_size" in text(results, "text/html")[0]
    assert "Best of 4 configurations" in text(best, "text/html")[0]
    for name in ("random_init", "fine_tune", "freeze_middle", "deep_weight_prior"):
        assert name in text(by_method, "text/html")[0]


def executed(cells: list[str], folder: Path) -> list[Any]:
    """The cells of a notebook after they ran in a kernel of this interpreter."""
    notebook = nbformat.v4.new_notebook()
    setup = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    notebook.cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in [setup, *cells]]
    client = nbclient.NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(folder)}}, km=own_kernel()
    )
    client.execute()
    return list(notebook.cells[1:])


def own_kernel() -> Any:
    """A kernel of this interpreter, whatever kernels the machine has installed."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager()
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )
    return manager


def text(cell: Any, kind: str) -> list[str]:
    return [str(one.data[kind]) for one in cell.outputs if kind in one.get("data", {})]
