"""Sections of a report as plain values; ``templates/<anchor>.html`` beside this file draws each of them.

What a section always says stands in its template, what depends on the sweep is formed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dwp_sweep.errors import InputError
from dwp_sweep.report.answers.ensembles import ensemble_table
from dwp_sweep.report.answers.in_scans import scans_table
from dwp_sweep.report.answers.paper_table import cell_of
from dwp_sweep.report.answers.runs import validation_counts
from dwp_sweep.report.answers.scores import (
    BOUNDARY,
    BY_CLASS,
    CALIBRATION,
    DECIDES,
    OTHER_TESTED,
    OVERLAP,
    Score,
    classes_of,
)
from dwp_sweep.report.answers.spread import spread_notes
from dwp_sweep.report.page.answer import Winner, winners_table
from dwp_sweep.report.page.builder import ReportBuilder, ShownTable
from dwp_sweep.report.page.charts import curve_chart, forest_picture, size_chart
from dwp_sweep.report.page.comparisons import (
    MAX_PAIRED,
    Comparisons,
    compare,
    comparisons_csv,
    comparisons_latex,
    comparisons_table,
)
from dwp_sweep.report.page.cost_and_settings import commands, cost_by_method, cost_by_stage, settings_tables
from dwp_sweep.report.page.evidence import Evidence
from dwp_sweep.report.page.pictures import (
    PriorSet,
    example_sizes,
    kernels_picture,
    method_examples,
    old_pictures,
    predictions_picture,
    prior_sets,
    source_example,
    tasks_picture,
)
from dwp_sweep.report.page.score_tables import ScoreTable, common_table, score_table
from dwp_sweep.tables import left, plain_table


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id, and the name of its template.
        title: Heading, and its name in the list of contents.
        data: What the template shows.
    """

    anchor: str
    title: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class ScoreBlock:
    """The table of one score.

    Attributes:
        shown: Over all scans.
        about: What the score is.
        is_uneven: Whether methods leave out different scans.
        common: The same over the scans that all methods have, where they do and there are any.
    """

    shown: ShownTable
    about: str
    is_uneven: bool
    common: ShownTable | None


def sections_of(builder: ReportBuilder, best: Sequence[Winner], comparisons: Comparisons) -> list[Section]:
    """All sections in order; figures are numbered as they come.

    Args:
        builder: Of the report.
        best: Who is best by validation at each size.
        comparisons: The paired tests of Dice.
    """
    curves = curve_chart(builder.evidence, builder.looks)
    winners = ShownTable(winners_table(best, builder.reference_label)) if best else None
    return [
        Section("answer", "Answer", {"winners": winners}),
        _test_scores(builder),
        _sizes(builder),
        _tests(builder, comparisons, OVERLAP[0]),
        _examples(builder),
        *_kernels(builder),
        Section("curves", "Learning curves", {"curves": builder.figure(curves) if curves else None}),
        Section("calibration", "Calibration", {"scores": _score_blocks(builder, CALIBRATION)}),
        _cost(builder.evidence),
        _settings(builder.evidence),
    ]


def missing_lines(evidence: Evidence) -> tuple[list[str], list[str]]:
    """(What is missing or failed, cells and upstream nodes; what was chosen among configurations)."""
    notes = [
        f"{label}, m = {size}: {word}"
        for size in evidence.sizes
        for name, label in evidence.columns.items()
        for word in cell_of(evidence.of(name, size), "test_dice", evidence.repeats)[1]
    ]
    chosen = [note for note in notes if "configurations by validation" in note]
    upstream = []
    for row in evidence.rows:
        if row.stage != "target" and row.state != "done":
            which = "".join(f" {name} {row.labels[name]}" for name in ("seed", "group") if name in row.labels)
            upstream.append(f"{row.stage}{which}: {row.state}" + (f": {row.error}" if row.error else ""))
    return [*upstream, *(note for note in notes if note not in chosen)], chosen


