"""Data sets of a sweep before its nodes get keys: phantom written, files checked, content fingerprinted.

The check reads every scan, which takes minutes on large data sets. Its prepared volumes go into the cache,
where training reads them. Findings of a scan are cached by its content, a clean check of a whole data set by
the set's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from dwp_sweep.config.experiment import ExperimentConfig, method_settings
from dwp_sweep.data.alignment import orientation_warnings, slice_warnings
from dwp_sweep.data.augment.config import AugmentConfig, impossible_changes
from dwp_sweep.data.cache.memory import dataset_fingerprint
from dwp_sweep.data.check.check import CHECK_VERSION, check_dataset
from dwp_sweep.data.classes import head_warning
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.files.names import home_path
from dwp_sweep.data.layouts import Listing, list_patients, resolved, scan_layout
from dwp_sweep.data.leakage import read_task, repeated_scans, shared_data
from dwp_sweep.data.patches import PatchConfig, partly_padding, too_large
from dwp_sweep.data.phantom.dataset import ensure_phantom
from dwp_sweep.data.splits import enough_problems, overlap_warnings, repeated_validation
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
        warnings: What is legal, but suspicious (empty masks, orientations that differ).
    """

    datasets: Mapping[DatasetConfig, DatasetConfig]
    warnings: tuple[str, ...]


@dataclass
class _WantedDataset:
    """What the conditions need of one data set; a source data set has neither sizes nor splits.

    Attributes:
        train_sizes: Of the target.
        splits: Of the target.
        patches: Of both.
        augments: Of both.
        trains: Networks learn from it here. Otherwise it says on which scans imported ones were trained,
            and is only compared with the target.
    """

    train_sizes: set[int] = field(default_factory=set)
    splits: set[int] = field(default_factory=set)
    patches: set[PatchConfig] = field(default_factory=set)
    augments: set[AugmentConfig] = field(default_factory=set)
    trains: bool = False


@dataclass(frozen=True)
class _Checked:
    """Result of a check; the shapes are those of the prepared volumes."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class _Task:
    """A data set and its key in the experiment: the two tasks may share a folder."""

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
            but no scan is read, so that a mistyped path is reported at once.

    Raises:
        InputError: With the problems of all data sets, and the others, together.
    """
    prepared: dict[DatasetConfig, DatasetConfig] = {}
    warnings: list[str] = []
    problems = list(others)
    for task, wanted in _wanted(conditions).items():
        config = _with_absolute_paths(ensure_phantom(task.dataset, storage))
        try:
            config = resolved(config)
            if others:
                listing = scan_layout(config)
                too_few = _too_few(listing, config, wanted)
                problems += _located([*too_few, *listing.problems], task.key, config) if wanted.trains else []
                continue
            title = f"checking {task.key} {config.root}"
            show = (lambda done, total: None) if progress is None else partial(progress, title)
            prepared[task.dataset], checked = _prepare(config, wanted, storage / "cache", show)
            overlaps = _overlaps(prepared[task.dataset], wanted)
            warnings += [f"{task.key}: {warning}" for warning in (*checked.warnings, *overlaps)]
            key = task.key.removeprefix("data.")
            for patch in sorted(wanted.patches, key=str) if checked.shapes else ():
                large = too_large(patch, checked.shapes, f"{key}.patch")
                problems += large
                padding = partly_padding(patch, checked.shapes, f"{key}.patch")
                warnings += [] if large else map(str, padding)
            for augment in sorted(wanted.augments, key=str):
                turned = config.preprocess.orientation
                problems += impossible_changes(augment, checked.shapes, turned, f"{key}.augment")
        except InputError as error:
            located = _located(error.problems, task.key, config)
            if wanted.trains:
                problems += located
            else:
                warnings.append(f"{located[0]} (so nothing says whether its scans test, too)")
    if problems:
        raise InputError(dict.fromkeys(problems))
    warnings += _two_sides(conditions, prepared, storage / "cache")
    return PreparedData(prepared, tuple(dict.fromkeys(warnings)))


def _two_sides(
    conditions: Sequence[ExperimentConfig],
    prepared: Mapping[DatasetConfig, DatasetConfig],
    cache_dir: Path,
) -> list[str]:
    """Warnings of sources and targets that are used together.

    Raises:
        InputError: Scans or patients in both, or scans of a target that are there twice, unless allowed.
    """
    read = cache(lambda config: read_task(config, cache_dir))
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for tasks in dict.fromkeys(condition.data for condition in conditions):
        target = read(prepared[tasks.target])
        shared = list(repeated_scans(target))
        if tasks.source is not None and tasks.source in prepared:
            source = read(prepared[tasks.source])
            of_both = shared_data(source, target)
            shared += of_both.problems
            warnings += (*of_both.warnings, *orientation_warnings(source.config, target.config))
            warnings += slice_warnings(source, target)
            warnings += head_warning(source.config.class_names, target.config.class_names)
        (warnings if tasks.allow_shared_scans else problems).extend(shared)
    if problems:
        raise InputError(dict.fromkeys(problems))
    return [str(warning) for warning in dict.fromkeys(warnings)]


