"""Whatever a variant, a subject, a sweep or a parameter is called: figures and the page show it as it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dwp_sweep.errors import visible
from dwp_sweep.report.answers.paper_table import paper_table
from dwp_sweep.report.answers.scores import OVERLAP
from dwp_sweep.report.page.builder import Picture, styles
from dwp_sweep.report.page.charts import curve_chart, forest_picture, size_chart
from dwp_sweep.report.page.comparisons import compare
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.pictures import predictions_picture, tasks_picture
from dwp_sweep.report.page.score_tables import score_table
from dwp_sweep.report.page.write import write_page
from dwp_sweep.report.paired.differences import paired_table
from dwp_sweep.report.paired.forest import forest_figure
from dwp_sweep.report.search.report import search_figures
from dwp_sweep.stages.examples import predicted_example
from dwp_sweep.tracking.read.runs import Parent
from dwp_sweep.tracking.read.trials import Goal, Importance, Parameter, SearchTrials, TrialRow
from tests.hostile_texts import HOSTILE, WORST, assert_drawn, figures_saved, hostile_texts
from tests.report.toy_evidence import case, toy_evidence

# A search space is text: no variant's name holds a byte that is none. Subjects and errors may.
VARIANTS = tuple(name for name in HOSTILE if "\udcff" not in name)
pytestmark = pytest.mark.filterwarnings("ignore:Glyph:UserWarning", "ignore:constrained_layout:UserWarning")


def evidence(folder: Path, names: Sequence[str], with_files: bool = False) -> Evidence:
    """The toy sweep with a variant of each name, whose subjects and errors have such names too."""
    toy = toy_evidence(folder, with_files=with_files)
    models = [row for row in toy.rows if row.labels.get("method") == "fine_tune"]
    rows = [row for row in toy.rows if row.stage != "target"]
    for place, name in enumerate(names):
        if "\udcff" in name:
            continue
        for model in models:
            labels = {**model.labels, "variant": name}
            metrics = {key: value - place / 1000 for key, value in model.metrics.items()}
            state = "failed" if place == 1 and model.labels["split"] == 1 else "done"
            rows.append(replace(model, labels=labels, metrics=metrics, state=state, error=f"{name} \udcff"))
    found = toy_evidence(folder, with_files=with_files, rows=rows, parent=Parent())

    def scores(key: str, run_id: str) -> dict[str, dict[str, float]]:
        values = list(toy.scores(key, run_id).values())
        return {f"{names[0]}{place}": dict(value) for place, value in enumerate(values)}

    return replace(found, scores=scores, sweep=names[0])


def drawn(picture: Picture | None, *texts: str) -> None:
    assert picture is not None
    picture.figure.savefig(io.BytesIO(), format="svg")
    assert_drawn(picture.figure, *texts)


@pytest.mark.parametrize("names", hostile_texts(5))
def test_charts_name_variants_as_they_are_called(names: tuple[str, ...], tmp_path: Path) -> None:
    sweep = evidence(tmp_path, names)
    table = score_table(sweep, OVERLAP[0])
    assert table is not None
    looks = styles(sweep.columns, names[0])
    drawn(size_chart(table, looks, "sizes"), *sweep.columns)
    drawn(curve_chart(sweep, looks), *sweep.columns)
    comparisons = compare(sweep, names[0])
    drawn(forest_picture(comparisons, names[0]), *sweep.columns)


def test_many_variants_have_a_panel_each(tmp_path: Path) -> None:
    sweep = evidence(tmp_path, WORST)
    table = score_table(sweep, OVERLAP[0])
    assert table is not None
    drawn(size_chart(table, styles(sweep.columns, None), "sizes"), *WORST)


def test_the_forest_that_a_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = evidence(tmp_path, HOSTILE[:6])
    with figures_saved(monkeypatch) as saved:
        forest_figure([paired_table(sweep.frame, HOSTILE[0], sweep.scores)], tmp_path / "forest.png")
    assert_drawn(saved[0], *HOSTILE[:6])


@pytest.mark.parametrize("names", hostile_texts(5))
def test_pictures_of_scans_name_subjects_and_methods(names: tuple[str, ...], tmp_path: Path) -> None:
    sweep = evidence(tmp_path, names)
    examples = {}
    for name in names:
        scan = case(name)
        foreground = (0.1 + 0.8 * scan.mask).astype(np.float32)
        examples[name] = predicted_example(scan, scan.mask > 0, np.stack([1 - foreground, foreground]), False)
        drawn(tasks_picture(examples[name], None), name)
    examples = {name: example for name, example in examples.items() if name in sweep.columns}
    drawn(predictions_picture(sweep, 5, (0, 0), examples), *examples)


@pytest.mark.parametrize("names", hostile_texts(6))
def test_figures_of_a_search_name_parameters_and_conditions(names: tuple[str, ...]) -> None:
    rows = [
        TrialRow(condition, number, "complete", {"lr": 0.1 * number + 0.1, names[0]: names[number % 2]},
                 (0.5 + 0.1 * number, 1.0 + number), curves=(((1, 0.1), (2, 0.2)),))
        for condition in names for number in range(3)
    ]  # fmt: skip
    parameters = (Parameter("lr", 0.01, 1.0, is_log=True), Parameter(names[0], choices=names[:2]))
    goals = (Goal("val_dice", "max"), Goal(names[1], "min"))
    trials = SearchTrials(names[0], goals, "val_dice", parameters, names, tuple(rows))
    shares = [Importance(name, "val_dice", {names[0]: 0.5, "lr": 0.5}, 12, 3) for name in names]
    for title, figure in search_figures(trials, shares).items():
        figure._repr_png_()
        # In parallel coordinates and on an axis of choices long names are cut to a word.
        shows_all = title in ("pareto", "learning_curves", "importance")
        assert_drawn(figure, *(names if shows_all else names[:1]))


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_and_its_files_show_every_name_as_it_is(tmp_path: Path) -> None:
    sweep = evidence(tmp_path / "nodes", WORST)
    written = write_page(sweep, tmp_path / "out", WORST[0])
    page = Texts()
    page.feed(written.page.read_text(encoding="utf-8"))
    for name in WORST:
        assert visible(name, one_line=True) in page.texts, name
    assert "script" not in page.tags
    text = (tmp_path / "out/tables/test_dice.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["method"] for row in rows} == set(WORST)


def test_the_table_of_a_sweep_is_written_whatever_its_variants_are_called(tmp_path: Path) -> None:
    table = paper_table(evidence(tmp_path, HOSTILE).frame)
    assert set(table.methods) == set(VARIANTS)
    n_lines = len(table.text().splitlines())
    # A title, a header and a row a variant, twice; an empty line between them; the notes after another one.
    assert n_lines == 2 * (2 + len(VARIANTS)) + 2 + len(table.notes)
