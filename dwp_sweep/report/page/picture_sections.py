"""Sections of a report made of pictures: Dice over m, predictions, kernels, learning curves."""

from __future__ import annotations

from dwp_sweep.report.answers.scores import DECIDES, OVERLAP
from dwp_sweep.report.page.charts import curve_chart, size_chart
from dwp_sweep.report.page.html import Section, details, esc, paragraph
from dwp_sweep.report.page.kernels_picture import PriorSet, kernels_picture, old_pictures, prior_sets
from dwp_sweep.report.page.pictures import (
    example_sizes,
    method_examples,
    predictions_picture,
    source_example,
    tasks_picture,
)
from dwp_sweep.report.page.score_tables import score_table
from dwp_sweep.report.page.workshop import ReportBuilder

_OLD = "they were built by an older version of this project, or brought. Nodes built anew keep one."


def size_section(shop: ReportBuilder) -> Section:
    """Test Dice over m (Figure 4), validation Dice folded below."""
    test, validation = score_table(shop.evidence, OVERLAP[0]), score_table(shop.evidence, DECIDES)
    body = (
        shop.show(size_chart(test, shop.looks, "dice_over_m"))
        if test
        else paragraph("No finished network has a test Dice yet.", "absent")
    )
    if validation:
        chart = shop.show(size_chart(validation, shop.looks, "validation_dice_over_m"))
        body += details("The same for validation Dice, which decides", chart)
    return Section("sizes", "More training scans", body)


def examples_section(shop: ReportBuilder) -> Section:
    """Source and target with truth (Figure 3), predictions and uncertainty (Figure 6)."""
    evidence, parts = shop.evidence, []
    found = {size: method_examples(evidence, size) for size in example_sizes(evidence.sizes)}
    target = next((one for _, examples in found.values() for one in examples.values()), None)
    source = source_example(evidence)
    tasks = tasks_picture(source, target)
    parts.append(shop.show(tasks) if tasks else "")
    lacking = [name for name, one in (("source", source), ("target", target)) if one is None]
    if lacking:
        parts.append(
            paragraph(f"No {' and no '.join(lacking)} node keeps an example slice: {_OLD}", "absent")
        )
    for size, (repeat, examples) in reversed(found.items()):
        if repeat is None:
            continue
        parts.append(
            f"<h3>m = {size}</h3>" + shop.show(predictions_picture(evidence, size, repeat, examples))
        )
        absent = [label for name, label in evidence.columns.items() if name not in examples]
        if absent:
            parts.append(paragraph(f"Without an example slice: {', '.join(absent)}.", "note"))
    return Section("examples", "Predictions", "".join(parts))


def kernels_section(shop: ReportBuilder) -> Section | None:
    """Kernels beside samples of each prior (Figure 5); None where no shown method has a prior."""
    sets = prior_sets(shop.evidence)
    if not sets:
        return None
    parts = [_prior(shop, one, place) for place, one in enumerate(sets)]
    first, *others = parts
    more = "".join(
        details(f"Another set of priors: {sets[place].title}", body) for place, body in enumerate(others, 1)
    )
    title = f"<h3>{esc(sets[0].title)}</h3>" if others and sets[0].title else ""
    return Section("kernels", "Kernels and their prior", title + first + more)


def curves_section(shop: ReportBuilder) -> Section:
    """Learning curves."""
    found = curve_chart(shop.evidence, shop.looks)
    text = "MLflow has no metrics by epoch of these networks."
    return Section("curves", "Learning curves", shop.show(found) if found else paragraph(text, "absent"))


def _prior(shop: ReportBuilder, found: PriorSet, place: int) -> str:
    name = "kernels_and_samples" + (f"_{place + 1}" if place else "")
    picture = kernels_picture(shop.evidence, found, name)
    if picture is not None:
        return shop.show(picture)
    old = old_pictures(shop.evidence, found)
    if not old:
        return paragraph(
            "These priors keep no kernels to show: they were brought, or built without figures.", "absent"
        )
    shown = "".join(
        shop.show_png(f"{name}_group{number}", content, title)
        for number, (title, content) in enumerate(old, 1)
    )
    return f'<div class="pair">{shown}</div>'
