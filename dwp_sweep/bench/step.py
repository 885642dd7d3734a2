"""The training step at batch 2 of 48 x 48 x 48: against others' builds, and what the deep weight prior adds.

Two processes take turns: one started as any other, one with the allocator settings that workers get.
"""

from __future__ import annotations

from dwp_sweep.bench.frame import Row, Setting, compare
from dwp_sweep.bench.step_process import StepProcess
from dwp_sweep.bench.training_step import StepKind, StepSetting

_DWP = "deep_weight_prior"
_REPEATS = 15

BARE = {
    "plain": ("plain torch modules, no allocator settings", StepKind("plain")),
    "monai": ("MONAI's blocks, no allocator settings", StepKind("monai")),
    "no settings": ("ours, no allocator settings", StepKind("random_init")),
}
OURS = {
    "plain, settings": ("plain torch modules with allocator settings", StepKind("plain")),
    "channels first": ("ours, channels first", StepKind("random_init", channels_last=False)),
    "fp32": ("ours as it is by default", StepKind("random_init")),
    "bf16 channels first": ("ours, channels first", StepKind("random_init", "bf16", channels_last=False)),
    "bf16": ("ours with precision: bf16", StepKind("random_init", "bf16")),
    "bf16 checkpointing": (
        "the same, activations recomputed",
        StepKind("random_init", "bf16", checkpointing=True),
    ),
}
GOALS = {"bf16": 0.5, "dwp fp32": 1.5, "dwp bf16": 1.5, "dwp exact fp32": 4.0, "dwp exact bf16": 4.0}


def step(setting: Setting) -> list[Row]:
    """A training step: plain modules, MONAI, ours, and what the deep weight prior adds to it."""
    shared = step_setting(setting, (48, 48, 48))
    bare, ours = dict(BARE), OURS | dwp_kinds("fp32") | dwp_kinds("bf16")
    with (
        StepProcess(shared, {name: kind for name, (_, kind) in bare.items()}, allocator=False) as without,
        StepProcess(shared, {name: kind for name, (_, kind) in ours.items()}) as with_settings,
    ):
        processes = dict.fromkeys(bare, without) | dict.fromkeys(ours, with_settings)
        versions = {
            name: processes[name].version(name, what, GOALS.get(name))
            for name, (what, _) in (bare | ours).items()
        }
        rows = compare([versions[name] for name in (*BARE, *OURS)], setting, _REPEATS)
        for precision in ("fp32", "bf16"):
            group = [versions[name] for name in (precision, *dwp_kinds(precision))]
            rows += compare(group, setting, _REPEATS)[1:]
    return rows


def step_setting(setting: Setting, size: tuple[int, int, int]) -> StepSetting:
    """A bench's setting for its steps; a narrow network and small volumes at the tiny scale."""
    if setting.quick:
        return StepSetting((16, 16, 16), (2, 2, 2, 2), setting.device.type, setting.seed)
    return StepSetting(size, (16, 32, 32, 64), setting.device.type, setting.seed)


def dwp_kinds(precision: str) -> dict[str, tuple[str, StepKind]]:
    """The deep weight prior with its default settings, and with the exact bound."""
    return {
        f"dwp {precision}": ("the deep weight prior's default", StepKind(_DWP, precision)),
        f"dwp exact {precision}": ("its bound over all kernels", StepKind(_DWP, precision, 1.0)),
    }
