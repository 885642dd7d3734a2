"""Peak memory of a training step at batch 2 of 152 x 184 x 144, the paper's volumes, and its time.

Each version has a process of its own, one after the other: a peak is a process's, and two would not fit.
"""

from __future__ import annotations

from dwp_sweep.bench.frame import Row, Setting, compare
from dwp_sweep.bench.step import dwp_kinds, step_setting
from dwp_sweep.bench.step_process import StepProcess
from dwp_sweep.bench.training_step import StepKind, StepSetting

_SIZE = (152, 184, 144)
_REPEATS = 2
GOALS = {"dwp exact bf16": 1.15}

KINDS = {
    "plain modules": ("plain torch modules", StepKind("plain")),
    "fp32": ("ours as it is by default", StepKind("random_init")),
    "fp32 checkpointing": ("activations recomputed", StepKind("random_init", checkpointing=True)),
    "bf16": ("ours with precision: bf16", StepKind("random_init", "bf16")),
    "bf16 checkpointing": ("activations recomputed", StepKind("random_init", "bf16", checkpointing=True)),
    "dwp bf16 checkpointing": (
        "the deep weight prior's default",
        StepKind("deep_weight_prior", "bf16", checkpointing=True),
    ),
}


def memory(setting: Setting) -> list[Row]:
    """Peak memory and time of a step at the paper's volume size, and what the deep weight prior adds."""
    shared = step_setting(setting, _SIZE)
    rows = [_peak(name, what, kind, shared, setting) for name, (what, kind) in KINDS.items()]
    return rows + _beside_plain(shared, setting)


def _peak(name: str, what: str, kind: StepKind, shared: StepSetting, setting: Setting) -> Row:
    setting.tell(f"{name}: one process")
    with StepProcess(shared, {name: kind}) as process:
        process.step(name)
        figures = process.step(name)
    return Row(f"{name}, alone", what, figures["seconds"], extra={"peak_gb": figures["peak_gb"]})


def _beside_plain(shared: StepSetting, setting: Setting) -> list[Row]:
    kinds = {"bf16": KINDS["bf16"]} | dwp_kinds("bf16")
    with StepProcess(shared, {name: kind for name, (_, kind) in kinds.items()}) as process:
        versions = [process.version(name, what, GOALS.get(name)) for name, (what, _) in kinds.items()]
        return compare(versions, setting, _REPEATS)
