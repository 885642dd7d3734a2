"""How much each searched field mattered: Optuna's PED-ANOVA on the configurations of each study.

PED-ANOVA (Watanabe et al. 2023, conditional fields: Kai et al. 2026) asks in which fields the best
configurations differ from all. It needs no forest, unlike fANOVA, and takes fields that apply only
sometimes. Configurations that were given up are among all and never among the best.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from dwp_sweep.harness.search.study import counted, objectives_of
from dwp_sweep.harness.search.study_database import has_studies, studies_of
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.trials import Importance

N_BEST = 5
"""Configurations that count as the best, at least: Optuna's own advice."""
N_AT_LEAST = 10
"""With fewer, the best would be more than half of all."""
_BEST_SHARE = 0.1
_STEADY = 50


def importances(sweep: str, store: Store, url: str | None = None) -> tuple[Importance, ...]:
    """The importances of each study and objective.

    Args:
        sweep: Its name.
        store: The storage.
        url: Of the database of its studies; None: the file in the sweep's folder.

    Raises:
        InputError: The database does not answer.
    """
    if url is None and not has_studies(sweep, store):
        return ()
    return tuple(
        study_importance(study, place, metric, study.study_name.removeprefix(f"{sweep}/"))
        for study in studies_of(sweep, store, url)
        for place, metric in enumerate(objectives_of(study))
    )


def study_importance(study: optuna.Study, place: int, metric: str, condition: str) -> Importance:
    """The importances for one objective of a study.

    Args:
        study: With trials that have ended.
        place: Of the objective.
        metric: Its name.
        condition: Name of the study's condition.
    """
    trials = counted(study.get_trials(deepcopy=False))
    complete = [
        trial for trial in trials if trial.state == TrialState.COMPLETE and math.isfinite(trial.values[place])
    ]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    n_all = len(complete) + len(pruned)
    shares: dict[str, float] = {}
    if (
        n_all >= N_AT_LEAST
        and len(complete) >= N_BEST
        and len({trial.values[place] for trial in complete}) > 1
    ):
        quantile = max(_BEST_SHARE, N_BEST / n_all)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns programmers; the note says the same to people
            ranked = _ranked_study(complete, pruned, place, study.directions[place])
            shares = get_param_importances(ranked, evaluator=evaluator)
        shares = dict(sorted(shares.items(), key=lambda pair: -pair[1]))
    note = _note(len(complete), len(pruned), bool(shares))
    return Importance(condition, metric, shares, len(complete), len(pruned), note)


def _ranked_study(
    complete: Sequence[FrozenTrial],
    pruned: Sequence[FrozenTrial],
    place: int,
    direction: optuna.study.StudyDirection,
) -> optuna.Study:
    """One objective as a study of its own, larger is worse; pruned ones are the worst."""
    sign = 1.0 if direction == optuna.study.StudyDirection.MINIMIZE else -1.0
    worst = max(sign * trial.values[place] for trial in complete) + 1.0
    study = optuna.create_study(direction="minimize")
    pairs = [(trial, sign * trial.values[place]) for trial in complete] + [(trial, worst) for trial in pruned]
    study.add_trials(
        [
            create_trial(params=trial.params, distributions=trial.distributions, value=value)
            for trial, value in pairs
        ]
    )
    return study


def _note(n_complete: int, n_pruned: int, has_shares: bool) -> str:
    n_all = n_complete + n_pruned
    if not has_shares:
        if n_all >= N_AT_LEAST and n_complete >= N_BEST:
            return "all configurations have the same result: nothing to tell them apart by"
        return (
            f"too few configurations: {n_all} have ended, {n_complete} of them complete; "
            f"{N_AT_LEAST} and {N_BEST} are needed"
        )
    return f"rough: from {n_all} configurations; {_STEADY} make it steady" if n_all < _STEADY else ""
