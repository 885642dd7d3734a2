"""Data sets of a sweep before its nodes get keys: phantom written, files checked, content fingerprinted.

Reading every scan costs minutes on large data sets. What the check prepares is what training reads: it
goes into the cache. What was found in a scan is remembered by its content, a clean check of a whole set by
the set's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.config.experiment import ExperimentConfig, method_settings
from dwp_sweep.data.cache.memory import dataset_fingerprint
from dwp_sweep.data.check.check import CHECK_VERSION, check_dataset, shared_scan_warnings
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.layouts import Listing, list_subjects, scan_layout
from dwp_sweep.data.patches import PatchConfig, partly_padding, too_large
from dwp_sweep.data.phantom.dataset import ensure_phantom
from dwp_sweep.data.splits import enough_problems
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.methods import METHODS
from dwp_sweep.store.record import write_json
from dwp_sweep.strict import keyed_values

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PreparedData:
    """The data sets of a sweep, ready for keys.

    Attributes:
        datasets: As written -> with root and fingerprint filled in.
        warnings: What is legal, but worth a look (empty masks, scans that serve both tasks).
    """

    datasets: Mapping[DatasetConfig, DatasetConfig]
    warnings: tuple[str, ...]


@dataclass
class _WantedDataset:
    """What the conditions ask of one data set; of a source data set neither sizes nor splits."""

    train_sizes: set[int] = field(default_factory=set)
    splits: set[int] = field(default_factory=set)
    patches: set[PatchConfig] = field(default_factory=set)


@dataclass(frozen=True)
class _Checked:
    """What reading all scans found; the shapes are those of the prepared volumes."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class _Task:
    """A data set and the key that it stands under: the two tasks may share a folder."""

    key: str
    dataset: DatasetConfig


def prepare_datasets(
    conditions: Sequence[ExperimentConfig],
    storage: Path,
    progress: Progress | None = None,
    others: Sequence[Problem] = (),
) -> PreparedData:
    """Find, check and fingerprint every data set that the conditions read.

    Args:
        conditions: Of the sweep.
        storage: Root of the storage: phantom data, caches and remembered checks.
        progress: Called with (what, done, total) while files are read.
        others: Problems that the sweep has already. With any, folders are listed and subjects counted,
            but no scan is read: nobody waits minutes to hear of a mistyped path.

    Raises:
        InputError: With the problems of all data sets, and the others, together.
    """
    prepared: dict[DatasetConfig, DatasetConfig] = {}
    warnings: list[str] = []
    problems = list(others)
    for task, wanted in _wanted(conditions).items():
        config = _with_absolute_paths(ensure_phantom(task.dataset, storage))
        try:
            if others:
                problems += _located(_listing_problems(config, wanted), task.key, config)
                continue
            prepared[task.dataset], checked = _prepare(
                config, wanted, storage, _named(progress, task.key, config)
            )
            warnings += [f"{task.key}: {warning}" for warning in checked.warnings]
            of_patches = _of_patches(task, wanted, checked)
            problems += of_patches.problems
            warnings += of_patches.warnings
        except InputError as error:
            problems += _located(error.problems, task.key, config)
    if problems:
        raise InputError(dict.fromkeys(problems))
    return PreparedData(prepared, tuple(dict.fromkeys([*warnings, *_shared_scans(conditions, prepared)])))


def _wanted(conditions: Sequence[ExperimentConfig]) -> dict[_Task, _WantedDataset]:
    wanted: dict[_Task, _WantedDataset] = {}
    for condition in conditions:
        if condition.data.source is not None and _trains_sources(condition):
            source = wanted.setdefault(_Task("data.source", condition.data.source), _WantedDataset())
            source.patches.add(condition.source.patch)
        target = wanted.setdefault(_Task("data.target", condition.data.target), _WantedDataset())
        target.train_sizes.add(condition.train_size)
        target.splits.add(condition.split)
        target.patches.add(condition.target.patch)
    return wanted


def _trains_sources(condition: ExperimentConfig) -> bool:
    needs = METHODS[condition.method].needs(method_settings(condition))
    has_priors = condition.prior.path is not None or condition.harvest.bank is not None
    return condition.source.network is None and ("source" in needs or ("priors" in needs and not has_priors))


