from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from dwp_sweep.data.cache.cases import Case
from dwp_sweep.data.check.overview import write_overview
from dwp_sweep.metrics.calibration import reliability
from dwp_sweep.stages import figures, prediction_figures
from dwp_sweep.stages.figures import kernel_figure, learning_curve
from dwp_sweep.stages.prediction_figures import calibration_figure, slice_figure, uncertainty_figure
from tests.hostile_texts import WORST, assert_drawn, figures_saved

HISTORY = [
    {
        "train_loss": 1 / epoch,
        "val_loss": 1.2 / epoch,
        "val_dice": 1 - 1 / epoch,
        "val_iou": 0.8 - 0.7 / epoch,
        "lr": lr,
    }
    for epoch, lr in enumerate([1e-3, 1e-3, 1e-4, 1e-3], start=1)
]


def pixels(path: Path) -> NDArray[np.uint8]:
    return (255 * matplotlib.image.imread(path)[..., :3]).round().astype(np.uint8)


def n_pixels(path: Path, colour: str) -> int:
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    return int((np.abs(pixels(path).astype(int) - wanted).max(axis=-1) <= 2).sum())


def drawn(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> tuple[str, list[Axes]]:
    """Title and panels of a learning curve."""
    kept: list[Figure] = []
    with monkeypatch.context() as patch:
        patch.setattr(figures, "save", lambda figure, path: kept.append(figure))
        learning_curve(arguments[0], Path("nowhere.png"), *arguments[1:], **options)
    return kept[0].get_suptitle(), kept[0].axes


def curve(axis: Axes, label: str) -> list[float]:
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return [float(value) for value in np.asarray(line.get_ydata())]


def verticals(axis: Axes, style: str) -> list[float]:
    """Where lines over a whole panel stand."""
    places = [np.asarray(line.get_xdata()) for line in axis.lines if line.get_linestyle() == style]
    return [float(x[0]) for x in places if len(x) == 2 and x[0] == x[1]]


def test_a_learning_curve_shows_losses_and_overlap(tmp_path: Path) -> None:
    whole, losses = tmp_path / "figures" / "whole.png", tmp_path / "losses.png"
    learning_curve(HISTORY, whole, "title")
    learning_curve(
        [{name: epoch[name] for name in ("train_loss", "val_loss", "lr")} for epoch in HISTORY],
        losses,
        "title",
    )
    assert pixels(whole).shape[0] > 1.5 * pixels(losses).shape[0]  # a panel more
    assert n_pixels(whole, "#0072B2") > 100 and n_pixels(whole, "#D55E00") > 100
    assert n_pixels(whole, "#009E73") > 100 and n_pixels(losses, "#009E73") == 0


def test_training_and_validation_show_the_same_quantity_and_the_bound_stands_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = [
        {**epoch, "train_loss": epoch["train_loss"] + 3.0, "train_data_loss": epoch["train_loss"],
         "train_bound": 3e5 - index} for index, epoch in enumerate(HISTORY)
    ]  # fmt: skip
    _, (losses, bound, overlap) = drawn(monkeypatch, history, "UNet-DWP")
    assert curve(losses, "training") == [epoch["train_loss"] for epoch in HISTORY]
    assert curve(losses, "validation") == [epoch["val_loss"] for epoch in HISTORY]
    assert curve(bound, "training") == [3e5, 3e5 - 1, 3e5 - 2, 3e5 - 3]
    assert losses.get_title(loc="left") == "Data loss" and "nats" in bound.get_title(loc="left")
    assert curve(overlap, "Dice") == [epoch["val_dice"] for epoch in HISTORY]
    assert bound.get_position().height < 0.7 * losses.get_position().height


def test_a_learning_curve_says_which_node_it_is_and_which_epoch_was_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = "Negative ELBO, nats per standardised kernel"
    title, (losses, overlap) = drawn(monkeypatch, HISTORY, "Kernel prior, group 3", [3], unit)
    assert title == "Kernel prior, group 3" and losses.get_title(loc="left") == unit
    assert verticals(losses, "-") == verticals(overlap, "-") == [3]
    assert curve(losses, "kept (epoch 3)") == [HISTORY[2]["val_loss"]]
    assert curve(overlap, "kept (epoch 3)") == [HISTORY[2]["val_dice"], HISTORY[2]["val_iou"]]


def test_a_new_cycle_is_marked_where_it_begins_even_when_the_rate_had_not_fallen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = [
        {**epoch, "cycle": cycle, "lr": lr}
        for epoch, cycle, lr in zip(HISTORY, (0.0, 0.0, 1.0, 1.0), (1e-3, 1e-3, 1e-3, 1e-4), strict=True)
    ]
    _, panels = drawn(monkeypatch, history, "Source networks, seed 0", [2, 4])
    for axis in panels:
        assert verticals(axis, "--") == [2.5] and verticals(axis, ":") == [3.5]
        assert verticals(axis, "-") == [2, 4]
    assert [text.get_text() for text in panels[0].texts] == ["cycle 1", "lr 0.0001"]


@pytest.mark.parametrize("history", [[], [{}], [{"train_loss": float("nan")}], HISTORY[:1]])
def test_a_short_or_broken_history_still_draws(history: list[dict[str, float]], tmp_path: Path) -> None:
    learning_curve(history, tmp_path / "curve.png", "title", [1] if history else [])
    assert pixels(tmp_path / "curve.png").size > 0


def test_equal_histories_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        learning_curve(HISTORY, tmp_path / name, "title", [2])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_slice_shows_truth_and_prediction(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 18, 9), dtype=bool)
    truth[4:9, 4:9, 2:5] = True
    image = rng.normal(size=truth.shape).astype(np.float32)
    shown, missed = tmp_path / "shown.png", tmp_path / "missed.png"
    slice_figure(image, truth, np.roll(truth, 2, axis=1), shown, "title")
    slice_figure(image, truth, np.zeros_like(truth), missed, "title")
    assert n_pixels(shown, "#00E0B8") > 100
    # The outline, where there is one; the legend's line is in both.
    assert n_pixels(shown, "#FF8A1F") > n_pixels(missed, "#FF8A1F") + 100


