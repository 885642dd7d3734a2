"""A search driven without Ray: what is asked, built, told, taken up again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from dwp_sweep.config.sections import BudgetConfig
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.cost.durations import Durations
from dwp_sweep.harness.dag.ledger import Event, Ledger
from dwp_sweep.harness.dag.plan import make_plan
from dwp_sweep.harness.search import study
from dwp_sweep.harness.search.configuration import learning_points
from dwp_sweep.harness.search.search_plan import SearchPlan
from dwp_sweep.harness.search.study import CHOSEN, SAME_AS, VALUES
from dwp_sweep.harness.search.study_database import open_storage
from dwp_sweep.harness.view.text import search_lines
from dwp_sweep.store.local.store import LocalStore
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Point, Record
from tests.harness.toy_search import build, search_space, search_sweep


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables takes longer than a toy search."""
    path = tmp_path_factory.mktemp("optuna") / "optuna.db"
    open_storage(f"sqlite:///{path}")
    return path


def store_at(root: Path, empty_database: Path) -> Store:
    store = LocalStore(root)
    shutil.copy(empty_database, store.sweep_dir("toy") / "optuna.db")
    return store


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Store:
    return store_at(tmp_path / "storage", empty_database)


class Killed(Exception):
    """The driver dies here."""


def open_plan(sweep: Sweep, store: Store, **options: Any) -> tuple[Ledger, SearchPlan]:
    ledger = Ledger(make_plan(sweep, store), Durations(), lambda event: None)
    return ledger, SearchPlan(sweep, store, ledger, **options)


def drive(
    sweep: Sweep,
    store: Store,
    n_slots: int = 1,
    built: Callable[[int], None] = lambda n: None,
    **options: Any,
) -> tuple[Ledger, SearchPlan]:
    """Build everything, up to ``n_slots`` open configurations, one node after the other."""
    ledger, search = open_plan(sweep, store, **options)
    finish(store, ledger, search, n_slots, built)
    return ledger, search


def finish(
    store: Store,
    ledger: Ledger,
    search: SearchPlan,
    n_slots: int = 1,
    built: Callable[[int], None] = lambda n: None,
) -> None:
    """Build everything that a search asks for."""
    search.n_slots = n_slots
    n_built = 0
    while True:
        while len(ledger.board.heads()) < n_slots and search.start_next():
            pass
        if not ledger.board.heads():
            return
        node = ledger.board.heads()[0]
        ledger.hand_out(node, node.key)
        status = build(store, node)
        n_built += 1
        built(n_built)
        record = store.record(node.stage, node.key)
        assert record is not None
        if status == "published":
            ledger.published(node, record.wall_s, record.metrics)
        elif status == "pruned":
            ledger.pruned(node, record.error or "")
        else:
            ledger.failed(node, record.error or "")
        search.update()


def trials(store: Store, name: str = "toy/all") -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{store.root}/sweeps/toy/optuna.db"
    found = optuna.load_study(study_name=name, storage=url).get_trials()
    return [trial for trial in found if SAME_AS not in trial.user_attrs]


def points(store: Store, name: str = "toy/all") -> list[dict[str, Any]]:
    return [trial.user_attrs[VALUES] for trial in trials(store, name)]


