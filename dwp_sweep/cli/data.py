"""``dwp-sweep data check | phantom``: look at scans before anything trains, or make some.

The check shows a table of the subjects and its sum, then problems and warnings; on request a picture.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import BAD_INPUT, place, remark, say
from dwp_sweep.errors import InputError, Problem, visible

if TYPE_CHECKING:
    from rich.table import Table

    from dwp_sweep.data.check.check import CheckReport
    from dwp_sweep.data.config import DatasetConfig

_PICTURES = (".png", ".jpg", ".pdf", ".svg")
_PREPROCESS = ("orientation", "spacing_mm", "shape", "window", "crop_foreground")
"""Options that stand in the section ``preprocess`` of a data set."""
LAYOUTS = ("msd", "nnunet", "bids", "brats", "brats18", "ms", "pairs")
_SPACES = (".yaml", ".yml")
"""Endings of search spaces."""
_N_IN_PICTURE = 6
_MAX_KINDS = 4


@click.group()
def data() -> None:
    """Check a folder of scans, or generate one."""


def _numbers(
    context: click.Context, parameter: click.Parameter, value: str | None, whole: bool = False
) -> tuple[float, ...] | None:
    """Read ``"-200,250"`` as ``(-200.0, 250.0)``."""
    try:
        return None if value is None else tuple((int if whole else float)(part) for part in value.split(","))
    except ValueError:
        kind = "whole numbers" if whole else "numbers"
        message = f"{value!r} is not {kind} with commas between, such as {parameter.metavar}"
        raise click.BadParameter(message) from None


_integers = partial(_numbers, whole=True)


def _words(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Read ``"t2,flair"`` as ``("t2", "flair")``."""
    return None if value is None else tuple(part.strip() for part in value.split(","))


