"""The whole way of a user, through the installed command: plan, run, run again, best, report, load, fail.

Runs compute in one process (``--here``): what a command says and leaves does not depend on who computes.
The same demo on a real Ray is in `tests/cluster/test_ray_job.py`; ``retrain`` below starts one, too.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dwp_sweep.cli import main
from dwp_sweep.tracking.client import mlflow_client
from tests.cli.command import ROOT, dwp_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DEMO = ROOT / "search_spaces" / "demo.yaml"
LABELS = ("UNet-DWP", "UNet-PR", "UNet-PRf", "UNet-RI")


@dataclass(frozen=True)
class Finished:
    """A folder in which the demo has run at its smoke scale, and what the command printed."""

    folder: Path
    plan: Result
    run: CompletedProcess[str]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'dwp_runs' / 'mlflow.db'}"

    def ask(self, *arguments: str) -> Result:
        """A command within this process."""
        return CliRunner().invoke(main, [*arguments, "--storage", str(self.folder / "dwp_runs")])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("demo")
    plan = CliRunner().invoke(main, ["plan", str(DEMO), "--smoke", "--storage", str(folder / "dwp_runs")])
    run = dwp_sweep("run", DEMO, "--smoke", "--here", cwd=folder, timeout_s=360)
    assert run.returncode == 0, run.stdout + run.stderr
    return Finished(folder, plan, run)


def counts_by_stage(plan: str) -> dict[str, list[str]]:
    """The first table of a printed plan; the second one, of costs, has the same stages."""
    rows: dict[str, list[str]] = {}
    for line in plan.splitlines():
        if line.split():
            rows.setdefault(line.split()[0], line.split()[1:])
    return rows


def test_plan_counts_what_the_run_then_builds(finished: Finished) -> None:
    assert finished.plan.exit_code == 0
    rows = counts_by_stage(finished.plan.stdout)
    assert rows["source"] == ["2", "0", "0", "0"]
    assert rows["harvest"] == ["1", "0", "0", "0"]
    assert rows["prior"] == ["7", "0", "0", "0"]
    assert rows["target"] == ["4", "0", "0", "0"]
    built = [line for line in finished.run.stdout.splitlines() if " done     " in line]
    assert len(built) == 14


def test_a_run_ends_with_table_best_configuration_and_commands(finished: Finished) -> None:
    lines = finished.run.stdout.splitlines()
    headings = [i for i, line in enumerate(lines) if line.split() == ["m", *LABELS]]
    assert [lines[i - 1].split(",")[0] for i in headings] == ["Test Dice", "Test IoU"]
    assert all(lines[i + 1].split()[0] == "5" and len(lines[i + 1].split()) == 5 for i in headings)
    assert any(line.startswith("Best of 4 configurations in sweep demo-smoke") for line in lines)
    assert any(f"mlflow ui --backend-store-uri {finished.uri}" in line for line in lines)
    assert any("dwp-sweep best demo-smoke" in line for line in lines)


def test_the_printed_python_line_loads_the_network(finished: Finished) -> None:
    import torch

    import dwp_sweep as package

    line = next(line for line in finished.run.stdout.splitlines() if "the trained network" in line)
    code = shlex.split(line[line.index("python -c") :])[2]
    scope: dict[str, object] = {}
    exec(code, scope)
    best = package.best_config("demo-smoke", tracking_uri=finished.uri)
    assert best.run_ids[0] in code
    with torch.no_grad():
        logits = scope["net"](torch.zeros(1, 1, 20, 24, 17))  # type: ignore[operator]
    assert logits.shape == (1, 2, 20, 24, 17)


def test_a_second_run_builds_nothing_and_prints_the_same_table(finished: Finished) -> None:
    again = finished.ask("run", str(DEMO), "--smoke")
    assert again.exit_code == 0
    assert "started" not in again.stdout
    assert "14 cached" in again.stdout
    table = "Test Dice, mean (std)"
    end = "curves, figures, files"
    cut = [text[text.index(table) : text.index(end)] for text in (again.stdout, finished.run.stdout)]
    assert cut[0] == cut[1]


def test_best_prints_json_for_the_chosen_method_and_size(finished: Finished) -> None:
    where = ("--where", "method=deep_weight_prior", "--where", "train_size=5")
    done = finished.ask("best", "demo-smoke", *where, "--json")
    values = json.loads(done.stdout)
    assert (values["config"]["method"], values["config"]["train_size"]) == ("deep_weight_prior", 5)
    assert len(values["candidates"]) == len(values["run_ids"]) == 1
    assert {"val_dice", "test_dice"} <= set(values["metrics"])


def test_report_prints_the_table_as_text_markdown_and_json(finished: Finished) -> None:
    forms = {
        form: finished.ask("report", "demo-smoke", "--format", form).stdout
        for form in ("text", "markdown", "json")
    }
    assert forms["text"].strip() in finished.run.stdout
    assert f"| m | {' | '.join(LABELS)} |" in forms["markdown"]
    assert json.loads(forms["json"])["sizes"] == [5]


def test_retrain_gives_the_same_numbers_and_another_seed_others(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dwp_sweep as package

    runs = package.results("demo-smoke", finished.uri)
    (first,) = runs[(runs.stage == "target") & (runs.method == "fine_tune")].run_id
    upstream = built_files(finished, "source", "harvest", "prior")
    assert len(upstream) == 10
    words = ("retrain", "demo-smoke", "--where", "method=fine_tune", "--tracking-uri", finished.uri)
    # From a folder that holds nothing: what it needs it has from its storage and its tracking URI.
    alike = dwp_sweep(*words, "--storage", finished.folder / "dwp_runs", cwd=tmp_path)
    assert alike.returncode == 0, alike.stdout + alike.stderr
    (same_id,) = retrained(finished, alike.stdout)
    compute_here(monkeypatch)
    another = finished.ask(*words, "--seed", "7")
    assert another.exit_code == 0, another.output
    (other_id,) = retrained(finished, another.stdout) - {same_id}
    assert built_files(finished, "source", "harvest", "prior") == upstream
    assert [tags(finished, one)["dwp.retrained_from"] for one in (same_id, other_id)] == [first, first]
    before, same, other = (numbers(finished, one) for one in (first, same_id, other_id))
    assert {"best_val_dice", "test_dice"} <= before.keys() and len(before["val_dice"]) == 2
    assert same == before
    assert all(other[name] != before[name] for name in ("val_dice", "best_val_dice", "test_dice"))


def retrained(finished: Finished, said: str) -> set[str]:
    """Ids of all target networks that were trained again; the command has started such a one alone."""
    import dwp_sweep as package

    assert [line.split()[3] for line in said.splitlines() if " started " in line] == ["target"]
    runs = package.results("demo-smoke-retrain", finished.uri)
    return set(runs[runs.stage == "target"].run_id)


def compute_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this process start no Ray; ``retrain`` has no option that says so."""
    from dwp_sweep.harness import run

    on_ray = run.run_sweep

    def in_this_process(sweep: Any, store: Any, tracking: Any, options: Any, **rest: Any) -> Any:
        return on_ray(sweep, store, tracking, replace(options, here=True), **rest)

    monkeypatch.setattr(run, "run_sweep", in_this_process)