def test_configurations_that_share_upstream_stages_build_each_of_them_once(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    ledger, search = drive(search_sweep(search_space(n_trials=8), log), store)
    counts = Counter(log.read_text().splitlines())
    assert {line for line in counts if line.startswith("source")} == {"source 0", "source 1"}
    assert set(counts.values()) == {1}
    assert {trial.state for trial in trials(store)} == {TrialState.COMPLETE}
    assert len(trials(store)) == 8 and search.is_finished
    assert all(
        trial.value == pytest.approx(0.9 - 0.01 * abs(trial.params["x"] - 3)) for trial in trials(store)
    )
    assert ledger.board.counts() == {"done": 10}


def test_the_same_seed_gives_the_same_suggestions_and_another_one_others(
    tmp_path: Path, empty_database: Path
) -> None:
    found = []
    for number, seed in enumerate((0, 0, 1)):
        store = store_at(tmp_path / str(number), empty_database)
        drive(search_sweep(search_space(n_trials=6, seed=seed)), store)
        found.append(points(store))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("dies_after", [3, 4])
def test_a_search_whose_driver_is_killed_goes_on_without_repeating_a_point(
    store: Store, tmp_path: Path, dies_after: int
) -> None:
    log = tmp_path / "log.txt"

    def die(n_built: int) -> None:
        if n_built == dies_after:
            raise Killed

    with pytest.raises(Killed):
        drive(search_sweep(search_space(n_trials=7), log), store, built=die)
    before = points(store)
    assert any(trial.state == TrialState.RUNNING for trial in trials(store))
    drive(search_sweep(search_space(n_trials=7), log), store)
    after = points(store)
    assert after[: len(before)] == before
    assert len(after) == len({str(point) for point in after}) == 7
    assert {trial.state for trial in trials(store)} == {TrialState.COMPLETE}
    assert set(Counter(log.read_text().splitlines()).values()) == {1}


def test_a_trial_that_was_asked_and_not_kept_is_told_as_failed_and_replaced(store: Store) -> None:
    open_plan(search_sweep(search_space(n_trials=3)), store)
    study = optuna.load_study(study_name="toy/all", storage=f"sqlite:///{store.root}/sweeps/toy/optuna.db")
    lost = study.ask()  # the driver is killed before it keeps the values
    drive(search_sweep(search_space(n_trials=3)), store)
    states = {trial.number: trial.state for trial in trials(store)}
    assert states.pop(lost.number) == TrialState.FAIL
    assert list(states.values()) == [TrialState.COMPLETE] * 3


def test_a_finished_search_has_nothing_more_and_a_larger_one_goes_on(store: Store) -> None:
    drive(search_sweep(search_space(n_trials=3)), store)
    _, again = open_plan(search_sweep(search_space(n_trials=3)), store)
    assert not again.has_more
    drive(search_sweep(search_space(n_trials=5)), store)
    assert len(points(store)) == 5


def test_a_small_space_is_tried_once_and_ends(store: Store) -> None:
    space = search_space({"x": {"int": [1, 3]}}, n_trials=20)
    _, search = drive(search_sweep(space), store)
    assert sorted(point["x"] for point in points(store)) == [1, 2, 3]
    assert search.is_finished and search.n_to_ask == 0


def test_each_condition_has_its_own_study_and_shares_what_lies_upstream(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    drive(search_sweep(search_space(n_trials=4, n_conditions=2), log), store)
    assert len(points(store, "toy/condition=0")) == len(points(store, "toy/condition=1")) == 4
    lines = log.read_text().splitlines()
    assert lines.count("source 0") <= 1 and lines.count("source 1") <= 1


def test_a_field_that_does_not_apply_is_never_suggested(store: Store) -> None:
    distributions = {
        "method": {"choice": ["a", "b"]},
        "x": {"float": [0, 10], "when": {"method": "a"}},
        "source": {"int": [0, 1], "when": {"method": "b", "given": 7}},
    }
    drive(search_sweep(search_space(distributions, n_trials=12, values={"given": 7})), store)
    found = points(store)
    assert {frozenset(point) for point in found} == {
        frozenset({"method", "x"}),
        frozenset({"method", "source"}),
    }
    assert all(("x" in point) == (point["method"] == "a") for point in found)


def test_the_objective_is_the_mean_over_the_repeats(store: Store) -> None:
    drive(search_sweep(search_space(n_trials=2, n_repeats=3)), store)
    for trial in trials(store):
        assert trial.value == pytest.approx(0.9 - 0.01 * abs(trial.params["x"] - 3) - 0.05)
        assert len(trial.user_attrs["nodes"]) == 3


def test_a_configuration_that_is_beaten_subject_by_subject_starts_no_further_repeat(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    space = search_space(
        {"x": {"int": [3, 9]}}, n_trials=7, n_repeats=3, scheduler={"kind": "median", "min_configurations": 1}
    )
    drive(search_sweep(space, log), store)
    best_yet: list[int] = []
    for trial in trials(store):
        x = trial.params["x"]
        is_best = not best_yet or x < min(best_yet)
        assert trial.state == (TrialState.COMPLETE if is_best else TrialState.PRUNED)
        starts = [line for line in log.read_text().splitlines() if f"x={x} " in line]
        assert len(starts) == (3 if is_best else 1)
        best_yet += [x] if is_best else []
    pruned = next(trial for trial in trials(store) if trial.state == TrialState.PRUNED)
    assert pruned.last_step == 9 and "worse than the best" in pruned.user_attrs["reason"]


def test_a_second_split_that_ends_first_is_held_against_the_second_split(store: Store) -> None:
    compared: list[dict[int, str]] = []
    ledger, search = open_plan(search_sweep(search_space(n_trials=3, n_repeats=2)), store)
    search.n_slots = 1
    search._incumbents.beat = lambda one, ended: bool(  # type: ignore[method-assign]
        compared.append({place: one.nodes.index(node) for place, node in ended.items()})
    )
    while search.has_more:
        while search.start_next():
            pass
        for node in reversed(ledger.board.ready()):  # the last repeat first
            ledger.hand_out(node, node.key)
            build(store, node)
            ledger.published(node, 1.0, {})
            search.update()
    assert {1: 1} in compared and all(place == index for one in compared for place, index in one.items())


def test_a_search_with_other_settings_does_not_take_over_old_results(store: Store) -> None:
    drive(search_sweep(search_space(n_trials=3)), store)
    with pytest.raises(InputError, match="begun with other settings"):
        open_plan(search_sweep(search_space(n_trials=5), n_epochs=4), store)
    drive(search_sweep(search_space(n_trials=5)), store)
    assert len(points(store)) == 5


def test_several_objectives_are_told_together(store: Store) -> None:
    space = search_space(n_trials=3, objectives=("val_dice", "hours"), kind="nsga2")
    drive(search_sweep(space), store)
    assert all(len(trial.values) == 2 and trial.values[1] >= 0 for trial in trials(store))


def test_a_failed_configuration_is_told_and_asked_for_again_by_the_next_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "n_at_random", lambda search: 0)  # all points are chosen by results
    ledger, _ = drive(search_sweep(search_space(n_trials=2), fails=True), store)
    assert {trial.state for trial in trials(store)} == {TrialState.FAIL}
    assert len(ledger.board.in_state("failed")) == 2
    _, left = open_plan(search_sweep(search_space(n_trials=2), fails=True), store, retry_failed=False)
    assert not left.has_more
    before = points(store)
    drive(search_sweep(search_space(n_trials=2)), store)
    assert [trial.state for trial in trials(store)] == [TrialState.FAIL] * 2 + [TrialState.COMPLETE] * 2
    assert points(store)[2:] == before


def test_failed_points_that_were_drawn_at_random_are_drawn_anew(store: Store) -> None:
    drive(search_sweep(search_space(n_trials=4), fails=True), store)
    before = points(store)
    drive(search_sweep(search_space(n_trials=4)), store)
    again = points(store)[4:]
    assert [trial.state for trial in trials(store)] == [TrialState.FAIL] * 4 + [TrialState.COMPLETE] * 4
    assert not [point for point in again if point in before]


def test_a_trial_says_whether_its_values_were_drawn_or_chosen(store: Store) -> None:
    drive(search_sweep(search_space(n_trials=6)), store)
    # A search of six believes its model after two results.
    assert [trial.user_attrs[CHOSEN] for trial in trials(store)] == ["at random"] * 2 + ["by results"] * 4


@pytest.mark.parametrize("n_slots", [1, 3])
def test_a_search_stops_asking_when_what_all_need_has_failed_and_leaves_the_trials_open(
    store: Store, n_slots: int
) -> None:
    space = search_space({"x": {"float": [0, 10]}}, n_trials=8)
    ledger, search = drive(search_sweep(space, source_fails="0"), store, n_slots)
    assert {trial.state for trial in trials(store)} == {TrialState.RUNNING}
    assert len(trials(store)) == n_slots == ledger.search.n_left_open
    assert search.is_finished and search.has_more
    assert ledger.board.counts() == {"failed": 1, "blocked": n_slots}
    before = points(store)
    drive(search_sweep(space), store)
    assert {trial.state for trial in trials(store)} == {TrialState.COMPLETE} and len(trials(store)) == 8
    assert points(store)[:n_slots] == before


def test_a_search_goes_on_where_only_some_configurations_need_what_failed(store: Store) -> None:
    ledger, _ = drive(search_sweep(search_space(n_trials=8), source_fails="1"), store)
    states = Counter((trial.params["source"], trial.state) for trial in trials(store))
    assert set(states) == {(0, TrialState.COMPLETE), (1, TrialState.RUNNING)}
    assert len(trials(store)) == 8 and ledger.search.n_left_open == states[1, TrialState.RUNNING]


def test_what_one_configuration_alone_needs_fails_with_it(store: Store) -> None:
    space = search_space({"source": {"int": [1, 100_000]}}, n_trials=3)
    drive(search_sweep(space, source_fails="all"), store)
    assert {trial.state for trial in trials(store)} == {TrialState.FAIL} and len(trials(store)) == 3
    assert all("not this source" in trial.user_attrs["reason"] for trial in trials(store))


def test_a_budget_of_trials_asks_for_no_more_and_says_so(store: Store) -> None:
    sweep = search_sweep(search_space(n_trials=5), budget=BudgetConfig(trials=2))
    ledger, search = drive(sweep, store)
    assert len(points(store)) == 2 and search.is_finished and search.has_more
    assert search.spent == "budget.trials = 2 is spent" and ledger.search.n_to_ask == 3
    drive(search_sweep(search_space(n_trials=5), budget=BudgetConfig(trials=2)), store)
    assert len(points(store)) == 4


def test_nothing_is_asked_while_as_many_configurations_are_open_as_there_are_slots(store: Store) -> None:
    _, search = open_plan(search_sweep(search_space(n_trials=9)), store)
    search.n_slots = 2
    while search.start_next():
        pass
    assert [trial.state for trial in trials(store)] == [TrialState.RUNNING] * 2


def test_a_network_that_was_given_up_ends_its_configuration_and_is_not_built_again(store: Store) -> None:
    sweep = search_sweep(search_space(n_trials=1, scheduler={"kind": "asha"}))
    ledger, search = open_plan(sweep, store)
    while search.start_next():
        pass
    build(store, next(node for node in sweep.nodes.values() if node.stage == "source"))
    target = sweep.nodes[sweep.targets[0]]
    store.ask_to_prune("target", target.key, "toy/all: asha after epoch 3")
    assert build(store, target) == "pruned"
    ledger, search = open_plan(search_sweep(search_space(n_trials=1, scheduler={"kind": "asha"})), store)
    while search.start_next():
        pass
    assert ledger.board.states[target.key] == "pruned" and not ledger.board.heads() and not search.has_more
    assert [trial.state for trial in trials(store)] == [TrialState.PRUNED]
    assert make_plan(search_sweep(search_space(n_trials=1)), store).by_stage()[1].n_pruned == 1


def test_learning_points_go_on_over_the_repeats(store: Store) -> None:
    sweep = search_sweep(search_space(n_trials=1, n_repeats=2), n_epochs=3)
    drive(sweep, store)
    records = [store.record("target", key) for key in sweep.targets]
    found = learning_points(sweep.search.objectives[0], [one for one in records if one])  # type: ignore[union-attr]
    best = [one.metrics["best_val_dice"] for one in records if one]
    assert list(found) == [1, 2, 3, 4, 5, 6]
    assert found[3] == pytest.approx(best[0])
    assert found[6] == pytest.approx(sum(best) / 2)


def test_learning_points_pass_over_the_epochs_of_a_warm_up() -> None:
    def record(*dice: float) -> Record:
        values = enumerate(dice, start=1)
        history = tuple(
            Point(step, step, {"val_dice": value, "warm_up_epochs": 2.0}) for step, value in values
        )
        return Record(key="a", stage="target", status="done", config={}, history=history)

    objective = search_space().objectives[0]
    points_of = learning_points(objective, [record(0.9, 0.8, 0.3, 0.2, 0.4), record(0.9, 0.9, 0.6)])
    assert points_of == pytest.approx({3: 0.3, 4: 0.3, 5: 0.4, 8: 0.5})
    assert learning_points(objective, [record(0.9, 0.8)]) == {}


def test_values_that_make_the_networks_of_an_earlier_trial_cost_nothing_and_do_not_count(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    # No stage reads `idle`; `source` and a choice of x leave six networks.
    distributions = {
        "x": {"choice": [1.0, 2.0, 3.0]},
        "source": {"int": [0, 1]},
        "idle": {"int": [0, 9]},
    }
    _, search = drive(search_sweep(search_space(distributions, n_trials=6), log), store)
    lines = [line for line in log.read_text().splitlines() if line.startswith("target")]
    assert len(trials(store)) == 6 and search.is_finished
    assert len({trial.user_attrs["nodes"][0] for trial in trials(store)}) == 6
    assert Counter(lines) == {f"target x={x} condition=0 split=0": 2 for x in (1, 2, 3)}


def test_a_search_in_which_nothing_changes_a_network_ends(store: Store) -> None:
    distributions = {"idle": {"float": [0, 1]}}
    _, search = drive(search_sweep(search_space(distributions, n_trials=3)), store)
    assert search.is_finished and len(trials(store)) == 1


def test_optuna_has_the_curve_of_every_trial_and_repeats_are_no_failures(store: Store) -> None:
    space = search_space({"x": {"int": [0, 2]}}, n_trials=3)
    drive(search_sweep(space), store)
    url = f"sqlite:///{store.root}/sweeps/toy/optuna.db"
    study = optuna.load_study(study_name="toy/all", storage=url)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    for trial in study.trials:
        best = 0.9 - 0.01 * abs(trial.params["x"] - 3)
        steps = trial.intermediate_values
        assert steps == {epoch: pytest.approx(best * epoch / 9) for epoch in range(1, 10)}
        assert trial.value == pytest.approx(steps[9])


def test_an_epoch_of_a_running_network_is_in_its_trial_before_it_ends(store: Store) -> None:
    sweep = search_sweep(search_space(n_trials=1, n_repeats=2))
    ledger, search = open_plan(sweep, store)
    search.n_slots = 1
    assert search.start_next()
    (first, second) = (node for node in sweep.nodes.values() if node.stage == "target")
    search.reported(first.key, 1, {"val_dice": 0.25})
    search.reported(second.key, 1, {"val_dice": 0.75})
    assert [trial.intermediate_values for trial in trials(store)] == [{1: 0.25}]
    assert ledger.search.n_by_state["open"] == 1


def test_the_log_says_how_each_trial_ended_and_what_is_best(store: Store) -> None:
    events: list[Event] = []
    sweep = search_sweep(search_space(n_trials=3, kind="random"))
    ledger = Ledger(make_plan(sweep, store), Durations(), events.append)
    search = SearchPlan(sweep, store, ledger)
    finish(store, ledger, search)
    texts = [event.text for event in events if event.kind == "trial"]
    assert len(texts) == 3 and texts[0].startswith("complete trial 0 of toy/all x=")
    assert texts[0].endswith("the best so far") and "val_dice 0." in texts[0]
    best = max(range(3), key=lambda number: trials(store)[number].value or 0.0)
    assert len(ledger.search.best) == 1 and f"trial {best} of toy/all" in ledger.search.best[0]
    assert search_lines(ledger)[0] == "configurations: 3 complete"