def _test_scores(builder: ReportBuilder) -> Section:
    """The paper's Tables 3 to 6 and their like."""
    notes = missing_lines(builder.evidence)[1]
    if n_val := validation_counts(builder.evidence.targets):
        # A user with m labelled scans does not have these: the table must not hide what m really costs.
        notes.append(f"Each network's epoch was chosen on {n_val} validation scans, labelled too.")
    notes += [f"{note[0].upper()}{note[1:]}." for note in spread_notes(builder.evidence.targets)]
    notes.append(
        "Bold: the best mean of its training size. n/N: only n of N runs are there; point at a cell."
    )
    ensembles = ensemble_table(builder.evidence.frame)
    data = {
        "overlap": _score_blocks(builder, OVERLAP),
        "boundary": _score_blocks(builder, BOUNDARY),
        "classes": _by_class(builder),
        "ensembles": ShownTable(ensembles) if ensembles else None,
        "notes": notes,
    }
    return Section("tables", "Test scores", data)


def _by_class(builder: ReportBuilder) -> list[dict[str, Any]]:
    """The tables of each class against all the rest."""
    return [
        {"name": name, "scores": _score_blocks(builder, [score.of_class(name) for score in BY_CLASS])}
        for name in classes_of({name for target in builder.evidence.targets for name in target.metrics})
    ]


def _score_blocks(builder: ReportBuilder, scores: Iterable[Score]) -> list[ScoreBlock]:
    blocks = []
    for score in scores:
        table = score_table(builder.evidence, score)
        if table is not None:
            common = common_table(builder.evidence, table) if table.is_uneven else None
            shown = _score(builder, table)
            on_common = _score(builder, common) if common else None
            blocks.append(ScoreBlock(shown, score.about, table.is_uneven, on_common))
    return blocks


def _score(builder: ReportBuilder, table: ScoreTable) -> ShownTable:
    return ShownTable(table.table(), builder.downloads(table.files()))


def _sizes(builder: ReportBuilder) -> Section:
    """Test Dice over m (Figure 4), validation Dice folded below; effects in labelled scans."""
    data: dict[str, Any] = {"in_scans": [], "refused": ""}
    for name, score, stem in (
        ("test", OVERLAP[0], "dice_over_m"),
        ("validation", DECIDES, "validation_dice_over_m"),
    ):
        table = score_table(builder.evidence, score)
        data[name] = builder.figure(size_chart(table, builder.looks, stem)) if table else None
    if builder.reference is not None:
        try:
            found = scans_table(builder.evidence.frame, builder.reference)
            data["in_scans"] = [ShownTable(table) for table in found.tables()]
        except InputError as error:
            data["refused"] = error.problems[0].what
    return Section("sizes", "More training scans", data)


def _tests(builder: ReportBuilder, comparisons: Comparisons, score: Score) -> Section:
    """Paired tests of Dice, and folded those of the other scores."""
    if not comparisons.rows:
        absent: dict[str, Any] = {"table": None, "missing": comparisons.missing, "others": []}
        return Section("tests", "Paired tests", absent)
    few = len(builder.evidence.columns) <= MAX_PAIRED
    title = f"{score.title}: {'every pair' if few else 'everything minus ' + builder.reference_label}"
    files = builder.downloads({
        "paired_tests.csv": comparisons_csv(comparisons),
        "paired_tests.tex": comparisons_latex(comparisons, title),
    })  # fmt: skip
    picture = forest_picture(comparisons, builder.reference_label)
    rank_biserial = (
        "Rank-biserial: the share of the rank sum in favour minus the share against, −1 to 1; subjects whose "
        "difference is 0 do not count. Bold: an "
        "interval over splits without 0; a corrected p of at most 0.05."
    )
    data = {
        "forest": builder.figure(picture) if picture else None,
        "table": ShownTable(comparisons_table(comparisons, title, score), files, is_dense=True),
        "notes": [*comparisons.notes, rank_biserial],
        "missing": comparisons.missing,
        "others": _other_tests(builder),
    }
    return Section("tests", "Paired tests", data)


