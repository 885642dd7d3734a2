"""Harvest stage: collect the 3x3x3 kernels of all source networks into one bank (Section 2.7.1).

Writes ``bank.safetensors`` and ``bank.json``. Kernels of tiny norm are dropped, relative to their
layer's median norm, since weight decay shrinks whole layers without changing the network's function.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from dwp_sweep.errors import InputError, Problem
from dwp_sweep.metrics.kernel_structure import autocorrelation
from dwp_sweep.nets.kernel_bank import KernelBank, collect_bank, drop_tiny, load_bank, save_bank
from dwp_sweep.nets.kernel_groups import GROUPS
from dwp_sweep.nets.net_files import load_net
from dwp_sweep.stages.contract import Emit, Inputs, Stage
from dwp_sweep.stages.imported import Imported, copy_imported
from dwp_sweep.strict import StrictModel, expert, unkeyed

BANK_FILES = ("bank.safetensors", "bank.json")


class HarvestConfig(StrictModel):
    """What goes into the bank.

    Attributes:
        drop_below: Kernels with a norm below this share of their layer's median norm are dropped.
        bank: Folder (``bank.safetensors`` and ``bank.json``) or ``runs:/<run id>`` of a bank to use instead.
    """

    drop_below: float = expert(1e-2, ge=0, lt=1)
    bank: str | None = unkeyed(None)


class HarvestStageConfig(StrictModel):
    """All that the bank depends on beside its networks."""

    brought: Imported | None = None
    harvest: HarvestConfig = HarvestConfig()


def run(
    config: HarvestStageConfig, inputs: Inputs, work_dir: Path, out_dir: Path, emit: Emit
) -> Mapping[str, float]:
    """Collect, drop, score, save."""
    if config.brought is not None:
        copy_imported(config.brought, BANK_FILES, out_dir)
        return bank_scores(load_bank(out_dir))
    nets = {
        (seed, cycle): net for seed, folder in enumerate(inputs["sources"]) for cycle, net in _nets(folder)
    }
    bank, n_dropped = drop_tiny(collect_bank(nets), config.harvest.drop_below)
    save_bank(bank, out_dir)
    return bank_scores(bank) | {f"n_dropped_group{group}": float(n_dropped[group]) for group in GROUPS}


def bank_scores(bank: KernelBank) -> dict[str, float]:
    """Count and scale-free structure of each group's kernels."""
    scores = {}
    for group in GROUPS:
        kernels = _of_unit_scale(bank, group)
        scores[f"n_kernels_group{group}"] = float(len(kernels))
        scores[f"autocorrelation_group{group}"] = autocorrelation(kernels)
    return scores


def _of_unit_scale(bank: KernelBank, group: int) -> torch.Tensor:
    # The score looks at the stronger half of the kernels: layers must be on one scale to compare them.
    try:
        return bank.groups[group].kernels / bank.kernel_scales(group, "layer")
    except ValueError as error:
        counts = f"{bank.counts()[group]} kernels held, {bank.dropped.get(group, 0)} tiny ones dropped"
        fix = "train the source networks with less weight decay, or lower harvest.drop_below"
        raise InputError(Problem(f"kernel group {group}", f"{error} ({counts})", fix)) from None


def _nets(folder: Path) -> list[tuple[int, torch.nn.Module]]:
    cycles = sorted(int(path.name.removeprefix("cycle")) for path in folder.glob("cycle*"))
    return [(cycle, load_net(folder / f"cycle{cycle}")) for cycle in cycles]


stage = Stage(name="harvest", version=2, config=HarvestStageConfig, run=run, n_steps=lambda config: 1)