def _wanted(conditions: Sequence[ExperimentConfig]) -> dict[_Task, _WantedDataset]:
    wanted: dict[_Task, _WantedDataset] = {}
    for condition in conditions:
        needs = METHODS[condition.method].needs(method_settings(condition))
        has_priors = condition.prior.path is not None or condition.harvest.bank is not None
        trains_sources = condition.source.network is None and (
            "source" in needs or ("priors" in needs and not has_priors)
        )
        if condition.data.source is not None and {"source", "priors"} & set(needs):
            source = wanted.setdefault(_Task("data.source", condition.data.source), _WantedDataset())
            source.trains |= trains_sources
            source.patches |= {condition.source.patch} if trains_sources else set()
            if trains_sources and condition.source.augment is not None:
                source.augments.add(condition.source.augment)
        target = wanted.setdefault(_Task("data.target", condition.data.target), _WantedDataset(trains=True))
        target.train_sizes.add(condition.train_size)
        target.splits.add(condition.split)
        target.patches.add(condition.target.patch)
        if condition.target.augment is not None:
            target.augments.add(condition.target.augment)
    return wanted


def _located(problems: Sequence[Problem], key: str, config: DatasetConfig) -> list[Problem]:
    """Problems with the key of their data set; with the exact key where the path itself is wrong."""

    def place(where: str) -> str:
        if where == "root":
            return f"{key}.root"
        if where == config.root and not Path(where).exists():
            return f"{key}.root: {where}"
        if config.split_file is not None and where.startswith(config.split_file):
            return f"{key}.split_file: {where}"
        return f"{key}: {where}"

    return [Problem(place(problem.where), problem.what, problem.fix) for problem in problems]


def _prepare(
    config: DatasetConfig, wanted: _WantedDataset, cache_dir: Path, show: Callable[[int, int], None]
) -> tuple[DatasetConfig, _Checked]:
    """The data set with its fingerprint, and its check; all of its problems are raised together."""
    listing = scan_layout(config)
    problems = _too_few(listing, config, wanted)
    try:
        if listing.problems:
            raise InputError(listing.problems)
        fingerprint = dataset_fingerprint(config, listing.subjects, cache_dir)
    except InputError as error:
        # The folder is wrong already. Its scans are checked as well: all problems are reported at once.
        of_scans = check_dataset(config, show, cache_dir).problems
        raise InputError((*problems, *of_scans) or error.problems) from None
    config = config.model_copy(update={"fingerprint": fingerprint})
    needs_shapes = bool(wanted.augments) or any(patch.shape for patch in wanted.patches)
    checked = _check_once(config, cache_dir, show, needs_shapes)
    if problems or checked.problems:
        raise InputError((*problems, *checked.problems))
    return config, checked


def _too_few(listing: Listing, config: DatasetConfig, wanted: _WantedDataset) -> list[Problem]:
    # Incomplete subjects count: they can be repaired. If there is none at all, the listing says why.
    if not listing.ids or not wanted.trains:
        return []
    sizes, splits = sorted(wanted.train_sizes), sorted(wanted.splits) or None
    return list(enough_problems(listing.patients, config, sizes, splits))


def _overlaps(config: DatasetConfig, wanted: _WantedDataset) -> tuple[Problem, ...]:
    if not wanted.splits:
        return ()
    sizes, splits = sorted(wanted.train_sizes), sorted(wanted.splits)
    patients = list_patients(config)
    repeated = repeated_validation(patients, config, sizes, splits)
    return (*overlap_warnings(patients, config, sizes, splits), *repeated)


def _with_absolute_paths(config: DatasetConfig) -> DatasetConfig:
    # Workers run in another folder, where a relative path would name another file.
    paths = {"root": config.root, "split_file": config.split_file}
    return config.model_copy(
        update={name: str(home_path(path).resolve()) for name, path in paths.items() if path is not None}
    )


def _check_once(
    config: DatasetConfig, cache_dir: Path, show: Callable[[int, int], None], needs_shapes: bool
) -> _Checked:
    """The check of every scan, from the cache where the same files were clean before."""
    text = json.dumps([CHECK_VERSION, keyed_values(config)], sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()[:20]
    path = cache_dir / "checks" / f"{identity}.json"
    if path.is_file():
        known = json.loads(path.read_text())
        if not needs_shapes or "shapes" in known:  # older versions wrote none
            return _Checked((), tuple(known["warnings"]), tuple(map(tuple, known.get("shapes", ()))))
    report = check_dataset(config, show, cache_dir)
    warnings = tuple(str(warning) for warning in report.warnings)
    shapes = tuple(row.input_shape[1:] for row in report.subjects)
    if not report.problems:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"root": config.root, "warnings": warnings, "shapes": shapes})
    return _Checked(report.problems, warnings, shapes)
