from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.metrics.calibration import entropy
from dwp_sweep.stages.examples import (
    MAX_PIXELS,
    example_case,
    load_example,
    predicted_example,
    save_example,
    scan_example,
)


def case(shape: tuple[int, int, int], box: tuple[slice, ...] | None = None, name: str = "a") -> Case:
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, dtype=np.uint8)
    if box is not None:
        mask[box] = 1
    return Case(name, rng.normal(size=(1, *shape)).astype(np.float32), mask, (3.0, 1.0, 2.0))


def probs_of(shape: tuple[int, ...]) -> np.ndarray:
    foreground = np.random.default_rng(1).uniform(size=shape).astype(np.float32)
    return np.stack([1 - foreground, foreground])


def test_the_slice_with_most_foreground_along_the_thin_axis_is_kept() -> None:
    scan = case((6, 20, 30), (slice(2, 4), slice(4, 9), slice(5, 9)))
    scan.mask[3, 15, 15] = 1
    probs = probs_of(scan.mask.shape)
    found = predicted_example(scan, probs[1] > 0.5, probs, is_variational=True)
    assert (found.facts.axis, found.facts.index, found.facts.spacing_mm) == (0, 3, (1.0, 2.0))
    assert not found.facts.is_cut and found.facts.uncertainty == "draws"
    np.testing.assert_array_equal(found.truth, scan.mask[3] == 1)
    np.testing.assert_allclose(found.image, scan.image[0, 3], atol=2e-3)
    assert found.probs is not None and found.entropy is not None and found.mask is not None
    np.testing.assert_allclose(found.probs, probs[1, 3], atol=1e-3)
    np.testing.assert_allclose(found.entropy, entropy(probs[:, 3]), atol=4e-3)
    np.testing.assert_array_equal(found.mask, probs[1, 3] > 0.5)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    scan = case((20, 24, 8), (slice(5, 9), slice(5, 9), slice(2, 4)))
    probs = probs_of(scan.mask.shape)
    first = predicted_example(scan, probs[1] > 0.5, probs, is_variational=False)
    save_example(first, tmp_path / "new")
    second = load_example(tmp_path / "new")
    assert second.facts == first.facts and second.facts.uncertainty == "softmax"
    for name in ("image", "truth", "probs", "entropy", "mask"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    save_example(scan_example(scan), tmp_path / "scan")
    bare = load_example(tmp_path / "scan")
    assert bare.probs is None and bare.mask is None and bare.truth.any()


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((152, 184, 144), (slice(60, 90), slice(60, 90), slice(60, 90))),
        ((24, 352, 400), (slice(3, 5), slice(100, 110), slice(380, 400))),
        ((40, 400, 400), (slice(3, 30), slice(20, 390), slice(20, 390))),
        ((300, 300, 300), None),
    ],
)
def test_an_example_stays_below_200_kilobytes_and_holds_the_whole_truth(
    tmp_path: Path, shape: tuple[int, int, int], box: tuple[slice, ...] | None
) -> None:
    mask = np.zeros(shape, dtype=np.uint8)
    if box is not None:
        mask[box] = 1
    image = np.broadcast_to(np.float32(0.5), (1, *shape))
    scan = Case("big", image, mask)
    probs = np.broadcast_to(np.float32(0.5), (2, *shape))
    found = predicted_example(scan, mask == 1, probs, is_variational=False)
    save_example(found, tmp_path)
    assert found.image.size <= MAX_PIXELS
    assert (tmp_path / "example.safetensors").stat().st_size < 200_000
    if box is not None:
        step = found.facts.spacing_mm[0]
        inside = [b.stop - b.start for n, b in enumerate(box) if n != found.facts.axis]
        expected = inside[0] * inside[1] / step**2
        assert found.truth.sum() == pytest.approx(expected, rel=0.02)
        assert found.truth.any() and not found.truth.all()


def test_the_first_subject_with_foreground_is_shown_whatever_the_order() -> None:
    box = (slice(2, 4),) * 3
    cases = [case((8, 8, 8), box, "c"), case((8, 8, 8), None, "a"), case((8, 8, 8), box, "b")]
    assert example_case(cases).id == "b" == example_case(cases[::-1]).id
    assert example_case([case((8, 8, 8), None, "z"), case((8, 8, 8), None, "y")]).id == "y"


def test_numbers_beyond_half_precision_are_clipped_not_infinite(tmp_path: Path) -> None:
    scan = case((8, 8, 8), (slice(2, 4),) * 3)
    scan.image[...] = 1e6
    save_example(scan_example(scan), tmp_path)
    assert np.isfinite(load_file(tmp_path / "example.safetensors")["image"]).all()


@pytest.mark.parametrize("name", ["example.json", "example.safetensors"])
def test_a_damaged_example_is_named(tmp_path: Path, name: str) -> None:
    save_example(scan_example(case((8, 8, 8), (slice(2, 4),) * 3)), tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_example(tmp_path)


def test_with_classes_truth_and_mask_keep_the_numbers_and_the_entropy_is_of_all(tmp_path: Path) -> None:
    scan = case((20, 24, 8), (slice(5, 9), slice(5, 9), slice(2, 4)), "b")
    scan.mask[9:12, 5:9, 2:4] = 2
    logits = np.random.default_rng(0).normal(size=(3, *scan.mask.shape))
    probs = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    names = ("core", "oedema")
    first = predicted_example(scan, probs.argmax(axis=0).astype(np.uint8), probs, False, names)
    save_example(first, tmp_path)
    found = load_example(tmp_path)
    index = found.facts.index
    assert found.facts == first.facts and found.facts.classes == names
    np.testing.assert_array_equal(found.truth, scan.mask[..., index])
    np.testing.assert_array_equal(found.mask, probs.argmax(axis=0)[..., index])
    assert found.probs is not None and found.entropy is not None
    np.testing.assert_allclose(found.probs, 1 - probs[0, ..., index], atol=1e-3)
    np.testing.assert_allclose(found.entropy, entropy(probs[..., index]), atol=2e-3)
    only_one = case((20, 24, 8), (slice(5, 9), slice(5, 9), slice(2, 4)), "a")
    assert example_case([scan, only_one], names) is scan and example_case([scan, only_one]) is only_one


def test_an_example_with_classes_is_below_200_kb(tmp_path: Path) -> None:
    scan = case((400, 300, 3), (slice(5, 390), slice(5, 290), slice(1, 2)))
    probs = np.full((3, *scan.mask.shape), 1 / 3, dtype=np.float32)
    save_example(predicted_example(scan, scan.mask, probs, False, ("a", "b")), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200_000