def _other_tests(builder: ReportBuilder) -> list[dict[str, Any]]:
    """The same for the other scores: each corrected for its own comparisons."""
    evidence = builder.evidence
    there = {name for target in evidence.targets for name in target.metrics}
    of_classes = [OVERLAP[0].of_class(name) for name in classes_of(there)]
    scores = [score for score in (*of_classes, *OTHER_TESTED) if score.name in there]
    tested = [(score, compare(evidence, builder.reference, f"test_{score.by_scan}")) for score in scores]
    tested = [(score, comparisons) for score, comparisons in tested if comparisons.rows]
    if not tested:
        return []
    files = builder.downloads(
        {"paired_tests_other_scores.csv": comparisons_csv(*(table for _, table in tested))}
    )
    folded: list[dict[str, Any]] = []
    for score, comparisons in tested:
        sign = "negative" if score.lower_is_better else "positive"
        title = (
            f"{score.title}; {score.way}: a {sign} difference or rank-biserial is in favour of the first "
            "named"
        )
        n_shown = sum(row.is_shown_over_subjects for row in comparisons.rows)
        n = f"{n_shown} of {len(comparisons.rows)}"
        summary = f"{score.title}: {n} differences shown over subjects after correction"
        table = ShownTable(
            comparisons_table(comparisons, title, score), () if folded else files, is_dense=True
        )
        folded.append(
            {"summary": summary, "table": table, "notes": comparisons.notes, "missing": comparisons.missing}
        )
    return folded


def _examples(builder: ReportBuilder) -> Section:
    """Source and target with truth (Figure 3), predictions and uncertainty (Figure 6)."""
    evidence = builder.evidence
    shown = {size: method_examples(evidence, size) for size in example_sizes(evidence.sizes)}
    target = next((example for _, examples in shown.values() for example in examples.values()), None)
    source = source_example(evidence)
    tasks = tasks_picture(source, target)
    data: dict[str, Any] = {
        "tasks": builder.figure(tasks) if tasks else None,
        "lacking": [name for name, example in (("source", source), ("target", target)) if example is None],
        "sizes": [],
    }
    for size, (repeat, examples) in reversed(shown.items()):
        if repeat is not None:
            predictions = builder.figure(predictions_picture(evidence, size, repeat, examples))
            absent = [label for name, label in evidence.columns.items() if name not in examples]
            data["sizes"].append({"size": size, "predictions": predictions, "absent": absent})
    return Section("examples", "Predictions", data)


def _kernels(builder: ReportBuilder) -> list[Section]:
    """Kernels beside samples of each prior (Figure 5); none where no shown method has a prior."""
    sets = [_priors(builder, priors, place) for place, priors in enumerate(prior_sets(builder.evidence))]
    return [Section("kernels", "Kernels and their prior", {"sets": sets})] if sets else []


def _priors(builder: ReportBuilder, priors: PriorSet, place: int) -> dict[str, Any]:
    name = "kernels_and_samples" + (f"_{place + 1}" if place else "")
    picture = kernels_picture(builder.evidence, priors, name)
    old = old_pictures(builder.evidence, priors) if picture is None else []
    return {
        "title": priors.title,
        "figure": builder.figure(picture) if picture else None,
        "old": [
            builder.png(f"{name}_group{number}", content, title)
            for number, (title, content) in enumerate(old, 1)
        ],
    }


def _cost(evidence: Evidence) -> Section:
    """Hours by stage and by method."""
    tables = {"stages": ShownTable(cost_by_stage(evidence)), "methods": ShownTable(cost_by_method(evidence))}
    return Section("cost", "Cost", tables)


def _settings(evidence: Evidence) -> Section:
    """Settings that differ, settings shared, versions, and the commands that do it again."""
    differing, shared = settings_tables(evidence)
    environment = evidence.parent.environment
    versions = [item for item in environment.items() if item[0] not in ("command", "git_commit")]
    table = ShownTable(plain_table(left("package", "version"), versions, "Versions")) if versions else None
    data = {
        "differing": ShownTable(differing),
        "shared": ShownTable(shared),
        "versions": table,
        "commit": environment.get("git_commit", ""),
        "commands": commands(evidence),
    }
    return Section("settings", "Settings and versions", data)