def test_a_slice_without_foreground_or_contrast_still_draws(tmp_path: Path) -> None:
    empty = np.zeros((8, 8, 8))
    slice_figure(empty, empty, empty, tmp_path / "empty.png", "nothing")
    assert pixels(tmp_path / "empty.png").size > 0


def test_the_constant_background_of_a_prepared_scan_is_black(tmp_path: Path) -> None:
    image = np.zeros((16, 16, 16), dtype=np.float32)
    image[4:12, 4:12, 4:12] = np.random.default_rng(0).normal(size=(8, 8, 8))
    slice_figure(image, image > 9, image > 9, tmp_path / "slice.png", "title")
    assert n_pixels(tmp_path / "slice.png", "#000000") > 0.3 * pixels(tmp_path / "slice.png")[..., 0].size


def test_kernels_stand_in_blue_below_and_orange_above_zero(tmp_path: Path) -> None:
    signs = np.ones((6, 27), dtype=np.float32)
    kernel_figure(1e-3 * signs, -5 * signs, tmp_path / "kernels.png", "Group 1")
    left, right = np.array_split(pixels(tmp_path / "kernels.png"), 2, axis=1)
    for half, colour in ((left, (180, 83, 9)), (right, (11, 83, 148))):
        other = (11, 83, 148) if half is left else (180, 83, 9)
        assert (np.abs(half.astype(int) - colour).max(axis=-1) <= 2).sum() > 1_000  # whatever the scale
        assert (np.abs(half.astype(int) - other).max(axis=-1) <= 2).sum() == 0


@pytest.mark.parametrize("kernels", [np.zeros((1, 27)), np.ones((25, 27))])
def test_any_number_of_kernels_is_drawn_zeros_included(kernels: NDArray[np.float64], tmp_path: Path) -> None:
    kernel_figure(kernels, kernels[:0], tmp_path / "kernels.png", "Group 7")
    assert pixels(tmp_path / "kernels.png").size > 0