def _of_patches(task: _Task, wanted: _WantedDataset, checked: _Checked) -> _Checked:
    """What the volumes' shapes say of the patches that the conditions want of them."""
    key = f"{task.key.removeprefix('data.')}.patch"
    problems: list[Problem] = []
    warnings: list[str] = []
    for patch in sorted(wanted.patches, key=str) if checked.shapes else ():
        too_large_ones = too_large(patch, checked.shapes, key)
        problems += too_large_ones
        if not too_large_ones:
            warnings += map(str, partly_padding(patch, checked.shapes, key))
    return _Checked(tuple(problems), tuple(warnings))


def _located(problems: Sequence[Problem], key: str, config: DatasetConfig) -> list[Problem]:
    """The problems with the key of their data set; the exact key where the path itself is wrong."""

    def place(where: str) -> str:
        if where == "root":
            return f"{key}.root"
        if where == config.root and not Path(where).exists():
            return f"{key}.root: {where}"
        if config.split_file is not None and where.startswith(config.split_file):
            return f"{key}.split_file: {where}"
        return f"{key}: {where}"

    return [Problem(place(one.where), one.what, one.fix) for one in problems]


def _named(progress: Progress | None, key: str, config: DatasetConfig) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if progress is not None:
            progress(f"checking {key} {config.root}", done, total)

    return show


def _prepare(
    config: DatasetConfig, wanted: _WantedDataset, storage: Path, show: Callable[[int, int], None]
) -> tuple[DatasetConfig, _Checked]:
    """The data set with its fingerprint, and what was read; all that is wrong with it is told together."""
    listing = scan_layout(config)
    problems = _too_few(listing, config, wanted)
    try:
        if listing.problems:
            raise InputError(listing.problems)
        fingerprint = dataset_fingerprint(config, listing.subjects, storage / "cache")
    except InputError as error:
        # The folder is wrong already: look at its scans as well, so that all its problems are told at once.
        found = (*problems, *check_dataset(config, show, storage / "cache").problems)
        raise InputError(found or error.problems) from None
    config = config.model_copy(update={"fingerprint": fingerprint})
    needs_shapes = any(one.shape for one in wanted.patches)
    checked = _check_once(config, storage / "cache", show, needs_shapes)
    if problems or checked.problems:
        raise InputError((*problems, *checked.problems))
    return config, checked


def _listing_problems(config: DatasetConfig, wanted: _WantedDataset) -> list[Problem]:
    listing = scan_layout(config)
    return [*_too_few(listing, config, wanted), *listing.problems]


def _too_few(listing: Listing, config: DatasetConfig, wanted: _WantedDataset) -> list[Problem]:
    # Incomplete subjects count: once mended, they are there. Where none is, the listing says why.
    if not listing.ids:
        return []
    sizes, splits = sorted(wanted.train_sizes), sorted(wanted.splits) or None
    return list(enough_problems(listing.ids, config, sizes, splits))


def _with_absolute_paths(config: DatasetConfig) -> DatasetConfig:
    # Workers run elsewhere: a path relative to the user's folder means nothing there.
    paths = {"root": config.root, "split_file": config.split_file}
    return config.model_copy(
        update={
            name: str(Path(path).expanduser().resolve()) for name, path in paths.items() if path is not None
        }
    )


def _check_once(
    config: DatasetConfig, cache_dir: Path, show: Callable[[int, int], None], needs_shapes: bool
) -> _Checked:
    """What a check of every scan finds; a clean one of the same files is remembered."""
    asked = json.dumps([CHECK_VERSION, keyed_values(config)], sort_keys=True)
    identity = hashlib.sha256(asked.encode()).hexdigest()[:20]
    path = cache_dir / "checks" / f"{identity}.json"
    if path.is_file():
        known = json.loads(path.read_text())
        if not needs_shapes or "shapes" in known:  # older ones were remembered without
            return _Checked((), tuple(known["warnings"]), tuple(map(tuple, known.get("shapes", ()))))
    report = check_dataset(config, show, cache_dir)
    warnings = tuple(str(warning) for warning in report.warnings)
    shapes = tuple(row.input_shape[1:] for row in report.subjects)
    if not report.problems:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"root": config.root, "warnings": warnings, "shapes": shapes})
    return _Checked(report.problems, warnings, shapes)


def _shared_scans(
    conditions: Sequence[ExperimentConfig], prepared: Mapping[DatasetConfig, DatasetConfig]
) -> list[str]:
    pairs = {(one.data.source, one.data.target) for one in conditions if one.data.source in prepared}
    found: list[Problem] = []
    for source, target in pairs:
        assert source is not None
        found += shared_scan_warnings(list_subjects(prepared[source]), list_subjects(prepared[target]))
    return [str(warning) for warning in found]
