"""Stages by name: pure functions from a config and published inputs to files."""

from __future__ import annotations

from dwp_sweep.stages import ensemble, harvest, prior, source, target
from dwp_sweep.stages.contract import Stage

STAGES: dict[str, Stage] = {
    "source": source.stage,
    "harvest": harvest.stage,
    "prior": prior.stage,
    "target": target.stage,
    "ensemble": ensemble.stage,
}