def half_right() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A lesion, and probabilities that lie one voxel beside it."""
    truth = np.zeros((20, 18, 9), dtype=bool)
    truth[4:9, 4:9, 2:5] = True
    foreground = np.where(np.roll(truth, 1, axis=0), 0.8, 0.1)
    return truth, np.stack([1 - foreground, foreground])


def test_the_uncertainty_of_a_variational_network_has_a_panel_more(tmp_path: Path) -> None:
    truth, probs = half_right()
    image = np.random.default_rng(0).normal(size=truth.shape)
    plain, variational = tmp_path / "plain.png", tmp_path / "figures" / "variational.png"
    uncertainty_figure(image, truth, probs, None, plain, "title")
    uncertainty_figure(image, truth, probs, 0.01 * probs[1], variational, "title")
    assert pixels(variational).shape[1] == pytest.approx(4 / 3 * pixels(plain).shape[1], abs=2)
    for path in (plain, variational):
        assert n_pixels(path, "#00E0B8") > 100 and n_pixels(path, "#FF8A1F") > 100


def test_uncertainty_without_foreground_or_noise_still_draws(tmp_path: Path) -> None:
    sure = np.stack([np.ones((8, 8, 8)), np.zeros((8, 8, 8))])
    uncertainty_figure(sure[1], sure[1], sure, sure[1], tmp_path / "sure.png", "nothing")
    assert n_pixels(tmp_path / "sure.png", "#FF8A1F") < 200  # the legend's line alone


def test_a_reliability_diagram_shows_frequency_against_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(prediction_figures, "save", lambda figure, path: kept.append(figure))
    probs = np.array([0.1] * 10 + [0.9] * 30)
    bins = reliability(np.stack([1 - probs, probs]), np.arange(40) >= 25, n_bins=5)
    calibration_figure(bins, 0.25, 0.3, Path("nowhere.png"), "UNet-DWP")
    diagram, histogram = kept[0].axes
    np.testing.assert_allclose(curve(diagram, "pooled test voxels"), [0, 0.5])
    heights = [bar.get_height() for bar in histogram.patches if isinstance(bar, Rectangle)]
    np.testing.assert_allclose(heights, [25, 0, 0, 0, 75])
    assert "Brier score 0.250, ECE 0.300" in diagram.get_title(loc="left")
    assert f"{0.25 * 0.1 + 0.75 * 0.4:.3f}" in diagram.get_title(loc="left")


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_probabilities_of_one_value_still_draw(p: float, tmp_path: Path) -> None:
    probs = np.stack([np.full(7, 1 - p), np.full(7, p)])
    calibration_figure(reliability(probs, np.ones(7)), 0.1, 0.1, tmp_path / "calibration.png", "title")
    assert n_pixels(tmp_path / "calibration.png", "#0072B2") > 1_000


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("title", WORST[::3])
def test_titles_are_drawn_as_they_are(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, image, mask = tmp_path / "f.png", np.zeros((6, 6, 6)), np.zeros((6, 6, 6), dtype=bool)
    mask[2:4, 2:4, 2:4] = True
    image[mask] = 1.0
    foreground = np.where(mask, 0.9, 0.1)
    probs, kernels = np.stack([1 - foreground, foreground]), np.eye(27)
    bins = reliability(probs.reshape(2, -1), mask.ravel())
    with figures_saved(monkeypatch) as saved:
        learning_curve(HISTORY, path, title)
        kernel_figure(kernels, kernels, path, title)
        slice_figure(image, mask, mask, path, title)
        uncertainty_figure(image, mask, probs, None, path, title)
        calibration_figure(bins, 0.1, 0.1, path, title)
        write_overview([Case(title, image[None], mask.astype(np.uint8))], path, title, {title: title})
    assert len(saved) == 6
    for figure in saved:
        assert_drawn(figure, title)
