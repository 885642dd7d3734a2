"""One Optuna study: what to try next in one condition, kept in a database so that it survives its driver.

Ask and tell on a storage of Optuna's. `search_plan` turns values into nodes, and records into results.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dwp_sweep.config.search.definition import SearchCondition, SearchSpace
from dwp_sweep.config.search.first_points import points_of
from dwp_sweep.errors import InputError
from dwp_sweep.harness.search.question import QUESTION, question_of, question_problems
from dwp_sweep.harness.search.samplers import drawn, encoded, make_sampler, n_at_random, suggested

VALUES, NODES, SAME_AS, REASON, CHOSEN = "values", "nodes", "same_as", "reason", "chosen"
"""User attributes of a trial: its values, keys of its target nodes, the earlier trial that it repeats, why
it failed or was pruned, whether its values were chosen (``by results``) or drawn (``at random``)."""

_AT_RANDOM, _BY_RESULTS = "at random", "by results"

EXHAUSTED = "exhausted"
"""User attribute of a study: whether it has no new configuration left."""
FIRST, WARM = "try_first", "warm_start"
"""User attributes of a trial: the point that it was asked for first; sweep and trial that it is a copy of.
A study has the sweeps that it began with under the latter."""
_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
_N_ASKED_AGAIN = 3
_N_DRAWN = 200
_N_REPEATED = 50


@dataclass(frozen=True)
class StudyTrial:
    """A configuration of a study.

    Attributes:
        number: Of the trial in the study.
        values: By dotted key; fields that do not apply are missing.
        state: ``open``, ``complete``, ``pruned`` or ``failed``.
        results: Of a complete one, one for each objective.
        keys: Of its target nodes; empty before they are known.
    """

    number: int
    values: Mapping[str, Any]
    state: str = "open"
    results: tuple[float, ...] = ()
    keys: tuple[str, ...] = ()


STATES = {
    TrialState.RUNNING: "open",
    TrialState.WAITING: "open",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
"""Optuna's words in ours."""


