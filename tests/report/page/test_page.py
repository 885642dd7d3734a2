"""The report page of a sweep that never ran: every section, what is missing, files, nothing from outside."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.scores import BOUNDARY, CALIBRATION, DECIDES, OVERLAP
from dwp_sweep.report.page.answer import sentences, winners
from dwp_sweep.report.page.builder import styles, themed
from dwp_sweep.report.page.comparisons import compare, reference_of
from dwp_sweep.report.page.evidence import missing_targets
from dwp_sweep.report.page.score_tables import score_table
from dwp_sweep.report.page.table_files import latex
from dwp_sweep.report.page.write import Written, write_page
from dwp_sweep.report.paired.significance import holm
from dwp_sweep.tracking.read.rows import NodeRow
from dwp_sweep.tracking.read.runs import Parent
from tests.report.toy_evidence import SETTINGS, toy_evidence

VOID = {"meta", "link", "img", "br", "hr"}


class Outline(HTMLParser):
    """Checks that elements are closed in order; keeps ids, links, pictures and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.alts: list[str] = []
        self.text = ""
        self.cells: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        self.addresses += [str(values[name]) for name in ("src", "href") if values.get(name)]
        if tag == "img":
            self.alts.append(str(values.get("alt") or ""))
        if tag == "td":
            self.cells.append((values.get("class") or "", values.get("title") or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("report")
    return write_page(toy_evidence(folder / "nodes"), folder / "out")


@pytest.fixture(scope="module")
def outline(written: Written) -> Outline:
    found = Outline()
    found.feed(written.page.read_text())
    found.close()
    assert found.open == []
    return found


def test_every_section_is_there_and_the_contents_lead_to_them(outline: Outline) -> None:
    expected = ["answer", "tables", "sizes", "tests", "examples", "curves", "calibration", "cost", "settings"]
    assert [one for one in outline.ids if one != "missing"] == expected
    assert [one for one in outline.addresses if one.startswith("#")] == [f"#{one}" for one in expected]


def test_nothing_comes_from_outside(written: Written, outline: Outline) -> None:
    for address in outline.addresses:
        assert address.startswith(("data:", "#", "figures/")), address
    local = [one for one in outline.addresses if one.startswith("figures/")]
    assert local and all((written.page.parent / one).is_file() for one in local)
    page = re.sub(r"data:[^\"]*", "", written.page.read_text())
    assert "http" not in page and "<script" not in page and "@import" not in page and "url(" not in page


def test_every_picture_says_what_it_shows(outline: Outline) -> None:
    assert len(outline.alts) >= 6 and all(len(alt) > 20 for alt in outline.alts)


def test_what_is_missing_or_failed_is_named(written: Written, outline: Outline) -> None:
    wanted = (
        "prior group 4: failed: it broke <b>",
        "UNet-DWP, m = 10: split 0: missing",
        "UNet-DWP, m = 10: split 1: missing",
        "UNet-PRf, m = 10: split 1: failed: the loss became nan",
    )
    assert written.missing == wanted
    assert all(words in outline.text for words in wanted)
    assert "3 of 16 target networks" in outline.text
    assert "<b>" not in re.findall(r"it broke [^<]*", written.page.read_text())[0]


def test_the_answer_is_chosen_by_validation_and_says_how_sure_it_is(written: Written) -> None:
    assert written.headline.startswith("Best on validation scans: UNet-PR at m = 5 (test Dice 0.7")
    assert "Difference to UNet-RI on the same test scans: +0.0" in written.headline


def test_a_better_test_score_never_chooses(tmp_path: Path) -> None:
    evidence = toy_evidence(tmp_path, with_files=False)
    rows = [
        replace(row, metrics={**row.metrics, "best_val_dice": 0.99})
        if row.labels.get("method") == "freeze_middle" and row.state == "done"
        else row
        for row in evidence.rows
    ]
    changed = toy_evidence(tmp_path, with_files=False, rows=rows)
    test, validation = score_table(changed, OVERLAP[0]), score_table(changed, DECIDES)
    found = winners(changed, validation, test, compare(evidence, "random_init"), "random_init")
    # At m = 10 a run of it is missing: it stands behind the complete ones, whatever its score.
    assert [one.label for one in found] == ["UNet-PRf", "UNet-PR"]


def test_tables_have_the_paper_s_form_with_the_best_in_bold_and_n_at_hand(tmp_path: Path) -> None:
    evidence = toy_evidence(tmp_path, with_files=False)
    table = score_table(evidence, OVERLAP[0])
    assert table is not None and not table.is_wide
    assert table.header == ["Train size m", "UNet-DWP", "UNet-PR", "UNet-PRf", "UNet-RI"]
    (first, cells), (second, others) = table.lines()
    assert (first, second) == ("5", "10")
    assert [cell.is_best for cell in cells] == [False, True, False, False]
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3}\)", cells[1].text(3))
    assert others[0].text(3) == "missing" and others[2].text(3).endswith(" 1/2")
    assert cells[1].about(3).startswith("n = 2 of 2 runs (split 0: 0.")