def _classes(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dict[str, list[int]] | None:
    """Read ``"core=1,4 oedema=2"`` as ``{"core": [1, 4], "oedema": [2]}``."""
    if value is None:
        return None
    try:
        pairs = [part.split("=") for part in value.split()]
        return {name: [int(label) for label in labels.split(",")] for name, labels in pairs}
    except ValueError:
        message = f"{value!r} is no list of classes with their labels, such as {parameter.metavar}"
        raise click.BadParameter(message) from None


def _picture(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file type that cannot be drawn, before scans are read for minutes."""
    if value is not None and value.suffix.lower() not in _PICTURES:
        raise click.BadParameter(f"{str(value)!r} must end in {', '.join(_PICTURES)}")
    place(context, parameter, value)
    return value


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help="Of a folder. msd and nnunet: dataset.json; bids: names of BIDS; brats: any edition; ms: a folder a "
    "patient; pairs: a CSV of image, mask, subject.  [default: told by the files' names]",
)
@click.option(
    "--labels", callback=_integers, metavar="1,2", help="Labels that are foreground.  [default: all above 0]"
)
@click.option(
    "--classes",
    callback=_classes,
    metavar="'core=1,4 oedema=2'",
    help="Classes to tell apart, in place of --labels.",
)
@click.option(
    "--label-set", callback=_integers, metavar="0,1,2", help="Values that a mask may hold, to find others."
)
@click.option("--subjects", metavar="0:90", help="A range over the sorted ids, or ids with commas between.")
@click.option(
    "--patients",
    metavar="REGEX",
    help="Which ids are of one patient: a pattern with one group, or scan: each is its own.  [default: auto]",
)
@click.option(
    "--image-pattern",
    callback=_words,
    metavar="GLOB,...",
    help="Layouts ms, bids: which file is the image; several are input channels.",
)
@click.option("--mask-pattern", metavar="GLOB", help="Layouts ms, bids: which file is the mask.")
@click.option(
    "--channel",
    callback=_integers,
    metavar="0,1",
    help="Which volumes of 4D images, or channels of nnunet, from 0.",
)
@click.option(
    "--modality",
    callback=_words,
    metavar="t2,flair",
    help="Layout brats: which modality; several are input channels.  [default: t2]",
)
@click.option(
    "--orientation", metavar="RAS", help="Where the axes of the network's input point.  [default: RAS]"
)
@click.option(
    "--spacing", "spacing_mm", callback=_numbers, metavar="1,1,1", help="Resample to this voxel size."
)
@click.option(
    "--shape", callback=_integers, metavar="152,184,144", help="Crop or pad to this; tells what is lost."
)
@click.option("--window", callback=_numbers, metavar="-200,250", help="CT: clip to these Hounsfield units.")
@click.option(
    "--crop-foreground/--no-crop-foreground",
    default=None,
    help="Crop to the patient before --shape does.  [default: on]",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PNG",
    callback=_picture,
    help="Draw slices with the mask's outline.",
)
@options.as_json
@options.overrides
@options.smoke
@options.storage
@click.pass_context
def check(
    ctx: click.Context,
    /,
    path: Path,
    picture: Path | None,
    as_json: bool,
    overrides: tuple[str, ...],
    smoke: bool,
    storage: str | Path,
    **settings: Any,
) -> None:
    """Read every scan of a folder, show what is in it, and list all of its problems at once.

    Of a search space (a YAML file) it checks source and target as a run would, scans in both among it; --set,
    --smoke and --storage belong to it. Options from --orientation to --crop-foreground are those of the
    preprocess section of a search space.
    """
    from dwp_sweep.cli.terminal import scan_bar
    from dwp_sweep.data.check.check import check_dataset

    if path.suffix in _SPACES:
        _check_space(ctx, path, overrides, smoke, storage, {**settings, "picture": picture})
        return
    config = dataset_config(path, settings)
    with scan_bar() as bar:
        report = check_dataset(config, partial(bar, f"checking {path}") if bar is not None else None)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1, default=str))
    else:
        _show_check(report, path)
    if picture is not None and not report.problems:
        _draw_overview(config, report, picture)
        remark(f"picture: {picture}")
    ctx.exit(BAD_INPUT if report.problems else 0)


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), callback=place)
@click.option(
    "--kind", type=click.Choice(["source", "target"]), required=True, help="Which of the two diseases."
)
@click.option("--n-subjects", type=click.IntRange(1, 100_000), help="How many subjects.  [default: 40]")
@click.option("--shape", callback=_integers, metavar="32,32,32", help="Voxels of each volume.")
@click.option("--seed", type=options.SEED, help="The same seed gives the same scans.  [default: 0]")
def phantom(folder: Path, **settings: Any) -> None:
    """Write a generated data set (NIfTI, MSD layout) into a folder.

    source: many small bright lesions, FLAIR-like, thick slices. target: one large lesion with oedema,
    T2-like, isotropic.
    """
    from dwp_sweep.data.config import PhantomConfig
    from dwp_sweep.data.phantom.dataset import write_phantom
    from dwp_sweep.strict import parse

    config = parse(PhantomConfig, _given(settings), "dwp-sweep data phantom")
    write_phantom(config, folder)
    say(f"{config.n_subjects} subjects in {folder}; look at them with:")
    say(f"  dwp-sweep data check {folder} --picture {folder}.png")


def _check_space(
    ctx: click.Context,
    path: Path,
    overrides: tuple[str, ...],
    smoke: bool,
    storage: str | Path,
    settings: dict[str, Any],
) -> None:
    from dwp_sweep.api.planning import plan_sweep
    from dwp_sweep.cli.terminal import scan_bar

    if given := sorted(_given(settings)):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names}: of a folder; a search space says it itself, or by --set", ctx)
    with scan_bar() as bar:
        plan_sweep(path, storage, smoke, overrides, say=remark, checking=bar)
    say(f"{path}: its scans are ready to use")


def dataset_config(path: Path, settings: dict[str, Any]) -> DatasetConfig:
    """The data set that the options describe, with the layout of its folder.

    Raises:
        InputError: No such CSV, no layout that is known, or every option whose value is not allowed.
    """
    from dwp_sweep.data.config import DatasetConfig
    from dwp_sweep.data.layouts import resolved
    from dwp_sweep.strict import parse

    if settings.get("layout") == "pairs" and not path.exists():
        fix = "give the CSV, or the folder that holds it as pairs.csv"
        raise InputError(Problem(str(path), "there is no such file", fix))
    values = {**_given(settings), "root": str(path)}
    values["preprocess"] = {name: values.pop(name) for name in _PREPROCESS if name in values}
    subjects = values.get("subjects")
    if subjects and ":" not in subjects:
        values["subjects"] = [name.strip() for name in subjects.split(",")]
    return resolved(parse(DatasetConfig, values, "dwp-sweep data check"))


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _show_check(report: CheckReport, path: Path) -> None:
    """Print the table to standard output, a summary, then every warning and problem, then the verdict."""
    from dwp_sweep.cli.terminal import print_line, standard_output

    console = standard_output()
    if report.subjects:
        console.print(_table(report), soft_wrap=True)
        for line in _summary_lines(report):
            print_line(console, line)
    for problem in report.warnings:
        print_line(console, ("warning", "yellow"), f" {problem}")
    for problem in report.problems:
        print_line(console, ("problem", "red"), f" {problem}")
    subjects = _count(len(report.subjects), "subject")
    if report.problems:
        n_problems = _count(len(report.problems), "problem")
        verdict = f"not usable as it is: {n_problems}, {subjects} without any"
    else:
        n_suspicious = sum(bool(row.suspicions) for row in report.subjects)
        verdict = f"{subjects}, ready to use"
        verdict += f", {n_suspicious} of them worth a look" if n_suspicious else ""
    print_line(console, f"{path}: {verdict}", style="bold red" if report.problems else "bold green")


def _summary_lines(report: CheckReport) -> list[str]:
    """What the subjects have in common: shapes, voxel sizes and labels with their counts, foreground."""
    rows = report.subjects
    shares = sorted(row.foreground_share for row in rows)
    channels = _count(rows[0].input_shape[0], "channel")
    lines = {
        "voxels": _shapes([row.shape for row in rows]),
        "mm": _counted(_joined(row.spacing_mm, "{:.3g}") for row in rows),
        "axes": _counted(row.orientation for row in rows),
        "labels": _counted(",".join(map(str, row.labels)) for row in rows),
        "foreground": f"{shares[0]:.2%} to {shares[-1]:.2%}, median {median(shares):.2%}",
        "input": f"{channels} of {_shapes([row.input_shape[1:] for row in rows])}",
    }
    if report.n_patients < len(rows):
        lines["patients"] = f"{report.n_patients}, some with several scans"
    return [f"{name:<11}{text}" for name, text in lines.items()]


def _draw_overview(config: DatasetConfig, report: CheckReport, picture: Path) -> None:
    """Draw slices of some subjects as training gets them, suspicious ones first, with the mask's outline."""
    from dwp_sweep.data.cache.cases import load_cases
    from dwp_sweep.data.check.overview import write_overview
    from dwp_sweep.data.layouts import list_subjects

    rows = sorted(report.subjects, key=lambda row: not row.suspicions)[:_N_IN_PICTURE]
    subjects = {subject.id: subject for subject in list_subjects(config)}
    with tempfile.TemporaryDirectory(prefix="dwp_sweep_") as cache:
        cases = load_cases(config, [subjects[row.id] for row in rows], Path(cache))
        picture.parent.mkdir(parents=True, exist_ok=True)
        notes = {
            row.id: "\n".join([f"{row.foreground_share:.2%} foreground", *row.suspicions]) for row in rows
        }
        title = f"{config.root}: {len(rows)} of {_count(len(report.subjects), 'subject')}"
        write_overview(cases, picture, title, notes, config.preprocess.orientation)


def _table(report: CheckReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("subject", overflow="fold")
    for name in ("voxels", "mm", "orientation", "foreground", "labels"):
        table.add_column(name, justify="right", no_wrap=True)
    if any(row.suspicions for row in report.subjects) or report.unusable:
        table.add_column("look at", overflow="fold")
    rows: dict[str, list[str | Text]] = {
        row.id: [
            visible(row.id, one_line=True),
            _joined(row.shape, "{:d}"),
            _joined(row.spacing_mm, "{:.3g}"),
            row.orientation,
            f"{row.foreground_share:.2%}",
            ",".join(map(str, row.labels)),
            Text(visible(", ".join(row.suspicions), one_line=True), "yellow"),
        ]
        for row in report.subjects
    }
    for name, problems in report.unusable.items():
        n_problems = Text(f"{_count(len(problems), 'problem')}, below", "red")
        rows[name] = [visible(name, one_line=True), *[""] * 5, n_problems]
    for name in sorted(rows):
        table.add_row(*rows[name][: len(table.columns)])
    return table


def _joined(numbers: Sequence[float], form: str) -> str:
    return "x".join(form.format(number) for number in numbers)


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """Few kinds one by one, many as the smallest and largest number of each axis."""
    if len(set(shapes)) <= _MAX_KINDS:
        return _counted(_joined(shape, "{:d}") for shape in shapes)
    axes = list(zip(*shapes, strict=True))
    least, most = [min(axis) for axis in axes], [max(axis) for axis in axes]
    return f"{_joined(least, '{:d}')} to {_joined(most, '{:d}')}"


def _counted(texts: Iterable[str]) -> str:
    """The different texts, the most frequent first, with how often each is there."""
    counts = Counter(texts).most_common()
    shown = ", ".join(f"{text} ({n})" for text, n in counts[:_MAX_KINDS])
    return shown + (f" and {len(counts) - _MAX_KINDS} more" if len(counts) > _MAX_KINDS else "")


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
