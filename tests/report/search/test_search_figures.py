from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from dwp_sweep.errors import InputError
from dwp_sweep.report.search.parameter_plots import parallel_plot, place_of, slice_plot
from dwp_sweep.report.search.report import SearchReport, kept_report, search_figures
from dwp_sweep.tables import Stat, print_tables
from dwp_sweep.tracking.read.best import Best
from dwp_sweep.tracking.read.conditions import BestByCondition, ConditionBest
from dwp_sweep.tracking.read.configuration import Candidate
from dwp_sweep.tracking.read.pareto import Front, FrontPoint
from dwp_sweep.tracking.read.trials import Goal, Importance, Parameter, SearchTrials, TrialRow
from dwp_sweep.tracking.write.parent import Tracking

PARAMETERS = (
    Parameter("target.lr", 1e-4, 1e-1, is_log=True),
    Parameter("prior.latent_dim", 2.0, 16.0),
    Parameter("method", choices=("fine_tune", "l2_sp")),
    Parameter("l2_sp.weight", 1e-4, 1e-1, is_log=True),
)


def trials(n_goals: int = 1, conditions: tuple[str, ...] = ("train_size=5", "train_size=20")) -> SearchTrials:
    rows = []
    for place, condition in enumerate(conditions):
        for number in range(4):
            values = {"target.lr": 10.0 ** -(1 + number % 3), "prior.latent_dim": 2 + 4 * number}
            values |= {"method": "l2_sp", "l2_sp.weight": 0.01} if number % 2 else {"method": "fine_tune"}
            curve = tuple((epoch, 0.1 * epoch + 0.02 * place) for epoch in range(1, 5 - number))
            if number == 3:
                rows.append(TrialRow(condition, number, "pruned", values, reached=0.3, curves=(curve,)))
            else:
                results = (0.6 + 0.1 * number, 1.0 + number**2)[:n_goals]
                rows.append(TrialRow(condition, number, "complete", values, results, curves=(curve,)))
    goals = (Goal("val_dice", "max"), Goal("gpu_hours", "min"))[:n_goals]
    return SearchTrials("which", goals, "val_dice", PARAMETERS, conditions, tuple(rows))


SHARES = Importance("train_size=5", "val_dice", {"target.lr": 0.75, "method": 0.25}, 12, 3, "rough: from 15")
NONE = Importance("train_size=20", "val_dice", {}, 3, 1, "too few configurations: 4 have ended")


def test_one_objective_gives_four_figures_and_two_give_one_of_each_for_both(tmp_path: Path) -> None:
    one = search_figures(trials(), (SHARES, NONE))
    assert list(one) == ["slice", "parallel", "learning_curves", "importance"]
    two = search_figures(trials(2))
    assert list(two) == [
        "slice_val_dice", "parallel_val_dice", "slice_gpu_hours", "parallel_gpu_hours",
        "learning_curves", "pareto",
    ]  # fmt: skip
    files = one.save(tmp_path)
    assert all(imread(path).shape[1] > 400 for path in files.values())
    again = search_figures(trials(), (SHARES, NONE)).save(tmp_path / "again")
    assert [path.read_bytes() for path in files.values()] == [path.read_bytes() for path in again.values()]


def test_a_slice_shows_every_configuration_once_where_its_field_applies() -> None:
    picture = slice_plot(trials())
    lr, _, _, weight = picture.axes
    dots = [line for line in lr.lines if line.get_marker() in "os" and line.get_markersize() < 10]
    crosses = [line for line in lr.lines if line.get_marker() == "x"]
    assert len(dots) == 6 and len(crosses) == 2
    assert {line.get_markerfacecolor() for line in dots} == {"#0072B2", "#D55E00"}
    assert lr.get_xscale() == "log" and [line.get_ydata()[0] for line in crosses] == [0.3, 0.3]
    assert (
        len([line for line in weight.lines if line.get_marker() in "osx" and line.get_markersize() < 10]) == 4
    )


def test_choices_find_their_place_whatever_they_are() -> None:
    mixed = Parameter("blocks", choices=('["out"]', "null", "true", "1"))
    assert [place_of(value, mixed) for value in (["out"], None, True, 1)] == [0.0, 1.0, 2.0, 3.0]
    plain = Parameter("kind", choices=("vae", "None"))
    assert [place_of(value, plain) for value in ("vae", None)] == [0.0, 1.0]


def test_parallel_lines_reach_the_heights_of_their_values() -> None:
    picture = parallel_plot(trials(conditions=("all",)))
    assert picture is not None
    lines = [patch.get_path().vertices for patch in picture.axes[0].patches]
    assert len(lines) == 4
    heights = {tuple(round(float(y), 3) for y in line[::3, 1]) for line in lines}
    # trial 2: lr 1e-3 is a third of the way up, 10 of 2..16, l2_sp does not apply, the best result.
    assert (0.333, 0.571, 0.0, -0.14, 1.0) in heights


def test_an_empty_search_draws_nothing_and_says_so() -> None:
    empty = replace(trials(), trials=())
    assert len(search_figures(empty, (NONE,))) == 0
    assert "no configuration has ended" in search_figures(empty)._repr_html_()
    assert "0 configurations" in shown(empty)


def shown(found: SearchTrials, *importances: Importance) -> str:
    screen = io.StringIO()
    print_tables(SearchReport(found, importances).tables(), Console(file=screen, width=200))
    return screen.getvalue()


def test_the_summary_names_counts_winners_and_what_mattered() -> None:
    text = shown(trials(), SHARES, NONE)
    assert "8 configurations: 6 complete, 2 pruned in 2 studies" in text
    assert "0.8000" in text and "75 %  ██████████████████······" in text
    assert "Importance (train_size=20): not told, too few configurations" in text


def test_a_report_is_read_back_from_the_sweeps_folder_alone(tmp_path: Path) -> None:
    report = SearchReport(trials(2), (SHARES,))
    files = report.keep(tmp_path, Tracking("sqlite:///nowhere.db", "", "", False, "off"))
    assert {path.name for path in files} >= {"pareto.png", "trials.json", "importance.json"}
    assert kept_report("which", tmp_path, None) == report
    assert json.loads((tmp_path / "importance.json").read_text())[0]["shares"]["target.lr"] == 0.75
    (tmp_path / "trials.json").write_text("{}")
    with pytest.raises(InputError, match="run it again"):
        kept_report("which", tmp_path, None)


def test_a_front_and_the_best_of_each_condition_are_tables() -> None:
    metrics = {"val_dice": Stat(0.8, 0.02, 3), "gpu_hours": Stat(1.5, None, 1)}
    point = FrontPoint({"target.lr": 0.0005609374}, metrics, ("r1",), True)
    goals = (Goal("val_dice", "max"), Goal("gpu_hours", "min"))
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    front = Front("which", goals, (point,), ("target.lr",), 7, ("a note",), "x")
    print_tables(front.tables(), console)
    winner = Candidate({"train_size": 5}, metrics, ("r1",))
    best = Best("which", "val_dice", {}, metrics, ("r1",), {}, (), (winner,), (), (), "x")
    condition = ConditionBest({"train_size": 5}, best)
    found = BestByCondition("which", "val_dice", ("train_size",), (condition,))
    print_tables(found.tables(), console)
    text = screen.getvalue()
    assert (
        "1 of 7 configurations" in text and "0.0005609 " in text and "0.8 (0.02)" in text and "knee" in text
    )
    assert "Best of sweep which for each train_size" in text
