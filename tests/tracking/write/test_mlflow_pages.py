"""MLflow's own pages of a finished sweep in a browser: methods, sizes, scores, curves, figures by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from dwp_sweep.config.node import Node
from dwp_sweep.report.answers.paper_table import paper_table
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.client import mlflow_client
from dwp_sweep.tracking.read.reader import results
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.pages import run_name, targets_page
from dwp_sweep.tracking.write.parent import Tracking, close_tracking, describe_parent, open_tracking
from tests.tracking.conftest import make_node, make_record, publish
from tests.tracking.devtools import BROWSER, Browser
from tests.tracking.mlflow_server import Server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
]

SWEEP = "pages"
METHODS = {"random_init": None, "fine_tune": None, "deep_weight_prior": "DWP, prior"}
NOT_OURS = ("users/current", "ResizeObserver loop")
"""MLflow without accounts has no current user, and its charts resize themselves."""


@dataclass(frozen=True)
class Shown:
    """A finished sweep behind a server, and a browser."""

    server: Server
    tracking: Tracking
    run_ids: dict[str, str]
    browser: Browser

    def open(self, place: str) -> None:
        self.browser.open("about:blank")  # else a change behind the # loads nothing anew
        self.browser.open(self.server.uri + place)

    @property
    def experiment(self) -> str:
        return f"/#/experiments/{self.tracking.experiment_id}"


def log_sweep(folder: Path, uri: str) -> tuple[Tracking, dict[str, str]]:
    """Six target networks with curves, scores and a figure; name -> run id."""
    store = LocalStore(folder / "runs")
    tracking = open_tracking(uri, store.root, SWEEP, {"grid": {"train_size": [5, 10]}})
    assert tracking.online, tracking.problem
    run_ids = {}
    for n, (method, variant) in enumerate(METHODS.items()):
        for m in (5, 10):
            labels = {"variant": variant, "method": method} if variant else {"method": method}
            node = make_node(f"{n}{m}", **labels, train_size=m, split=0, seed=0)
            run_ids[run_name(node)] = log_target(tracking, store, node, 0.61 + 0.1 * n + m / 500)
    describe_parent(tracking, paper_table(results(SWEEP, uri)).markdown())
    close_tracking(tracking, "FINISHED")
    return tracking, run_ids


def log_target(tracking: Tracking, store: Store, node: Node, dice: float) -> str:
    record = make_record(node, n_epochs=5, best_val_dice=dice, test_dice=dice - 0.05, test_iou=dice - 0.2)
    folder = publish(store, node, record, {"net.json": "{}", "figures/learning_curve.png": ""})
    matplotlib.image.imsave(
        folder / "figures" / "learning_curve.png", np.random.default_rng(0).random((30, 70))
    )
    run = NodeRun(tracking, node)
    run.start()
    for point in record.history:
        run.epoch(point)
    run.finish(record, folder)
    assert run.online, run.problem
    return run.run_id


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("pages")
    uri = f"sqlite:///{folder}/mlflow.db"
    tracking, run_ids = log_sweep(folder, uri)
    server = Server(folder, uri)
    try:
        server.start()
        with Browser(folder, (1900, 1300)) as browser:
            yield Shown(server, tracking, run_ids, browser)
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def quiet_console(shown: Shown) -> Iterator[None]:
    """No page of ours makes the console complain."""
    shown.browser.complaints.clear()
    yield
    said = [words for words in shown.browser.complaints if not any(known in words for known in NOT_OURS)]
    assert said == []


def test_the_saved_view_lists_target_networks_with_method_size_and_scores(shown: Shown) -> None:
    shown.open(targets_page(shown.tracking.experiment_id))
    columns = ("method", "train_size", "split", "best_val_dice", "test_dice", "test_iou", "dwp.variant")
    text = shown.browser.wait_for(*columns, *METHODS, *shown.run_ids, "0.83")
    assert f"sweep {SWEEP}\n" not in text  # target networks alone
    names = [line for line in text.splitlines() if line in shown.run_ids]
    assert names[0] == "DWP, prior m=10 split 0 seed 0"  # the best by validation first


def test_runs_side_by_side_are_told_apart_by_name_and_settings(shown: Shown) -> None:
    chosen = {name: run_id for name, run_id in shown.run_ids.items() if "m=5" in name}
    runs, experiments = json.dumps([*chosen.values()]), json.dumps([shown.tracking.experiment_id])
    shown.open(f"/#/compare-runs?runs={runs}&experiments={experiments}".replace(" ", ""))
    text = shown.browser.wait_for("Comparing 3 Runs", *chosen, *METHODS, "best_val_dice", "test_dice")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in text.splitlines() if "\t" in line}
    assert rows["method"] == [*METHODS]
    assert rows["train_size"] == ["5", "5", "5"]


def test_a_figure_of_a_run_is_seen_among_its_files(shown: Shown) -> None:
    run_id = shown.run_ids["random_init m=10 split 0 seed 0"]
    shown.open(f"{shown.experiment}/runs/{run_id}/artifacts/figures/learning_curve.png")
    shown.browser.wait_for("figures", "learning_curve.png")
    pictures = (
        "[...document.querySelectorAll('img')].map(one => [one.naturalWidth, one.naturalHeight].join())"
    )
    shown.browser.wait_until(f"{pictures}.includes('70,30')")


def test_the_sweeps_run_describes_it_by_its_tables(shown: Shown) -> None:
    parent = shown.tracking.parent_run_id
    shown.open(f"{shown.experiment}/runs/{parent}")
    shown.browser.wait_for(
        f"sweep {SWEEP}", "Target networks with their settings", "Test Dice", "UNet-PR", "0.570"
    )
    link = shown.browser.value(
        "[...document.querySelectorAll('a')].find(one => one.innerText.startsWith('Target networks'))?.href"
    )
    assert link == shown.server.uri + targets_page(shown.tracking.experiment_id)


def test_an_experiment_keeps_what_a_person_wrote_about_it(shown: Shown) -> None:
    client = mlflow_client(shown.tracking.uri)
    client.set_experiment_tag(shown.tracking.experiment_id, "mlflow.note.content", "mine")
    open_tracking(shown.tracking.uri, Path(shown.tracking.storage), SWEEP, {})
    tags = client.get_experiment(shown.tracking.experiment_id).tags
    assert tags["mlflow.note.content"] == "mine"
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_shows_its_metrics_epoch_by_epoch(shown: Shown) -> None:
    run_id = shown.run_ids["fine_tune m=10 split 0 seed 0"]
    shown.open(f"{shown.experiment}/runs/{run_id}/model-metrics")
    shown.browser.wait_for("train_loss", "val_dice", "best_val_dice")
    # A line of a chart has a point an epoch; MLflow draws it with plotly.
    plots = "[...document.querySelectorAll('.js-plotly-plot')]"
    shown.browser.wait_until(f"{plots}.some(one => one.data.some(line => (line.x || []).length === 5))")