def test_a_distance_is_best_where_it_is_smallest(tmp_path: Path) -> None:
    evidence = toy_evidence(tmp_path, with_files=False)
    table = score_table(evidence, BOUNDARY[0])
    assert table is not None
    best = {name for name, cell in table.cells[5].items() if cell.is_best}
    assert best == {"fine_tune"} and table.score.digits == 2
    assert score_table(evidence, BOUNDARY[1]) is None  # no run has it


@pytest.mark.parametrize("name", ["test_dice", "test_iou", "test_hd95_mm", "test_nll", "paired_tests"])
def test_tables_are_files_too(written: Written, name: str) -> None:
    folder = written.page.parent / "tables"
    rows = list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text())))
    assert len(rows) == (9 if name == "paired_tests" else 8)
    text = (folder / f"{name}.tex").read_text()
    _compiles_structurally(text)


def _compiles_structurally(text: str) -> None:
    plain = re.sub(r"\\[\\{}&%$#_]", "", text.replace(r"\\", "\n"))
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 1
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) > 2
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[1])}
    assert text.isascii(), [one for one in text if not one.isascii()]


def test_latex_escapes_what_it_would_take_for_its_own() -> None:
    assert latex("50 % of a_b & c#") == r"50 \% of a\_b \& c\#"
    assert latex("\\{~^") == r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}"


def test_few_methods_are_compared_pair_by_pair_and_the_reference_is_subtracted(tmp_path: Path) -> None:
    evidence = toy_evidence(tmp_path, with_files=False)
    found = compare(evidence, reference_of(evidence))
    pairs = [(one.difference.name, one.reference) for one in found.rows if one.difference.train_size == 5]
    assert sorted(pairs[:3]) == [("UNet-DWP", "UNet-RI"), ("UNet-PR", "UNet-RI"), ("UNet-PRf", "UNet-RI")]
    assert len(pairs) == 6 and len(found.rows) == 9  # without DWP there are 3 pairs at m = 10
    row = found.find("UNet-PR", "UNet-RI", 5)
    assert row is not None and row.difference.mean == pytest.approx(0.04, abs=0.01)
    assert row.test.n == 26 and row.p_holm == pytest.approx(min(1, 9 * row.test.p), rel=1)
    assert row.p_holm >= row.test.p
    assert "Too few splits to tell" in " ".join(found.notes)


