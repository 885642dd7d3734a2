"""Data sets of a sweep before its nodes get keys: phantom written, files checked, content fingerprinted.

Reading every scan costs minutes on large data sets, so a clean check is remembered under the
fingerprint of the files that it read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dwp_sweep.config.experiment import ExperimentConfig
from dwp_sweep.data.check import check_dataset, shared_scan_warnings
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.data.fingerprint import dataset_fingerprint
from dwp_sweep.data.layouts import list_subjects
from dwp_sweep.data.phantom import ensure_phantom
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
class _Wanted:
    """What the conditions ask of one target data set; a source data set leaves both empty."""

    train_sizes: set[int] = field(default_factory=set)
    splits: set[int] = field(default_factory=set)


def prepare_datasets(
    conditions: Sequence[ExperimentConfig], storage: Path, progress: Progress | None = None
) -> PreparedData:
    """Find, check and fingerprint every data set that the conditions read.

    Args:
        conditions: Of the sweep.
        storage: Root of the storage: phantom data, caches and remembered checks.
        progress: Called with (what, done, total) while files are read.

    Raises:
        InputError: With the problems of all data sets together.
    """
    prepared: dict[DatasetConfig, DatasetConfig] = {}
    warnings: list[str] = []
    problems: list[Problem] = []
    for dataset, wanted in _wanted(conditions).items():
        try:
            prepared[dataset], found = _prepare(dataset, wanted, storage, progress)
            warnings += found
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(dict.fromkeys(problems))
    return PreparedData(prepared, tuple(dict.fromkeys([*warnings, *_shared_scans(conditions, prepared)])))


def _wanted(conditions: Sequence[ExperimentConfig]) -> dict[DatasetConfig, _Wanted]:
    wanted: dict[DatasetConfig, _Wanted] = {}
    for condition in conditions:
        target = wanted.setdefault(condition.data.target, _Wanted())
        target.train_sizes.add(condition.train_size)
        target.splits.add(condition.split)
        if condition.data.source is not None and _trains_sources(condition):
            wanted.setdefault(condition.data.source, _Wanted())
    return wanted


def _trains_sources(condition: ExperimentConfig) -> bool:
    method = METHODS[condition.method]
    needs = method.needs({name: getattr(condition, name) for name in method.sections})
    has_priors = condition.prior.path is not None or condition.harvest.bank is not None
    return condition.source.network is None and ("source" in needs or ("priors" in needs and not has_priors))


def _prepare(
    dataset: DatasetConfig, wanted: _Wanted, storage: Path, progress: Progress | None
) -> tuple[DatasetConfig, list[str]]:
    config = _with_absolute_paths(ensure_phantom(dataset, storage))
    try:
        subjects = list_subjects(config)
        fingerprint = dataset_fingerprint(config, subjects, storage / "cache")
    except InputError as error:
        # The folder is wrong already: look at its scans as well, so that all its problems are told at once.
        raise InputError(check_dataset(config).problems or error.problems) from None
    config = config.model_copy(update={"fingerprint": fingerprint})
    ids = [subject.id for subject in subjects]
    problems = enough_problems(ids, config, sorted(wanted.train_sizes), sorted(wanted.splits) or None)
    if problems:
        raise InputError(problems)
    return config, _check_once(config, storage / "cache" / "checks", progress)


def _with_absolute_paths(config: DatasetConfig) -> DatasetConfig:
    # Workers run elsewhere: a path relative to the user's folder means nothing there.
    paths = {"root": config.root, "split_file": config.split_file}
    return config.model_copy(
        update={
            name: str(Path(path).expanduser().resolve()) for name, path in paths.items() if path is not None
        }
    )


def _check_once(config: DatasetConfig, memory: Path, progress: Progress | None) -> list[str]:
    """The warnings of a check of every scan; a clean check of the same files is remembered."""
    identity = hashlib.sha256(json.dumps(keyed_values(config), sort_keys=True).encode()).hexdigest()[:20]
    path = memory / f"{identity}.json"
    if path.is_file():
        return list(json.loads(path.read_text())["warnings"])

    def show(done: int, total: int) -> None:
        if progress is not None:
            progress(f"checking {config.root}", done, total)

    report = check_dataset(config, show)
    if report.problems:
        raise InputError(report.problems)
    warnings = [str(warning) for warning in report.warnings]
    memory.mkdir(parents=True, exist_ok=True)
    write_json(path, {"root": config.root, "warnings": warnings})
    return warnings


def _shared_scans(
    conditions: Sequence[ExperimentConfig], prepared: Mapping[DatasetConfig, DatasetConfig]
) -> list[str]:
    pairs = {(one.data.source, one.data.target) for one in conditions if one.data.source in prepared}
    found: list[Problem] = []
    for source, target in pairs:
        assert source is not None
        found += shared_scan_warnings(list_subjects(prepared[source]), list_subjects(prepared[target]))
    return [str(warning) for warning in found]
