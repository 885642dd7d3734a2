"""Whatever a variant, a subject, a file or a folder is called: every command shows it as it is."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nibabel
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from dwp_sweep.cli import main
from dwp_sweep.cli.sweeps import show_run
from dwp_sweep.config.node import entries_of, with_variant
from dwp_sweep.errors import visible
from dwp_sweep.harness.attempt import run_node
from dwp_sweep.harness.dag.ledger import Event, Outcome
from dwp_sweep.harness.view.progress import LineProgress
from dwp_sweep.report.answers.paper_table import paper_table
from dwp_sweep.store.heartbeat import Heartbeat
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.sweep_record import record_nodes
from dwp_sweep.tracking.read.reader import frame_of_rows
from dwp_sweep.tracking.read.rows import NodeRow
from tests.harness.toy_stages import STAGES, toy_node, toy_sweep
from tests.hostile_texts import HOSTILE

PRINTABLE = [text for text in HOSTILE if text.isprintable() and text == text.strip() and len(text) <= 60]
VARIANTS = [text for text in PRINTABLE if "|" not in text]
NAMES = [
    text for text in HOSTILE if "/" not in text and "\0" not in text and len(text) < 60 and "," not in text
]
FOLDER = "[red]runs :smile: [2]"


def ask(*words: object, **environment: str) -> Result:
    done = CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "400"} | environment)
    assert done.exit_code in (0, 1, 2), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert_tame(done.output)
    return done


def assert_tame(shown: str) -> None:
    """No character of a text has acted on the terminal."""
    assert visible(shown) == shown


def test_plan_shows_variants_folders_and_the_space_as_they_are(tmp_path: Path) -> None:
    task = {"layout": "phantom", "phantom": {"n_subjects": 6, "shape": [16, 16, 16]}, "n_val": 1, "n_test": 1}
    variants = {name: {"target.lr": 1e-3 + place * 1e-5} for place, name in enumerate(VARIANTS)}
    fixed = {"method": "random_init", "train_size": 2}
    space = {"name": "mine", "data": {"target": task}, "fixed": fixed, "grid": {"variant": variants}}
    path = tmp_path / "[bold]my space :smile:.yaml"
    path.write_text(yaml.safe_dump(space, allow_unicode=True), encoding="utf-8")
    done = ask("plan", path, "--nodes", "--storage", tmp_path / FOLDER)
    assert done.exit_code == 0, done.output
    assert all(f"target {name}: random_init m=2" in done.stdout for name in VARIANTS)
    assert path.name in done.stdout and FOLDER in done.stdout


def test_status_explain_cancel_and_gc_show_names_as_they_are(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / FOLDER)
    bad = [
        with_variant(toy_node("target", f"bad{place}", behaviour="diverges"), name)
        for place, name in enumerate(HOSTILE)
    ]
    done, other = toy_node("target", "free"), toy_node("target", HOSTILE[26], n_epochs=4)
    sweep = toy_sweep(*bad, done, other)
    record_nodes(store, "toy", entries_of(sweep.nodes.values(), sweep.targets))
    for node in (*bad[:10], done):
        run_node(node, STAGES["target"], store)
    here = ("--storage", store.root)
    shown = ask("status", "toy", *here).stdout
    assert all(f"target {visible(name, one_line=True)}: bad" in shown for name in HOSTILE[:10])
    for node, name in zip(bad, HOSTILE, strict=True):
        assert visible(name, one_line=True) in ask("explain", node.key, *here).stdout
    assert f"{visible(HOSTILE[26])}" in ask("explain", done.key, other.key, *here).stdout
    store.set_aside("target", done.key)
    assert FOLDER in ask("gc", "--dry-run", *here).stdout
    with Heartbeat(store, "toy", "now"):
        assert "asked to stop: toy" in ask("cancel", "toy", "--wait", "0.1", *here).stdout


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\0" not in name and not name.startswith("-")])
def test_an_error_shows_what_was_asked_for_as_it_is(name: str, tmp_path: Path) -> None:
    for words in (
        ("status", name),
        ("explain", name),
        ("plan", name),
        ("data", "check", name, "--layout", "ms"),
    ):
        done = ask(*words, *(["--storage", tmp_path] if words[0] != "data" else []))
        assert done.exit_code == 2


def test_data_check_shows_subjects_as_they_are(tmp_path: Path) -> None:
    for name in NAMES:
        folder = tmp_path / FOLDER / name
        folder.mkdir(parents=True)
        voxels = np.zeros((16, 16, 16), np.float32)
        voxels[4:12, 4:12, 4:12] = np.arange(512).reshape(8, 8, 8)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "FLAIR.nii.gz")
        nibabel.save(nibabel.Nifti1Image((voxels > 300).astype(np.uint8), np.eye(4)), folder / "mask.nii.gz")
    broken = tmp_path / FOLDER / "[red]broken\n[2]"
    broken.mkdir()
    (broken / "FLAIR.nii.gz").write_bytes(b"no gzip")
    (broken / "mask.nii.gz").write_bytes(b"no gzip")
    shown = ask("data", "check", tmp_path / FOLDER, "--layout", "ms").output
    assert all(visible(name.strip(), one_line=True) in shown for name in NAMES)
    assert r"[red]broken\n[2]" in shown and f"{FOLDER}: not usable" in shown
    assert json.loads(ask("data", "check", tmp_path / FOLDER, "--layout", "ms", "--json").stdout)["problems"]


def test_the_end_of_a_run_shows_names_and_messages_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = with_variant(toy_node("target", "bad"), "[red]v[/red]:smile:")
    rows = [
        NodeRow(f"k{place}", "target", "done", {"method": "random_init", "variant": name, "train_size": 5,
                "split": 0, "seed": 0}, {}, {"test_dice": 0.5}) for place, name in enumerate(PRINTABLE)
    ]  # fmt: skip
    run: Any = SimpleNamespace(
        sweep=toy_sweep(node),
        outcome=Outcome(1, {"failed": 1}, failed=((node, "\x1b[31m[bold]no[/bold]\x07"),), blocked=(node,)),
        tracking=SimpleNamespace(online=False, uri="", experiment_id=""),
        results=frame_of_rows(rows),
        best=None,
        front=None,
        search=None,
    )
    show_run(cast(Any, run), tmp_path / FOLDER)
    shown = capsys.readouterr().out
    assert_tame(shown)
    assert r"target [red]v[/red]:smile:: bad: \x1b[31m[bold]no[/bold]\x07" in shown
    assert "blocked by them: target [red]v[/red]:smile:" in shown and FOLDER in shown
    assert paper_table(run.results).text() in shown


def test_a_line_of_progress_shows_names_and_messages_as_they_are() -> None:
    shown = StringIO()
    progress = LineProgress(Console(file=shown, width=200))
    node = with_variant(toy_node("target", "bad"), "[red]v[/red]:smile:")
    progress.event(Event("failed", node, text="\x1b[31m[bold]no[/bold]"))
    assert r"FAILED   target [red]v[/red]:smile:: bad: \x1b[31m[bold]no[/bold]" in shown.getvalue()