def built_files(finished: Finished, *stages: str) -> dict[Path, int]:
    """Manifests of published nodes and when they were written."""
    found = (
        path for stage in stages for path in (finished.folder / "dwp_runs" / stage).rglob("manifest.json")
    )
    return {path: path.stat().st_mtime_ns for path in found}


def tags(finished: Finished, run_id: str) -> dict[str, str]:
    return dict(mlflow_client(finished.uri).get_run(run_id).data.tags)


def numbers(finished: Finished, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Metric -> its (step, value) pairs, durations left out."""
    client = mlflow_client(finished.uri)
    names = [name for name in client.get_run(run_id).data.metrics if not name.endswith("_s")]
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
        for name in names
    }


def test_an_unknown_sweep_is_answered_with_those_that_exist(finished: Finished) -> None:
    done = finished.ask("best", "dmeo-smoke")
    assert done.exit_code == 2
    assert "demo-smoke" in done.stderr


def test_networks_and_priors_of_a_run_can_be_brought_by_their_run_id(finished: Finished) -> None:
    import dwp_sweep as package

    runs = package.results("demo-smoke", finished.uri)
    source, bank = (runs[runs.stage == stage].run_id.iloc[0] for stage in ("source", "harvest"))
    bring = ("--set", f"source.network=runs:/{source}/cycle0", "--set", f"harvest.bank=runs:/{bank}")
    # The data of the source task are gone: what was trained on them is enough.
    plan = finished.ask("plan", str(DEMO), "--smoke", *bring, "--set", "data.source=null")
    assert plan.exit_code == 0, plan.output
    rows = counts_by_stage(plan.stdout)
    assert rows["source"] == ["1", "0", "0", "0"]
    assert rows["harvest"] == ["1", "0", "0", "0"]
    unknown = finished.ask("plan", str(DEMO), "--smoke", "--set", "source.network=runs:/0123abc")
    assert unknown.exit_code == 2
    assert "source.network: runs:/0123abc" in unknown.stderr


def test_without_mlflow_the_run_says_so_and_shows_its_table(finished: Finished) -> None:
    done = finished.ask("run", str(DEMO), "--smoke", "--tracking-uri", "http://127.0.0.1:9")
    assert done.exit_code == 0
    assert "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Test Dice, mean (std)" in done.stdout


def test_a_diverging_network_fails_by_name_and_the_rest_goes_on(finished: Finished) -> None:
    wild = ("--set", "grid.method=[random_init, fine_tune]", "--set", "grid.target.lr=[1e-3, 1e30]")
    done = finished.ask("run", str(DEMO), "--smoke", "--here", *wild)
    assert done.exit_code == 1, done.output
    assert "failed target lr=1e+30 random_init m=5" in done.stdout
    assert "last finite value" in done.stdout
    assert "3 cached" in done.stdout
    assert "UNet-RI" in done.stdout
