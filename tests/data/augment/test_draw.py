"""Draws: rates, ranges, and that each follows from its place alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dwp_sweep.data.augment.config import SourceAugmentConfig, short_form
from dwp_sweep.data.augment.draw import Changes, draw_changes, turn

N = 2000


def config(**values: Any) -> SourceAugmentConfig:
    return SourceAugmentConfig.model_validate(short_form(values))


def drawn(settings: SourceAugmentConfig, n: int = N, orientation: str = "RAS") -> list[Changes]:
    return [draw_changes(settings, orientation, (5, step, 0), 1) for step in range(n)]


def test_a_strength_of_0_changes_nothing() -> None:
    strong = config(preset="strong", flip=["LR", "AP", "SI"], remap=1.0).model_copy(update={"strength": 0.0})
    for changes in drawn(strong, 50):
        assert not changes.moves and not any(changes.flips)
        (tone,) = changes.tones
        assert (tone.gamma, tone.gain, tone.blur, tone.low_resolution, tone.noise) == (1, 1, 0, 1, 0)
        assert tone.remap is None or tone.remap_share == 0


def test_only_named_axes_are_flipped_and_as_often_as_is_asked_for() -> None:
    flips = np.mean([one.flips for one in drawn(config(flip=["LR", "SI"], flip_probability=0.3))], axis=0)
    assert flips == pytest.approx([0.3, 0, 0.3], abs=0.04)
    flips = np.mean([one.flips for one in drawn(config(flip=["LR"]), orientation="SRA")], axis=0)
    assert flips == pytest.approx([0, 0.5, 0], abs=0.04)
    assert not any(any(one.flips) for one in drawn(config(preset="strong"), 200))


def test_axes_are_flipped_independently_of_each_other() -> None:
    flips = np.array([one.flips for one in drawn(config(flip=["LR", "AP", "SI"]))], dtype=float)
    assert np.abs(np.corrcoef(flips.T) - np.eye(3)).max() < 0.08


def test_turns_and_sizes_lie_in_their_ranges_and_fill_them() -> None:
    settings = config(rotation_deg={"SI": 20}, scale=[0.8, 1.25], spatial_probability=1.0)
    matrices = np.array([one.matrix for one in drawn(settings)])
    factors = np.cbrt(np.linalg.det(matrices))
    assert 0.8 <= factors.min() < 0.82 and 1.22 < factors.max() <= 1.25
    assert np.median(factors) == pytest.approx(1, abs=0.02), "growing is as likely as shrinking"
    degrees = np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert -20 <= degrees.min() < -19 and 19 < degrees.max() <= 20
    assert np.allclose(matrices[:, 2, :2], 0), "nothing leaves an axial slice"
    still = np.mean([not one.moves for one in drawn(config(rotation_deg=10, spatial_probability=0.25))])
    assert still == pytest.approx(0.75, abs=0.04)


def test_a_turn_is_about_the_axis_that_is_named_in_any_orientation() -> None:
    for orientation, axis in (("RAS", 2), ("SRA", 0), ("RSA", 1)):
        settings = config(rotation_deg={"SI": 20}, spatial_probability=1.0)
        (changes,) = drawn(settings, 1, orientation)
        assert changes.matrix[axis][axis] == 1


def test_intensities_change_as_often_as_is_asked_for_and_within_their_ranges() -> None:
    tones = [one.tones[0] for one in drawn(config(preset="plain", remap=0.6, intensity_probability=0.4))]
    happened = {
        "gamma": np.mean([tone.gamma != 1 for tone in tones]),
        "gain": np.mean([tone.gain != 1 for tone in tones]),
        "blur": np.mean([tone.blur > 0 for tone in tones]),
        "low_resolution": np.mean([tone.low_resolution < 1 for tone in tones]),
        "noise": np.mean([tone.noise > 0 for tone in tones]),
    }
    assert happened == pytest.approx(dict.fromkeys(happened, 0.4), abs=0.05)
    assert np.mean([tone.remap is not None for tone in tones]) == pytest.approx(0.6, abs=0.05)
    assert all(0.7 <= tone.gamma <= 1.5 and 0.75 <= tone.gain <= 1.25 for tone in tones)
    assert all(0.5 <= tone.blur <= 1 for tone in tones if tone.blur)
    assert all(0.5 <= tone.low_resolution <= 1 and 0 <= tone.noise <= 0.1 for tone in tones)


def test_strength_stretches_every_range() -> None:
    base = config(preset="plain", spatial_probability=1.0, intensity_probability=1.0)
    for one, other in zip(drawn(base, 50), drawn(base.model_copy(update={"strength": 2.0}), 50), strict=True):
        first, second = one.tones[0], other.tones[0]
        assert second.gamma == pytest.approx(first.gamma**2) and second.blur == pytest.approx(2 * first.blur)
        assert np.linalg.det(other.matrix) == pytest.approx(np.linalg.det(one.matrix) ** 2)


def test_a_draw_follows_from_seed_step_and_row_alone() -> None:
    settings = config(preset="strong", flip=["LR"])
    places = [(5, 0, 0), (5, 0, 1), (5, 1, 0), (6, 0, 0)]
    found = [draw_changes(settings, "RAS", place, 2) for place in places]
    assert found == [draw_changes(settings, "RAS", place, 2) for place in reversed(places)][::-1]
    assert len({str(one) for one in found}) == 4
    assert found[0].tones[0] != found[0].tones[1], "channels are modalities: each has its own contrast"


def test_one_kind_of_change_leaves_the_others_as_they_are() -> None:
    base = config(preset="plain", flip=["LR"])
    other = base.model_copy(update={"noise": (0.0, 0.0), "flip": (), "elastic": 1.0})
    for one, two in zip(drawn(base, 20), drawn(other, 20), strict=True):
        assert one.matrix == two.matrix and one.tones[0].gamma == two.tones[0].gamma


def test_turns_are_proper_and_add_up() -> None:
    for axis in range(3):
        assert np.allclose(turn(axis, 30) @ turn(axis, 60), turn(axis, 90))
        assert np.linalg.det(turn(axis, 40)) == pytest.approx(1)
