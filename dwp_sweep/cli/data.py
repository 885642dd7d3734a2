"""``dwp-sweep data check | phantom``: look at scans before anything trains, or make some."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dwp_sweep.cli import options
from dwp_sweep.cli.exits import BAD_INPUT, place, remark
from dwp_sweep.errors import InputError, Problem

if TYPE_CHECKING:
    from dwp_sweep.data.config import DatasetConfig

_PICTURES = (".png", ".jpg", ".pdf", ".svg")
_PREPROCESS = ("orientation", "spacing_mm", "shape", "window", "crop_foreground")
"""Options that stand in the section ``preprocess`` of a data set."""


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
    required=True,
    type=click.Choice(["msd", "brats", "brats18", "ms", "pairs"]),
    help="msd: dataset.json; brats: any edition (brats18 is the same); ms: a folder a patient; "
    "pairs: a CSV of image, mask, subject.",
)
@click.option(
    "--labels", callback=_integers, metavar="1,2", help="Labels that are foreground.  [default: all above 0]"
)
@click.option(
    "--label-set", callback=_integers, metavar="0,1,2", help="Values that a mask may hold, to find others."
)
@click.option("--subjects", metavar="0:90", help="A range over the sorted ids, or ids with commas between.")
@click.option(
    "--image-pattern",
    callback=_words,
    metavar="GLOB,...",
    help="Layout ms: which file is the image; several are input channels.",
)
@click.option("--mask-pattern", metavar="GLOB", help="Layout ms: which file is the mask.")
@click.option("--channel", callback=_integers, metavar="0,1", help="Which volumes of 4D images, from 0.")
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
@click.pass_context
def check(ctx: click.Context, /, path: Path, picture: Path | None, as_json: bool, **settings: Any) -> None:
    """Read every scan of a folder, show what is in it, and list all of its problems at once.

    Options below --modality are those of the preprocess section of a search space.
    """
    from dwp_sweep.cli.check_report import check_as_json, draw_overview, show_check
    from dwp_sweep.cli.terminal import scan_bar
    from dwp_sweep.data.check.check import check_dataset

    config = dataset_config(path, settings)
    with scan_bar() as bar:
        report = check_dataset(config, partial(bar, f"checking {path}") if bar is not None else None)
    if as_json:
        click.echo(check_as_json(report))
    else:
        show_check(report, path)
    if picture is not None and not report.problems:
        draw_overview(config, report, picture)
        remark(f"picture: {picture}")
    ctx.exit(BAD_INPUT if report.problems else 0)


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), callback=place)
@click.option(
    "--kind", type=click.Choice(["source", "target"]), required=True, help="Which of the two diseases."
)
@click.option("--n-subjects", type=click.IntRange(min=1), help="How many subjects.  [default: 40]")
@click.option("--shape", callback=_integers, metavar="32,32,32", help="Voxels of each volume.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same scans.  [default: 0]")
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
    click.echo(f"{config.n_subjects} subjects in {folder}; look at them with:")
    click.echo(f"  dwp-sweep data check {folder} --layout msd --picture {folder}.png")


def dataset_config(path: Path, settings: dict[str, Any]) -> DatasetConfig:
    """The data set that the options describe.

    Raises:
        InputError: No such CSV, or every option whose value is not allowed.
    """
    from dwp_sweep.data.config import DatasetConfig
    from dwp_sweep.strict import parse

    if settings.get("layout") == "pairs" and not path.exists():
        fix = "give the CSV, or the folder that holds it as pairs.csv"
        raise InputError(Problem(str(path), "there is no such file", fix))
    values = {**_given(settings), "root": str(path)}
    values["preprocess"] = {name: values.pop(name) for name in _PREPROCESS if name in values}
    subjects = values.get("subjects")
    if subjects and ":" not in subjects:
        values["subjects"] = [name.strip() for name in subjects.split(",")]
    return parse(DatasetConfig, values, "dwp-sweep data check")


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
