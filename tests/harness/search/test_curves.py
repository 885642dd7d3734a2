from __future__ import annotations

from dwp_sweep.config.sections import ObjectiveConfig
from dwp_sweep.harness.search.curves import LiveCurves, thinned


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def write(
    curves: LiveCurves, clock: Clock, epoch: int, value: float, took_s: float = 0.1
) -> dict[int, float]:
    with curves.writing("n", epoch, {"val_dice": value}) as points:
        clock.now_s += took_s
    return points


def test_a_point_is_written_when_the_last_one_is_long_enough_ago() -> None:
    clock = Clock()
    curves = LiveCurves(ObjectiveConfig(), clock)
    assert write(curves, clock, 1, 0.5) == {1: 0.5}
    assert write(curves, clock, 2, 0.9) == {}, "0.1 s of writing buys 5 s without"
    clock.now_s += 5.0
    assert write(curves, clock, 3, 0.1) == {3: 0.9}, "the best so far, of epochs that were not written too"
    curves.forget(["n"])
    clock.now_s += 10.0
    assert write(curves, clock, 4, 0.2) == {4: 0.2}


def test_epochs_of_a_warm_up_and_without_the_metric_are_no_points() -> None:
    curves = LiveCurves(ObjectiveConfig(metric="val_loss"))
    for epoch, metrics in ((1, {"train_loss": 1.0}), (2, {"val_loss": 0.1, "warm_up_epochs": 2.0})):
        with curves.writing("n", epoch, metrics) as points:
            assert points == {}
    with curves.writing("n", 3, {"val_loss": 0.3, "warm_up_epochs": 2.0}) as points:
        assert points == {3: 0.3}


def test_a_long_curve_is_thinned_and_keeps_its_last_point() -> None:
    curve = {step: float(step) for step in range(1, 101)}
    assert thinned(curve, 4) == {25: 25.0, 50: 50.0, 75: 75.0, 100: 100.0}
    assert thinned(curve, 1) == {100: 100.0}
    assert thinned({1: 0.1, 2: 0.2}, 4) == {1: 0.1, 2: 0.2} and thinned({}) == {}
    for n in (17, 33, 99):
        assert len(thinned(dict(list(curve.items())[:n]))) == 16