def study_trial(trial: FrozenTrial) -> StudyTrial:
    """A trial of Optuna's that has values, in our words."""
    results = tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else ()
    keys = tuple(trial.user_attrs.get(NODES, ()))
    return StudyTrial(trial.number, trial.user_attrs[VALUES], STATES[trial.state], results, keys)


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that are configurations of their study; points that the sampler repeated are none."""
    return [trial for trial in trials if VALUES in trial.user_attrs and SAME_AS not in trial.user_attrs]


def objectives_of(study: optuna.Study) -> tuple[str, ...]:
    """Metrics that a study was begun for; empty where it was not ours."""
    objectives = study.user_attrs.get(QUESTION, {}).get("objectives", ())
    return tuple(str(objective["metric"]) for objective in objectives)


@dataclass(frozen=True)
class WarmTrials:
    """Trials of an earlier sweep for one study.

    Attributes:
        sweep: The earlier sweep.
        trials: As they stand in the new study.
        n_left_out: Trials whose values the new search never suggests.
    """

    sweep: str
    trials: tuple[FrozenTrial, ...] = ()
    n_left_out: int = 0


class Study:
    """A study and what is known of its configurations.

    Args:
        name: In the storage.
        search: What is searched for.
        condition: The condition of the grid.
        storage: From `open_storage`.
        retry_failed: Whether configurations that failed are tried once more: those that the sampler chose by
            results with the same values, those that were drawn at random with new ones.
        warm: What an earlier sweep found, for the sampler.

    Raises:
        InputError: The storage holds a study of this name that searches for something else.
    """

    def __init__(
        self,
        name: str,
        search: SearchSpace,
        condition: SearchCondition,
        storage: optuna.storages.BaseStorage,
        retry_failed: bool = True,
        warm: WarmTrials | None = None,
    ) -> None:
        self.name, self.condition, self._search = name, condition, search
        self._storage = storage
        is_begun = name in optuna.get_all_study_names(storage)
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=None if is_begun else [_DIRECTIONS[objective.mode] for objective in search.objectives],
            load_if_exists=True,
        )
        self._require_same_question()
        self._begin_warm(warm)
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if WARM not in trial.user_attrs]
        tried = {trial.user_attrs.get(FIRST) for trial in trials}
        points = points_of(search, condition)
        self._first = [point for point in points if _signature(point) not in tried]
        # With the same seed a study that goes on would repeat its points.
        self._seed = _seed(search.searcher.seed, len(trials))
        self._study.sampler = make_sampler(search, self._seed)
        self._draws = np.random.default_rng(self._seed)
        self._known: dict[str, StudyTrial] = {}
        self._repeated: dict[str, int] = {}
        self._n_in_a_row = 0
        self._retries: list[Mapping[str, Any]] = []
        self._mirrors: dict[int, list[int]] = {}
        self._is_exhausted = False
        if self._study.user_attrs.get(EXHAUSTED):
            self._study.set_user_attr(EXHAUSTED, False)  # there may be other values now
        self._n_results = 0
        for trial in trials:
            self._remember(trial)
        if retry_failed:
            drawn_at_random = {t.number for t in trials if t.user_attrs.get(CHOSEN) == _AT_RANDOM}
            failed = [place for place, trial in self._known.items() if trial.state == "failed"]
            again = [self._known.pop(place) for place in failed]
            self._retries = [trial.values for trial in again if trial.number not in drawn_at_random]

    @property
    def n_asked(self) -> int:
        """Configurations of the study, without those that a run retries because they failed."""
        return len(self._known)

    @property
    def n_to_ask(self) -> int:
        """Configurations still to come."""
        return 0 if self._is_exhausted else max(self._search.searcher.n_trials - self.n_asked, 0)

    def configurations(self) -> list[StudyTrial]:
        """All that are known, in the order in which they were first asked for."""
        return list(self._known.values())

    def ask(self) -> StudyTrial | None:
        """A configuration that is new to the study; None where none is left.

        A point that the sampler repeats ends as the trial that it repeats does, which stands in `SAME_AS`; it
        costs nothing and does not count. After some of them a new point is drawn at random.
        """
        if self._retries:
            return self._ask_for(self._retries.pop(0), _BY_RESULTS)
        # Repeats of networks, which `repeat` counts, count like repeats of points.
        for _ in range(max(_N_ASKED_AGAIN - self._n_in_a_row, 0) + len(self._first)):
            if self._first:
                point = self._first.pop(0)
                self._study.enqueue_trial(self._encoded(point), user_attrs={FIRST: _signature(point)})
            trial = self._study.ask()
            values = self._suggest(trial)
            twin = self._twin(values)
            if twin is None:
                # A point that a user names is worth another try as well.
                return self._keep(trial, values, _BY_RESULTS if FIRST in trial.user_attrs else self._way)
            trial.set_user_attr(SAME_AS, twin)
            self._mirror(trial.number, twin)
        new = next((values for values in self._random_values() if self._twin(values) is None), None)
        if new is None or self._n_in_a_row > _N_REPEATED:
            self._is_exhausted = True
            self._study.set_user_attr(EXHAUSTED, True)
            return None
        return self._ask_for(new, _AT_RANDOM)

    def name_nodes(self, number: int, keys: Sequence[str]) -> None:
        """Keep the keys of a configuration's target nodes beside it."""
        self._n_in_a_row = 0
        self._storage.set_trial_user_attr(self._trial_id(number), NODES, list(keys))

    def repeat(self, number: int, twin: int) -> None:
        """Tell that a configuration makes the networks of an earlier one: free, and not counted.

        Args:
            number: Of its trial.
            twin: Number of the earlier one.
        """
        place = next(place for place, known in self._known.items() if known.number == number)
        self._repeated[place] = twin
        del self._known[place]
        self._n_in_a_row += 1
        self._storage.set_trial_user_attr(self._trial_id(number), SAME_AS, twin)
        self._mirror(number, twin)

    def report(self, number: int, points: Mapping[int, float]) -> None:
        """Keep points of a configuration's learning curve, which pages of Optuna's draw.

        Args:
            number: Of its trial.
            points: Epochs that its networks had done together -> the objective as it stood.
        """
        trial_id = self._trial_id(number)
        # Another driver of the same sweep may have ended it already.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            for step, value in points.items():
                self._storage.set_trial_intermediate_value(trial_id, step, value)

    def complete(self, number: int, results: Sequence[float]) -> None:
        """Tell a configuration's results, one for each objective."""
        self._tell(number, TrialState.COMPLETE, results)

    def fail(self, number: int, reason: str) -> None:
        """Tell that a configuration came to nothing."""
        self._storage.set_trial_user_attr(self._trial_id(number), REASON, reason)
        self._tell(number, TrialState.FAIL, None)

    def prune(self, number: int, reason: str) -> None:
        """Tell that a configuration was given up early; the last point of `report` is its value."""
        self._storage.set_trial_user_attr(self._trial_id(number), REASON, reason)
        self._tell(number, TrialState.PRUNED, None)

    def _twin(self, values: Mapping[str, Any]) -> int | None:
        """The number of an earlier trial of the same values, or of the same networks."""
        place = _signature(values)
        return self._known[place].number if place in self._known else self._repeated.get(place)

    def _tell(self, number: int, state: TrialState, results: Sequence[float] | None) -> None:
        # Another driver of the same sweep may have ended it already.
        values = None if results is None else [float(value) for value in results]
        self._remember(self._study.tell(number, values=values, state=state, skip_if_finished=True))
        for repeat in self._mirrors.pop(number, ()):
            self._mirror(repeat, number)

    def _mirror(self, number: int, twin: int) -> None:
        """End a repeat as its twin has ended, or later when the twin does: a repeat is no failure."""
        of = self._storage.get_trial(self._trial_id(twin))
        if not of.state.is_finished():
            self._mirrors.setdefault(twin, []).append(number)
            return
        self.report(number, of.intermediate_values)
        values = of.values if of.state == TrialState.COMPLETE else None
        self._study.tell(number, values=values, state=of.state, skip_if_finished=True)

    def _trial_id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(self.name)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _remember(self, trial: FrozenTrial) -> None:
        values = trial.user_attrs.get(VALUES)
        if SAME_AS in trial.user_attrs and not trial.state.is_finished():
            self._mirror(trial.number, int(trial.user_attrs[SAME_AS]))
        if SAME_AS in trial.user_attrs or (values is None and trial.state.is_finished()):
            return
        self._n_results += trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if values is None:  # its driver was killed between asking and keeping
            if trial.state == TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
            return
        self._known[_signature(values)] = study_trial(trial)

    @property
    def _way(self) -> str:
        """How the sampler chooses now: by what it has learned, or at random."""
        n_before = n_at_random(self._search)
        return _AT_RANDOM if n_before is None or self._n_results < n_before else _BY_RESULTS

    def _keep(self, trial: optuna.trial.Trial, values: Mapping[str, Any], way: str) -> StudyTrial:
        trial.set_user_attr(CHOSEN, way)
        trial.set_user_attr(VALUES, dict(values))
        kept = self._known[_signature(values)] = StudyTrial(trial.number, dict(values))
        return kept

    def _ask_for(self, values: Mapping[str, Any], way: str) -> StudyTrial:
        self._study.enqueue_trial(self._encoded(values))
        trial = self._study.ask()
        return self._keep(trial, self._suggest(trial), way)

    def _encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        fields = self._search.distributions
        return {key: encoded(value, fields[key]) for key, value in values.items() if key in fields}

    def _suggest(self, trial: optuna.trial.Trial) -> dict[str, Any]:
        distributions = self._search.distributions
        return self._search.configuration(
            self.condition.values, lambda key: suggested(trial, key, distributions[key])
        )

    def _random_values(self) -> Iterator[dict[str, Any]]:
        distributions = self._search.distributions
        for _ in range(_N_DRAWN):
            yield self._search.configuration(
                self.condition.values, lambda key: drawn(distributions[key], self._draws)
            )

    def _require_same_question(self) -> None:
        before = self._study.user_attrs.get(QUESTION)
        if before is None:
            self._study.set_user_attr(QUESTION, question_of(self._search))
        elif problems := question_problems(self.name, before, self._search):
            raise InputError(problems)

    def _begin_warm(self, start: WarmTrials | None) -> None:
        """Copy what an earlier sweep found, once."""
        begun = list(self._study.user_attrs.get(WARM, ()))
        if start is not None and start.sweep not in begun:
            self._study.add_trials(start.trials)
            self._study.set_user_attr(WARM, [*begun, start.sweep])


def _seed(seed: int, n_trials: int) -> int:
    if n_trials == 0:
        return seed % 2**32
    return int.from_bytes(hashlib.sha256(f"{seed} after {n_trials}".encode()).digest()[:4], "big")


def _signature(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)
