"""A search in the course of a run: which configurations are open, which nodes may start, what has ended.

It stands between the studies (what to try) and the ledger (what to build). A new configuration comes only
when there is room, so that the sampler knows all that has ended.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice

from dwp_sweep.config.node import Node, entries_of
from dwp_sweep.config.search.definition import SearchSpace
from dwp_sweep.config.sweep import Sweep
from dwp_sweep.errors import InputError
from dwp_sweep.harness.dag.ledger import Ledger, SearchCounts
from dwp_sweep.harness.dag.node_state import FAILED, PUBLISHED
from dwp_sweep.harness.dag.plan import plan_target
from dwp_sweep.harness.dag.resources import Resources
from dwp_sweep.harness.search.configuration import Member, SearchConfiguration, results
from dwp_sweep.harness.search.incumbents import Incumbents
from dwp_sweep.harness.search.shared_inputs import SharedInputs, failed_input
from dwp_sweep.harness.search.study import Study, StudyTrial
from dwp_sweep.harness.search.study_database import open_storage, storage_url, study_name, target_nodes
from dwp_sweep.harness.search.trial_ends import TrialEnds, records_of
from dwp_sweep.harness.search.warm_start import warm_starts
from dwp_sweep.store.protocol import Store
from dwp_sweep.store.record import Record
from dwp_sweep.store.sweep_record import append_nodes


class SearchPlan:
    """All studies of a sweep.

    Args:
        sweep: With a search.
        store: Its storage.
        ledger: Takes in the nodes of its configurations.
        retry_failed: Whether configurations that failed are tried once more.

    Attributes:
        n_slots: Largest number of open configurations.
        resources: Resources of a target node, for objectives that count hours.
        watch_record: Called with every ended target node and its record, also of earlier runs.

    Raises:
        InputError: The studies in the storage search for something else.
    """

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        ledger: Ledger,
        retry_failed: bool = True,
    ) -> None:
        if sweep.search is None:
            raise ValueError(f"sweep {sweep.name!r} is no search")
        self.search: SearchSpace = sweep.search
        self.n_slots, self.resources = 1, Resources(1.0, 0.0)
        self.watch_record: Callable[[Node, Member, Record], None] = lambda node, member, record: None
        self._sweep, self._store, self._ledger = sweep, store, ledger
        self._retry_failed = retry_failed
        store.sweep_dir(sweep.name)  # SQLite makes its file, not its folder
        storage = open_storage(storage_url(store, sweep.name, sweep.search.searcher.storage))
        warm = warm_starts(sweep, store)
        self._studies = {
            (name := study_name(sweep.name, condition.name)): Study(
                name, sweep.search, condition, storage, retry_failed, warm.get(condition.name)
            )
            for condition in sweep.search.conditions
        }
        self._members: dict[str, Member] = {}
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._open: list[SearchConfiguration] = []
        self._incumbents = Incumbents(sweep.search, store)
        self._ends = TrialEnds(sweep.search.objectives, self._studies, store, ledger, self._incumbents)
        self._shared_inputs = SharedInputs(sweep)
        self._stuck: set[str] = set()
        self._n_begun = self._n_impossible = self._n_left_open = 0
        self._n_recorded = len(sweep.nodes)
        self._take_up()
        for condition, start in warm.items():
            left = f", {start.n_left_out} of other values left out" if start.n_left_out else ""
            ledger.note(f"{condition}: begins with {len(start.trials)} trials of {start.sweep}{left}")

    @property
    def n_to_ask(self) -> int:
        """Configurations of all studies still to come."""
        return sum(study.n_to_ask for study in self._studies.values())

    @property
    def is_finished(self) -> bool:
        """Whether nothing is open and nothing more will be asked for."""
        return not self._open and (not self._askable() or not self._may_ask())

    @property
    def has_more(self) -> bool:
        """Whether anything is open or still to come, whatever the budget says."""
        return bool(self._open or self.n_to_ask)

    @property
    def spent(self) -> str:
        """The budget that keeps it from asking for more, in words; empty: none."""
        limit = self._sweep.budget.trials
        is_spent = limit is not None and self._n_begun >= limit and self.n_to_ask > 0
        return f"budget.trials = {limit} is spent" if is_spent else ""

    def member(self, key: str) -> Member | None:
        """Whose target a node is; None for nodes upstream, which no search ever gives up."""
        return self._members.get(key)

    def start_next(self) -> bool:
        """Bring further nodes to the ledger: another repeat of an open configuration, else a new one.

        Call it while there is room for a target node and nothing that is ready would fill it.

        Returns:
            Whether there may be more to do now; False: wait until something has ended.
        """
        self.update()
        if self._ledger.is_stopping:
            return False
        for configuration in self._open:
            if self._wants_repeat(configuration):
                self._start_repeat(configuration)
                self.update()
                return True
        askable = self._askable()
        if len(self._open) >= self.n_slots or not askable or not self._may_ask():
            return False
        n_open = Counter(configuration.study for configuration in self._open)
        name = min(
            askable,
            key=lambda name: (n_open[name], self._studies[name].n_asked),
        )
        trial = self._studies[name].ask()
        if trial is None:
            self._ledger.note(f"{name}: no configuration was found that has not been tried")
        else:
            self._begin(name, trial)
        self.update()
        return True

    def update(self) -> None:
        """Pass on to the studies what has ended, as the board and the store have it."""
        for configuration in list(self._open):
            if self._settle(configuration):
                self._open.remove(configuration)
                needed = {key for other in self._open for key in other.keys}
                for node in configuration.nodes:
                    if node.key in self._ledger.board.states and node.key not in needed:
                        self._ledger.drop(node)
        self._count()

    def reported(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in an epoch of a node in hand: pages of Optuna's show the curves of trials that run."""
        if key in self._members:
            self._ends.reported(key, epoch, metrics, self._open)

    def replay(self) -> None:
        """Notify `watch_record` of what earlier runs have measured."""
        for key, member in self._members.items():
            node = self._sweep.nodes[key]
            record = self._store.record(node.stage, key)
            if record is not None and record.status in ("done", "pruned"):
                self.watch_record(node, member, record)

    def _take_up(self) -> None:
        """Go on with what earlier runs left open, and remember what they completed."""
        for name, study in self._studies.items():
            for trial in study.configurations():
                if trial.state != "open":
                    self._ends.n_by_state[trial.state] += 1
                if trial.state == "failed":
                    continue
                try:
                    nodes = target_nodes(self._sweep, study.condition, trial)
                except InputError:
                    nodes = ()
                if trial.state == "open":
                    self._begin(name, trial)
                elif nodes:
                    configuration = SearchConfiguration(name, trial.number, trial.values, nodes, len(nodes))
                    self._numbers.setdefault((name, configuration.keys), trial.number)
                    self._register(configuration)
                    if trial.state == "complete":
                        self._incumbents.completed(configuration, trial.results)
        self._count()

    def _count(self) -> None:
        n_repeats = max((len(condition.members) for condition in self.search.conditions), default=1)
        self._ledger.search = SearchCounts(
            n_to_ask=self.n_to_ask,
            n_impossible=self._n_impossible,
            n_studies=len(self._studies),
            n_repeats=n_repeats,
            n_by_state={**self._ends.n_by_state, "open": len(self._open) + self._n_left_open},
            best=self._incumbents.lines(),
            n_left_open=self._n_left_open,
        )

    def _askable(self) -> list[str]:
        """Studies that have configurations to come, and whose shared inputs have not failed."""
        return [name for name, study in self._studies.items() if study.n_to_ask and name not in self._stuck]

    def _may_ask(self) -> bool:
        limit = self._sweep.budget.trials
        return not self._ledger.is_stopping and (limit is None or self._n_begun < limit)

    def _begin(self, name: str, trial: StudyTrial) -> None:
        study = self._studies[name]
        self._n_begun += 1
        try:
            nodes = target_nodes(self._sweep, study.condition, trial)
        except InputError as error:
            reason = "; ".join(str(problem) for problem in error.problems)
            study.fail(trial.number, reason)
            self._ends.n_by_state["failed"] += 1
            self._n_impossible += 1
            self._ledger.note(f"trial {trial.number} of {name} makes no experiment: {reason}")
            return
        configuration = SearchConfiguration(name, trial.number, trial.values, nodes)
        twin = self._numbers.setdefault((name, configuration.keys), trial.number)
        if twin != trial.number:
            # The values differ only in fields that no stage reads: these networks have a trial already.
            study.repeat(trial.number, twin)
            self._n_begun -= 1
            return
        study.name_nodes(trial.number, configuration.keys)
        new = list(islice(self._sweep.nodes.values(), self._n_recorded, None))
        self._n_recorded += len(new)
        if new:
            append_nodes(self._store, self._sweep.name, entries_of(new, configuration.keys))
        self._register(configuration)
        self._open.append(configuration)

    def _register(self, configuration: SearchConfiguration) -> None:
        for repeat, key in enumerate(configuration.keys):
            self._members.setdefault(key, Member(configuration.study, repeat))

    def _wants_repeat(self, configuration: SearchConfiguration) -> bool:
        """Whether another repeat may start: not before the shared stages of the last one are there.

        With free slots repeats run side by side; with one slot the first ones show whether
        the others are worth it.
        """
        states = [self._ledger.board.states[node.key] for node in configuration.started]
        return configuration.n_started < len(configuration.nodes) and "waiting" not in states

    def _start_repeat(self, configuration: SearchConfiguration) -> None:
        target = configuration.nodes[configuration.n_started]
        configuration.n_started += 1
        known = self._ledger.board.states
        plan = plan_target(target, self._sweep, self._store, known, self._retry_failed)
        for note in plan.notes:
            self._ledger.note(note)
        for node in plan.damaged:
            with contextlib.suppress(FileNotFoundError):  # another run has just done it
                self._store.set_aside(node.stage, node.key)
        self._ledger.add(plan.states, self._sweep.nodes)
        if plan.states.get(target.key) in ("cached", "pruned"):
            record, member = self._store.record(target.stage, target.key), self.member(target.key)
            if record is not None and member is not None:
                self.watch_record(target, member, record)

    def _settle(self, configuration: SearchConfiguration) -> bool:
        """Put an open configuration's end to its study, if it has come; returns whether it has."""
        states = [self._ledger.board.states[node.key] for node in configuration.started]
        failed = [node for node, state in zip(configuration.started, states, strict=True) if state in FAILED]
        if failed:
            board = self._ledger.board
            lacks = failed_input(failed[0], board.nodes, board.states) or failed[0]
            if lacks is not failed[0] and self._is_shared(lacks, configuration):
                self._n_left_open += 1  # open in its study: the next run goes on with it
                return True
            message = self._ledger.messages.get(lacks.key, "what it needs has failed")
            self._ends.failed(configuration, message)
            return True
        if "pruned" in states:
            node = configuration.started[states.index("pruned")]
            record = self._store.record(node.stage, node.key)
            return self._prune(configuration, (record.error if record else None) or "pruned")
        n_ended = sum(state in PUBLISHED for state in states)
        if n_ended == len(configuration.nodes):
            return self._complete(configuration)
        if n_ended > configuration.n_tested:
            configuration.n_tested = n_ended
            self._ends.repeat_ended(configuration)
            nodes = configuration.nodes
            ended = {place: nodes[place] for place, state in enumerate(states) if state in PUBLISHED}
            if self._incumbents.beat(configuration, ended):
                reason = f"{configuration.study}: worse than the best one, subject by subject"
                return self._prune(configuration, reason)
        return False

    def _is_shared(self, node: Node, configuration: SearchConfiguration) -> bool:
        """Whether other configurations need a failed node as well; a study that always does asks no more."""
        study = configuration.study
        share = self._shared_inputs.share(node, self._studies[study].condition)
        if share == 1.0 and study not in self._stuck:
            self._stuck.add(study)
            what = f"{study}: every configuration needs {node.title}, which failed"
            self._ledger.note(f"{what}: none is asked for any more, and the open ones stay open")
        return share > 0.0

    def _complete(self, configuration: SearchConfiguration) -> bool:
        records = records_of(configuration.nodes, self._store)
        objectives = results(self.search.objectives, records, self.resources)
        if objectives is None:
            names = ", ".join(objective.metric for objective in self.search.objectives)
            self._ends.failed(configuration, f"its networks do not report all of {names}")
        else:
            self._incumbents.completed(configuration, objectives)
            self._ends.complete(configuration, objectives)
        return True

    def _prune(self, configuration: SearchConfiguration, reason: str) -> bool:
        self._ends.pruned(configuration, reason)
        shared = {key for other in self._open if other is not configuration for key in other.keys}
        for node in configuration.started:
            if self._ledger.board.states[node.key] in ("queued", "running") and node.key not in shared:
                self._store.ask_to_prune(node.stage, node.key, reason)
        return True