def test_other_scores_are_tested_too_each_corrected_for_itself_and_lower_distances_are_ahead(
    written: Written, outline: Outline, tmp_path: Path
) -> None:
    path = written.page.parent / "tables" / "paired_tests_other_scores.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    by_score = {
        name: [row for row in rows if row["score"] == name] for name in {row["score"] for row in rows}
    }
    assert {name: len(found) for name, found in by_score.items()} == {"test_iou": 9, "test_hd95_mm": 9}
    for found in by_score.values():
        p_values = [float(row["p_wilcoxon"]) for row in found]
        assert [float(row["p_holm"]) for row in found] == pytest.approx(holm(p_values))
    first = {name: _of(found, "UNet-PR", "UNet-RI", "5") for name, found in by_score.items()}
    # Distances are 20 (1 - Dice) here: what is ahead in Dice is ahead, with the other sign.
    assert float(first["test_iou"]["difference"]) > 0 > float(first["test_hd95_mm"]["difference"])
    assert {one["n_splits_ahead"] for one in first.values()} == {"2"}
    assert {name: one["better"] for name, one in first.items()} == {
        "test_iou": "higher",
        "test_hd95_mm": "lower",
    }
    dice = compare(toy_evidence(tmp_path, with_files=False), "random_init").find("UNet-PR", "UNet-RI", 5)
    assert dice is not None
    assert float(first["test_hd95_mm"]["difference"]) == pytest.approx(-20 * dice.difference.mean)
    assert float(first["test_hd95_mm"]["rank_biserial"]) == pytest.approx(-dice.test.rank_biserial)
    assert "a negative difference or rank-biserial is in favour of the first named" in outline.text
    assert "Test IoU: " in outline.text and "ASD" not in outline.text


def _of(rows: list[dict[str, str]], name: str, reference: str, size: str) -> dict[str, str]:
    wanted = (name, reference, size)
    (found,) = [row for row in rows if (row["method"], row["minus"], row["m"]) == wanted]
    return found


def test_too_few_subjects_are_said_plainly(tmp_path: Path) -> None:
    evidence = toy_evidence(tmp_path, with_files=False)

    def few(key: str, run_id: str) -> dict[str, dict[str, float]]:
        return {
            name: dict(one) for name, one in list(evidence.scores(key, run_id).items())[:4] if key[-1] == "0"
        } or {"s00": {"dice": 0.5}}

    found = compare(replace(evidence, scores=few), "random_init")
    notes = " ".join(found.notes)
    assert "Too few subjects to tell: 9 of 9 comparisons could not reach 0.05" in notes
    assert not any(one.is_shown_over_subjects for one in found.rows)


def test_one_split_says_nothing_about_training_again(tmp_path: Path) -> None:
    rows = [
        row for row in toy_evidence(tmp_path, with_files=False).rows if row.labels.get("split") in (0, None)
    ]
    evidence = toy_evidence(tmp_path, with_files=False, rows=rows, parent=Parent())
    found = compare(evidence, "random_init")
    assert "with one split nothing is known" in " ".join(found.notes)
    best = winners(
        evidence, score_table(evidence, DECIDES), score_table(evidence, OVERLAP[0]), found, "random_init"
    )
    assert best[0].verdict == "one split: nothing is known of training again"
    assert "1 split" in sentences(best, "UNet-RI")[1]


def test_another_reference_is_asked_for_by_label(tmp_path: Path) -> None:
    evidence = toy_evidence(tmp_path, with_files=False)
    assert reference_of(evidence, "UNet-DWP") == "deep_weight_prior" == reference_of(evidence, "dwp")
    with pytest.raises(InputError, match="did you mean"):
        reference_of(evidence, "UNet-DVP")


def test_examples_are_drawn_and_their_absence_is_said(
    written: Written, outline: Outline, tmp_path: Path
) -> None:
    figures = written.page.parent / "figures"
    for name in ("source_and_target", "predictions_m5", "predictions_m10", "dice_over_m", "learning_curves"):
        assert (figures / f"{name}.svg").read_text().startswith("<?xml")
        assert (figures / f"{name}.png").stat().st_size > 2_000
    assert "mean over weight draws (Bayesian methods)" in outline.text
    assert "Without an example slice: UNet-DWP." in outline.text  # at m = 10 it was never begun
    bare = write_page(toy_evidence(tmp_path / "none", with_files=False), tmp_path / "out")
    assert "No source and no target node keeps an example slice" in bare.page.read_text()


def test_one_method_alone_has_a_page_without_pairs(tmp_path: Path) -> None:
    rows = [row for row in toy_evidence(tmp_path).rows if row.labels.get("method") == "deep_weight_prior"]
    page = write_page(toy_evidence(tmp_path, rows=rows, parent=Parent()), tmp_path / "out").page.read_text()
    assert "There are no pairs of finished networks" in page and "The parent run holds no versions" in page


