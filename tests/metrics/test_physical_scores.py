from __future__ import annotations

import json

import numpy as np
import pytest

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.metrics.physical import physical_scores, summarise_physical
from dwp_sweep.stages import evaluation
from dwp_sweep.stages.evaluation import Prediction
from dwp_sweep.stages.scores import summarise

SPACING = (1.0, 1.0, 4.0)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Two slabs, four voxels of 4 mm apart along the last axis."""
    one, other = np.zeros((8, 8, 12), dtype=np.uint8), np.zeros((8, 8, 12), dtype=np.uint8)
    one[..., 3], other[..., 7] = 1, 1
    return one, other


def test_scores_are_in_the_millimetres_of_the_networks_grid() -> None:
    one, other = masks()
    found = physical_scores(one, other, SPACING)
    assert (found.hd95_mm, found.asd_mm) == pytest.approx((16.0, 16.0))
    assert (found.lesion_sensitivity, found.n_lesions, found.n_false_lesions) == (0.0, 1, 1)
    assert found.volume_error_ml == 0.0
    assert physical_scores(one, np.zeros_like(one), SPACING).volume_error_ml == pytest.approx(0.256)


def test_what_is_undefined_stays_out_of_the_mean_and_is_counted() -> None:
    one, other = masks()
    empty = np.zeros_like(one)
    scores = [
        physical_scores(one, one, SPACING),
        physical_scores(one, other, SPACING),
        physical_scores(empty, other, SPACING),  # no distance, but its lesion is missed
        physical_scores(one, empty, SPACING),  # neither distance nor lesion
        physical_scores(empty, empty, SPACING),  # agree, and no lesion
    ]
    found = summarise_physical(scores, "test")
    assert [one.hd95_mm for one in scores] == [0.0, 16.0, None, None, 0.0]
    assert [one.lesion_sensitivity for one in scores] == [1.0, 0.0, 0.0, None, None]
    assert found["test_hd95_mm"] == pytest.approx(16 / 3)
    assert found["test_hd95_mm_std"] == pytest.approx(np.std([0, 16, 0], ddof=1))
    assert found["test_lesion_sensitivity"] == pytest.approx(1 / 3)
    assert found["test_volume_error_ml"] == pytest.approx(2 * 0.256 / 5)
    assert found["test_false_lesions"] == pytest.approx(2 / 5)
    assert {name: value for name, value in found.items() if name.startswith("n_")} == {
        "n_test_hd95_mm_undefined": 2,
        "n_test_asd_mm_undefined": 2,
        "n_test_lesion_sensitivity_undefined": 2,
    }


def test_where_nothing_is_defined_only_the_count_is_left() -> None:
    one, _ = masks()
    found = summarise_physical([physical_scores(one, np.zeros_like(one), SPACING)], "test")
    assert "test_hd95_mm" not in found and "test_volume_error_ml_std" not in found
    assert found["n_test_hd95_mm_undefined"] == 1
    assert np.isfinite(list(found.values())).all()


def test_the_evaluation_takes_the_networks_mask_and_the_cases_spacing() -> None:
    said, truth = masks()
    probs = np.stack([1.0 - said, said]).astype(np.float32)
    cases = [
        Case("far", np.zeros((1, *truth.shape), np.float32), truth, SPACING),
        Case("empty", np.zeros((1, *truth.shape), np.float32), np.zeros_like(truth), SPACING),
    ]
    found = evaluation.test_scores(lambda _: Prediction(said == 1, probs), cases, 5)
    metrics = summarise(found.scores, "test")
    written = json.loads(json.dumps({name: one.as_json() for name, one in found.scores.items()}))
    assert written["far"]["hd95_mm"] == pytest.approx(16.0) and written["far"]["lesion_sensitivity"] == 0.0
    assert written["empty"]["hd95_mm"] is None and written["empty"]["volume_error_ml"] == pytest.approx(0.256)
    assert metrics["test_hd95_mm"] == pytest.approx(16.0) and metrics["n_test_hd95_mm_undefined"] == 1
    assert metrics["n_test"] == 2 and "physical" not in written["far"]
