"""A finished run with all that its network needs to predict: how scans are prepared, windows, weight draws.

Found by the start of a node's key on the storage, by MLflow run id, or as the best of a sweep. Files come
from the storage where it has them, else from MLflow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from dwp_sweep.data.cache.cases import Case, Spacing, stored_voxel_size
from dwp_sweep.data.classes import ClassPairs
from dwp_sweep.data.config import DatasetConfig, PreprocessConfig
from dwp_sweep.data.patches import PatchConfig
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.metrics.temperature import Temperature
from dwp_sweep.nets.bayes_conv import variational_layers
from dwp_sweep.nets.net_files import load_net, read_net_facts
from dwp_sweep.stages.ensembling import mean_prediction
from dwp_sweep.stages.evaluation import NO_TEMPERATURE, Prediction, predict_volume
from dwp_sweep.stages.network_training import arrange
from dwp_sweep.stages.prediction import UNTOUCHED, WHOLE, Notify, PostprocessConfig, n_windows, silent
from dwp_sweep.stages.source import SourceStageConfig
from dwp_sweep.stages.target import TargetStageConfig, repetition_seed
from dwp_sweep.stages.validation import load_temperature
from dwp_sweep.store.open_store import open_store
from dwp_sweep.store.protocol import RECORD, Store
from dwp_sweep.store.record import Record, read_record
from dwp_sweep.store.sweep_record import remember_best
from dwp_sweep.strict import parse
from dwp_sweep.tracking.client import mlflow_client, resolve_uri, sqlite_path
from dwp_sweep.tracking.read.best import best_config, middle_run
from dwp_sweep.tracking.read.files import download_outputs
from dwp_sweep.tracking.read.rows import NodeRow, row_of_run
from dwp_sweep.training.compute import ComputeConfig, resolve_device

BEST = "best:"
_STAGES = ("target", "source")
_SHORTEST_PREFIX = 4
Device = Literal["auto", "cpu", "cuda"]
Estimate = Literal["draws", "mean"]
"""What a variational network predicts: the mean over weight draws, or what its posterior mean says."""
Check = Callable[[DatasetConfig], None]
"""Looks at the data set of a training; raises what is wrong with the scans to predict."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network and how it was trained to see scans.

    Attributes:
        title: For people: what was trained.
        net: On its device, in evaluation mode.
        dataset: Of its training: preparation and channels are read.
        compute: Device and precision.
        patch: Windows for volumes that are larger.
        postprocess: Clean-up of masks.
        n_samples: Weight draws of a variational network; 0 predicts with its posterior mean.
        seed: Of these draws.
        spacing_mm: Median voxel size of the training scans, prepared; None where nobody kept it.
        temperature: At which probabilities are shown; masks do not depend on it.
        others: Further networks, whose mean with this one predicts.
        run: Which run it is: ``run`` and MLflow's id, or stage and key of the node.
        record: Of the node.
        meaning: Of ``best:SWEEP``: which of the best configuration's runs this is, and whether that has
            changed; empty for a run that was named itself.
    """

    title: str
    net: nn.Module
    dataset: DatasetConfig
    compute: ComputeConfig
    patch: PatchConfig = WHOLE
    postprocess: PostprocessConfig = UNTOUCHED
    n_samples: int = 1
    seed: int = 0
    spacing_mm: Spacing | None = None
    temperature: Temperature = NO_TEMPERATURE
    others: tuple[Trained, ...] = ()
    run: str = ""
    record: Record | None = None
    meaning: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Trained, ...]:
        """All networks that predict."""
        return (replace(self, others=()), *self.others)

    @property
    def preprocess(self) -> PreprocessConfig:
        """How a scan becomes an input."""
        return self.dataset.preprocess

    @property
    def classes(self) -> ClassPairs:
        """Names and labels of the classes; empty with one foreground."""
        return self.dataset.own_classes

    @property
    def is_variational(self) -> bool:
        """Whether weights have a distribution."""
        return bool(variational_layers(self.net))

    @property
    def n_draws(self) -> int:
        """Weight draws of a prediction; 0 of a deterministic network."""
        return self.n_samples if self.is_variational else 0

    def predict(self, case: Case, notify: Notify = silent) -> Prediction:
        """What the network, or the mean of all of them, says about a prepared scan.

        Args:
            case: The scan.
            notify: Called after each forward pass.
        """
        each = (
            predict_volume(
                one.net, case, one.compute, one.n_samples, one.seed, one.patch, one.postprocess, notify
            )
            for one in self.members
        )
        return mean_prediction(each, self.postprocess, case.spacing_mm)

    def n_passes(self, case: Case) -> int:
        """How many forward passes `predict` takes."""
        return n_windows(case.mask.shape, self.patch) * sum(1 + one.n_draws for one in self.members)

    @property
    def on_probabilities(self) -> str:
        """For people: what stands behind the probabilities."""
        fitted, note = self.temperature, self.temperature.note
        if not fitted.is_fitted:
            return "as the network says them" + (f": {note}" if note else "")
        scans = "1 validation scan" if fitted.n_scans == 1 else f"{fitted.n_scans} validation scans"
        return f"at temperature {fitted.value:.3g}, fitted on {scans}" + (f"; {note}" if note else "")


def find_trained(
    run: str,
    storage: str | Path,
    tracking_uri: str | None = None,
    where: Mapping[str, Any] | None = None,
    device: Device = "auto",
    check: Check = lambda dataset: None,
) -> Trained:
    """The network of a run.

    Args:
        run: MLflow run id; the key of a target (or source) node on the storage, or its first characters;
            or ``best:SWEEP``.
        storage: Where nodes are looked for first.
        tracking_uri: None takes ``MLFLOW_TRACKING_URI``, else the database under ``storage``.
        where: Settings that must hold, for ``best:SWEEP``, as for `best_config`.
        device: Where to compute.
        check: Called with the data set of the training before any weights are read; may raise.

    Raises:
        InputError: Nothing or several things answer to this name, or it holds no trained network.
    """
    store = open_store(storage)
    uri = resolve_uri(tracking_uri, storage)
    if run.startswith(BEST):
        row, meaning = meaning_of_best(run.removeprefix(BEST), store, uri, where)
        return replace(_of_row(row, store, uri, device, check), meaning=meaning)
    if where:
        settings = ", ".join(f"{name}={value}" for name, value in where.items())
        raise InputError(Problem(f"--where {settings}", f"chooses within {BEST}SWEEP, and {run} is one run"))
    node = _by_key(run, store)
    if node is not None:
        return _of_folder(store.fetch(*node, check=False), " ".join(node), device, check)
    return _of_row(row_of(run, store, uri), store, uri, device, check)


def meaning_of_best(
    sweep: str, store: Store, uri: str, where: Mapping[str, Any] | None = None
) -> tuple[NodeRow, tuple[str, ...]]:
    """The run that ``best:SWEEP`` means, and words on it: also where it meant another one before.

    Of the best configuration's runs it is the middle one by validation: the best of them is best by the luck
    of its split, too.

    Args:
        sweep: Name of the sweep.
        store: Remembers what was meant.
        uri: MLflow's tracking URI.
        where: As for `best_config`.

    Raises:
        InputError: As `best_config`.
    """
    best = best_config(sweep, where=where, tracking_uri=uri)
    row, n = middle_run(best, uri), len(best.run_ids)
    which = f"the middle one of {n} by {best.metric}" if n > 1 else "the only one"
    settings = "".join(f" with {name}={value}" for name, value in (where or {}).items())
    words = [f"{BEST}{sweep}{settings} means run {row.run_id}: of the best configuration {which}"]
    before = remember_best(store, sweep, where or {}, row.run_id)
    if before not in (None, row.run_id):
        words.append(f"until now it meant run {before}, which still answers to its id")
    return row, tuple(words)


def _by_key(prefix: str, store: Store) -> tuple[str, str] | None:
    if len(prefix) < _SHORTEST_PREFIX or not prefix.isalnum():
        return None
    keys = [(stage, key) for stage in _STAGES for _, key in store.published(stage)]
    matching = sorted(pair for pair in keys if pair[1].startswith(prefix))
    if len(matching) > 1:
        known = ", ".join(" ".join(pair) for pair in matching[:5])
        raise InputError(Problem(prefix, f"begins {len(matching)} keys: {known}", "give more of the key"))
    return matching[0] if matching else None


def row_of(run_id: str, store: Store, uri: str) -> NodeRow:
    """What MLflow knows of a run.

    Raises:
        InputError: It has no such run, or does not answer.
    """
    path = sqlite_path(uri)
    try:
        if path is not None and not path.is_file():
            raise FileNotFoundError(path)  # MLflow would make an empty database here
        return row_of_run(mlflow_client(uri).get_run(run_id))
    except Exception as error:  # MLflow's own kinds, a server that does not answer among them
        what = f"begins no key of a trained node on {store.place}, and MLflow has no run of this id"
        fix = "see the run ids of `dwp-sweep best`, the keys of `dwp-sweep plan --nodes`, or say best:SWEEP"
        raise InputError(Problem(run_id, what, fix)) from error


def _of_row(row: NodeRow, store: Store, uri: str, device: Device, check: Check) -> Trained:
    name = f"run {row.run_id}"
    if row.key and row.stage in _STAGES and store.is_published(row.stage, row.key):
        return _of_folder(store.fetch(row.stage, row.key, check=False), name, device, check)
    with tempfile.TemporaryDirectory() as folder:
        return _of_folder(download_outputs(row.run_id, Path(folder), uri), name, device, check)


def _of_folder(folder: Path, name: str, device: Device, check: Check) -> Trained:
    try:
        record = read_record(folder / RECORD)
        return replace(_of_record(record, folder, device, check), run=name, record=record)
    except (FileNotFoundError, ValueError) as error:
        problem = Problem(name, f"holds no trained network: {error}", "name the run of a target network")
        raise InputError(problem) from error


def _of_record(record: Record, folder: Path, device: Device, check: Check) -> Trained:
    where = f"{record.stage} {record.key}"
    if record.stage == "target":
        config = parse(TargetStageConfig, record.config, where)
        compute = config.compute.model_copy(update={"device": device})
        check(config.dataset)
        net, target = _ready(folder, compute), config.target
        title = f"{config.method}, m = {config.train_size}, split {config.split}, seed {config.seed}"
        title += "" if config.fold is None else f", fold {config.fold}"
        seed = repetition_seed(
            config.seed, config.split, config.fold
        )  # the draws that its test scores are of
        settings = (
            target.patch,
            target.postprocess,
            target.n_samples,
            seed,
            _voxel_size(folder),
            load_temperature(folder),
        )
        return Trained(title, net, config.dataset, compute, *settings)
    if record.stage != "source":
        raise ValueError(f"a {record.stage} node makes none")
    source = parse(SourceStageConfig, record.config, where)
    if source.dataset is None:
        raise ValueError("the source network was imported, and how its scans were prepared is not known")
    check(source.dataset)
    compute = source.compute.model_copy(update={"device": device})
    net = _ready(folder / "cycle0", compute)
    title, patch, size = f"source, seed {source.seed}", source.source.patch, _voxel_size(folder / "cycle0")
    return Trained(title, net, source.dataset, compute, patch, spacing_mm=size)


def _voxel_size(folder: Path) -> Spacing | None:
    return stored_voxel_size(read_net_facts(folder).extra)


def _ready(folder: Path, compute: ComputeConfig) -> nn.Module:
    net = load_net(folder).to(resolve_device(compute))
    arrange(net, compute)
    return net