def test_a_page_without_anything_finished_is_still_a_page(tmp_path: Path) -> None:
    rows = [replace(row, state="running", metrics={}) for row in toy_evidence(tmp_path).rows]
    evidence = toy_evidence(tmp_path, with_files=False, rows=rows, parent=Parent())
    page = write_page(evidence, tmp_path / "out").page.read_text()
    assert "Nothing has finished yet." in page and "No finished network has test scores yet." in page
    # Two upstream nodes, fourteen targets and two without a run: folded behind the first twelve.
    assert "and 6 more" in page


def test_settings_versions_and_commands_are_there(outline: Outline) -> None:
    for words in (
        "target.rescale", "torch", "2.9.0", "Commit c0ffee+ with changes on top", "dwp-sweep run toy.yaml",
        "dwp-sweep report 'toy & co' --out DIR", "1.0 h",
    ):  # fmt: skip
        assert words in outline.text, words


def test_a_colour_belongs_to_one_method(tmp_path: Path) -> None:
    columns = {f"v{place}": f"variant {place}" for place in range(14)}
    looks = styles(columns, "v3")
    assert len({(look.colour, str(look.dash)) for look in looks.values()}) == 14
    assert looks["v3"].colour not in {look.colour for name, look in looks.items() if name != "v3"}


def test_the_page_s_pictures_follow_the_theme_and_the_files_stay_white(written: Written) -> None:
    svg = '<svg width="1"><path style="fill: #22252b; stroke: #6b7280"/><path style="fill: #0072b2"/></svg>'
    found = themed(svg)
    assert 'style="fill: var(--c0); stroke: var(--c1)"' in found and 'style="fill: #0072b2"' in found
    assert "prefers-color-scheme:dark" in found
    assert 'fill="#ffffff"' in (written.page.parent / "figures" / "dice_over_m.svg").read_text()


def test_equal_evidence_gives_equal_figures(written: Written, tmp_path: Path) -> None:
    again = write_page(toy_evidence(tmp_path / "nodes"), tmp_path / "out")
    for name in ("dice_over_m.svg", "predictions_m5.svg"):
        assert (again.page.parent / "figures" / name).read_bytes() == (
            written.page.parent / "figures" / name
        ).read_bytes()


def test_what_the_grid_asks_for_and_mlflow_lacks_is_found() -> None:
    done = NodeRow("k", "target", "done", {"method": "fine_tune", "train_size": 5, "split": 0, "seed": 0})
    found = missing_targets([done], SETTINGS)
    assert len(found) == 15 and all(row.state == "missing" for row in found)
    variants = {"grid": {"variant": {"A": {"method": "fine_tune"}, "B": {"method": "fine_tune"}}}}
    variants["fixed"] = {"train_size": 5}  # type: ignore[assignment]
    shared = NodeRow("k", "target", "done", {"method": "fine_tune", "variant": "A | C", "train_size": 5})
    assert [row.labels["variant"] for row in missing_targets([shared], variants)] == ["B"]
    assert missing_targets([done], {**SETTINGS, "search": {}}) == [] == missing_targets([done], {})


def test_a_sweep_without_targets_has_nothing_to_report(tmp_path: Path) -> None:
    rows = [NodeRow("s", "source", "done", {"seed": 0})]
    with pytest.raises(InputError, match="nothing to report"):
        toy_evidence(tmp_path, with_files=False, rows=rows, parent=Parent())


def test_a_sweep_in_which_all_failed_is_still_a_page(tmp_path: Path) -> None:
    labels = {"method": "fine_tune", "train_size": 5, "split": 0, "seed": 0}
    rows = [NodeRow("k", "target", "failed", labels, {}, {}, run_id="r", error="no memory")]
    found = write_page(
        toy_evidence(tmp_path / "n", with_files=False, rows=rows, parent=Parent()), tmp_path / "o"
    )
    text = found.page.read_text()
    assert "No finished network has a validation score yet" in text and "split 0: failed: no memory" in text


def test_calibration_scores_are_lower_is_better() -> None:
    assert all(score.lower_is_better for score in CALIBRATION if score.name != "temperature")
