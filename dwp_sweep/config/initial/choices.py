"""The settings of a first search space, each with its reason in one line.

A choice is a dotted key of the file with a value. It depends on the facts of the scans and on the machine
alone, so the same folder gives the same file on machines of one kind. Where no better reason is known, a
value is the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dwp_sweep.config.initial.counts import Counts, source_n_val, target_counts
from dwp_sweep.config.initial.facts import Facts
from dwp_sweep.config.initial.geometry import InputGeometry, geometry_of
from dwp_sweep.config.initial.machine import TrainingMachine
from dwp_sweep.data.classes import suggested
from dwp_sweep.data.config import DatasetConfig
from dwp_sweep.nets.unet3d import UNetConfig

_FILES = ("layout", "root", "subjects", "channel", "modality", "image_pattern", "mask_pattern", "patients")
_PICKED = {"ms": "image_pattern", "bids": "image_pattern", "brats": "modality", "brats18": "modality"}
"""The field that picks images, by layout; written out even where it has its default."""
_METHODS = ("random_init", "fine_tune", "freeze_middle", "deep_weight_prior")
_SMOKE_PATCH = 32
_LEAST_FOREGROUND = 0.005
"""Share of a volume; of smaller lesions most random patches hold none."""


class Choice(NamedTuple):
    """One setting of the file.

    Attributes:
        key: Dotted, from the top of the file.
        value: Plain.
        reason: One line; empty where the value says it all.
    """

    key: str
    value: Any
    reason: str = ""


class Network(NamedTuple):
    """A source network that is brought.

    Attributes:
        place: Folder, or ``runs:/...``.
        unet: Its shape; None where it cannot be looked at here.
    """

    place: str
    unet: UNetConfig | None = None


def choose(
    target: Facts, source: Facts | None, network: Network | None, machine: TrainingMachine
) -> Iterator[Choice]:
    """All settings, in the order of the file.

    Args:
        target: Its scans.
        source: The scans of the source task; None: there are none.
        network: Brought in place of a source task.
        machine: Where the sweep is to run.

    Raises:
        InputError: Fewer scans than a split needs.
    """
    counts = target_counts(target.patients, target.config)
    tasks = [target] if source is None else [source, target]
    geometry = geometry_of(tasks, machine)
    if source is not None:
        yield from _dataset(source, geometry["source"])
        n_val = source_n_val(source.patients, source.config)
        yield Choice(
            "data.source.n_val", n_val, f"scans that choose the epoch; {len(source.rows) - n_val} train"
        )
    yield from _dataset(target, geometry["target"])
    yield from _roles(target, counts)
    unet = network.unet if network is not None and network.unet is not None else None
    yield from _unet(target.config, unet, machine)
    if source is not None:
        yield from _source_training(geometry["source"], counts, machine)
    elif network is not None:
        yield Choice("fixed.source.network", network.place, "brought: no source network is trained")
    yield from _training("target", geometry["target"], machine)
    if machine.has_bf16:
        yield Choice("fixed.compute.precision", "bf16", "the GPU computes it fast, at half the memory")
    yield from _grid(counts, len(target.rows), source is not None, network is not None)
    yield from _resources(geometry, machine, source is not None)
    yield from _smoke(counts, geometry)


def _dataset(facts: Facts, prepared: InputGeometry) -> Iterator[Choice]:
    head = f"data.{facts.key}"
    config = facts.config
    values = config.model_dump(mode="json", exclude_defaults=True, include=set(_FILES))
    n_patients = len(set(facts.patients.values()))
    of = f" of {n_patients} patients" if n_patients < len(facts.rows) else ""
    values |= config.model_dump(mode="json", include={"layout", _PICKED.get(config.layout, "layout")})
    reasons = {
        "layout": f"by its files' names; {len(facts.rows)} scans{of}",
        "subjects": _left_out(facts),
        **dict.fromkeys(("channel", "modality", "image_pattern"), f"images; {_there(facts)}"),
        "mask_pattern": "which file is the mask",
        "patients": "whose scans they are",
    }
    for name in _FILES:
        if name in values:
            yield Choice(f"{head}.{name}", values[name], reasons.get(name, ""))
    yield from _foreground(facts)
    yield Choice(f"{head}.preprocess.orientation", prepared.orientation, prepared.why_orientation)
    yield Choice(f"{head}.preprocess.spacing_mm", prepared.spacing_mm, prepared.why_spacing)
    if prepared.window is not None:
        why = "CT: Hounsfield units of the foreground, half a per cent left out on each side"
        yield Choice(f"{head}.preprocess.window", prepared.window, why)
    yield Choice(f"{head}.preprocess.shape", prepared.shape, prepared.why_shape)


def _left_out(facts: Facts) -> str:
    n = len(facts.left_out)
    return f"{n} without an image or a mask left out, such as {facts.left_out[0]}" if n else "as given"


def _there(facts: Facts) -> str:
    return f"every patient has {', '.join(facts.modalities.names)}" if facts.modalities.names else "as given"


def _foreground(facts: Facts) -> Iterator[Choice]:
    key, config = f"data.{facts.key}.labels", facts.config
    if config.classes is not None:
        yield Choice(f"data.{facts.key}.classes", {name: list(labels) for name, labels in config.classes}, "")
        return
    shares = sorted(row.foreground_share for row in facts.rows)
    median = shares[len(shares) // 2]
    names = {label: facts.label_names.get(label, f"label{label}") for label in facts.labels}
    if config.labels is not None:
        yield Choice(key, list(config.labels), f"as given; {median:.2%} of a scan")
        return
    if len(facts.labels) < 2:
        named = ", ".join(names.values()) or "none"
        yield Choice(key, list(facts.labels) or None, f"{named}; {median:.2%} of a scan")
        return
    named = ", ".join(names.values())
    why = f"one foreground of {median:.2%} of a scan, together: {named}; keep those you mean"
    yield Choice(key, list(facts.labels), f"{why}\nor tell them apart: classes: {suggested(names)}")


def _roles(target: Facts, counts: Counts) -> Iterator[Choice]:
    n = len(target.rows)
    few = "; so few cannot rank methods" if counts.n_test < 10 else ""
    yield Choice("data.target.n_test", counts.n_test, f"of {n} scans, others in each split{few}")
    yield Choice("data.target.n_val", counts.n_val, "scans that choose epoch and method, never tested")


def _unet(config: DatasetConfig, brought: UNetConfig | None, machine: TrainingMachine) -> Iterator[Choice]:
    if brought is not None:
        yield Choice("fixed.unet.channels", list(brought.channels), "those of the source network")
        if brought.in_channels > 1:
            yield Choice("fixed.unet.in_channels", brought.in_channels, "those of the source network")
        return
    why = "the paper's" if machine.n_gpus else "half the paper's width: there is no GPU here"
    yield Choice("fixed.unet.channels", list(machine.channels), why)
    if config.n_channels > 1:
        yield Choice("fixed.unet.in_channels", config.n_channels, "one for each image of a scan")


def _source_training(prepared: InputGeometry, counts: Counts, machine: TrainingMachine) -> Iterator[Choice]:
    n_seeds = 10 if machine.n_gpus else max(3, counts.n_splits)
    why = "networks from different starts, from which kernel priors learn"
    yield Choice("fixed.source.n_seeds", n_seeds, why + ("" if machine.n_gpus else "; the paper has 10"))
    yield Choice("fixed.source.n_cycles", 2, "minima of each start, as in the paper")
    yield from _training("source", prepared, machine)
    if not machine.n_gpus:
        yield Choice("fixed.prior.max_epochs", 60, "of the kernel autoencoders: enough on the hippocampus")


def _training(key: str, prepared: InputGeometry, machine: TrainingMachine) -> Iterator[Choice]:
    head = f"fixed.{key}"
    if prepared.patch is not None:
        yield Choice(f"{head}.patch.shape", list(prepared.patch), prepared.why_patch)
        if prepared.foreground_share < _LEAST_FOREGROUND:
            why = f"of the patches hold foreground, which is {prepared.foreground_share:.2%} of a scan"
            yield Choice(f"{head}.patch.foreground_share", 0.67, why)
    yield Choice(f"{head}.batch_size", prepared.batch_size, prepared.why_batch)
    if machine.n_gpus:
        steps, epochs, why = (100, 60, "6,000 steps") if key == "source" else (50, 60, "3,000 steps")
        why = f"{why} at most; training ends before where the validation loss stays"
    else:
        steps, epochs, why = (40, 30, "1,200 steps") if key == "source" else (10, 30, "300 steps")
        why = f"{why}, enough on hippocampus crops; more if the curves still rise"
    yield Choice(
        f"{head}.steps_per_epoch", steps, "the same for every training size" if key == "target" else ""
    )
    yield Choice(f"{head}.max_epochs", epochs, why)


def _grid(counts: Counts, n: int, has_source: bool, has_network: bool) -> Iterator[Choice]:
    methods: tuple[str, ...] = _METHODS
    if has_source:
        why = "from scratch, and three ways of transfer"
    elif has_network:
        methods, why = _METHODS[:3], "kernel priors need more networks than one"
    else:
        methods, why = _METHODS[:1], "a learning curve: without a source there is nothing to transfer"
    left = n - counts.n_test - counts.n_val
    more = f"; {left} scans are left to train" if left > counts.train_sizes[-1] else ""
    few = (
        "each tests other scans: of so few, more splits" if counts.n_splits > 3 else "each tests other scans"
    )
    yield Choice("grid.method", list(methods), why)
    yield Choice("grid.train_size", list(counts.train_sizes), f"labelled scans to learn from{more}")
    yield Choice("grid.split", list(range(counts.n_splits)), few)


def _resources(
    geometry: dict[str, InputGeometry], machine: TrainingMachine, has_source: bool
) -> Iterator[Choice]:
    for stage in ("source", "target") if has_source else ("target",):
        voxels = geometry[stage].batch_voxels
        cpu = machine.cpus_a_node(voxels)
        if machine.n_gpus:
            share = machine.gpu_share(voxels)
            value: dict[str, float] = {"cpu": cpu, "gpu": share}
            why = "one training a GPU" if share == 1 else f"{round(1 / share)} trainings fit into a GPU"
        else:
            value, n_at_once = {"cpu": cpu}, machine.n_cpus // cpu
            gb = voxels * machine.bytes_a_voxel / 1e9
            why = f"{n_at_once} at once of {max(gb, 0.1):.1f} GB each, on {machine.n_cpus} cores"
        yield Choice(f"resources.{stage}", value, why)


def _smoke(counts: Counts, geometry: dict[str, InputGeometry]) -> Iterator[Choice]:
    why = "run --smoke: does it all work?"
    for key, prepared in geometry.items():
        small: dict[str, Any] = {"max_epochs": 2, "steps_per_epoch": 3}
        if key == "source":
            small = {"n_seeds": 2, "n_cycles": 1, **small}
        if prepared.patch is not None:
            small["patch"] = {"shape": [min(n, _SMOKE_PATCH) for n in prepared.patch]}
        yield Choice(f"smoke.fixed.{key}", small, why)
        if key == "source":
            yield Choice("smoke.fixed.prior", {"max_epochs": 2})
        why = ""
    yield Choice("smoke.grid.train_size", list(counts.train_sizes[:1]))
    yield Choice("smoke.grid.split", [0])
