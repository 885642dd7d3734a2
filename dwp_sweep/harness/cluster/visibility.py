"""Whether every machine of a cluster sees what its nodes will read, checked before anything is handed out.

Each machine looks for a file that the driver has just written to the storage, and for the folders of data
that stages name. Machines that join later are not checked.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwp_sweep.config.node import Node
from dwp_sweep.errors import InputError, Problem
from dwp_sweep.harness.cluster.ray_session import Machine
from dwp_sweep.harness.dag.resources import Resources, slots
from dwp_sweep.stages.workload import workload_of

_ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True)
class DataPath:
    """A path that nodes of some stages read.

    Attributes:
        path: As their configs say.
        key: Of the search space, for messages.
        stages: That read it.
    """

    path: str
    key: str
    stages: frozenset[str]


def data_paths(nodes: Collection[Node]) -> tuple[DataPath, ...]:
    """What nodes read beside the storage: folders of scans, split files, imported files."""
    stages: dict[tuple[str, str], set[str]] = {}
    for node in nodes:
        for path, key in workload_of(node.stage).paths(node.config):
            named = key or f"what is brought for {node.stage}"
            stages.setdefault((path, named), set()).add(node.stage)
    return tuple(DataPath(path, key, frozenset(readers)) for (path, key), readers in stages.items())


def require_seen(
    root: Path | None,
    data: Sequence[DataPath],
    resources_by_stage: Mapping[str, Resources],
    machines: Sequence[Machine],
    notify: Callable[[str], None],
) -> None:
    """Make sure that every machine which can take a node sees the storage and the data of that node's stage.

    Args:
        root: The storage folder, as the driver sees it; None where the storage is no folder.
        data: From `data_paths`.
        resources_by_stage: Stage -> resources of its trials.
        machines: Of the connected cluster.
        notify: Receives which machines do not answer; their nodes start all the same.

    Raises:
        InputError: With one problem for each path and machine.
    """
    with _probe(root) as probe:
        paths: dict[Machine, list[str]] = {}
        for machine in machines:
            fits = {
                stage
                for stage, resources in resources_by_stage.items()
                if slots(resources, [machine.resources])
            }
            if fits:
                paths[machine] = [*probe, *(read.path for read in data if read.stages & fits)]
        missing = _missing(paths, notify)
    if problems := list(_problems(missing, root, data)):
        raise InputError(problems)


@contextmanager
def _probe(root: Path | None) -> Iterator[list[str]]:
    """The path of a new file on the storage while the context lasts; empty where it has no folder."""
    if root is None:
        yield []
        return
    path = root / f".probe-{uuid.uuid4().hex[:12]}"
    root.mkdir(parents=True, exist_ok=True)
    path.write_text("looked for by the other machines\n")
    try:
        yield [str(path)]
    finally:
        path.unlink(missing_ok=True)


def _missing(
    paths: Mapping[Machine, Sequence[str]], notify: Callable[[str], None]
) -> dict[Machine, list[str]]:
    """The paths that each machine does not see; machines that do not answer are left out."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    look = ray.remote(num_cpus=0, max_retries=0)(_looking())
    answers: dict[Machine, Any] = {
        machine: look.options(scheduling_strategy=On(machine.id, soft=False)).remote(list(wanted))
        for machine, wanted in paths.items()
    }
    ready, _ = ray.wait(list(answers.values()), num_returns=max(len(answers), 1), timeout=_ANSWER_WITHIN_S)
    missing: dict[Machine, list[str]] = {}
    for machine, answer in answers.items():
        try:
            if answer in ready:
                missing[machine] = ray.get(answer)
                continue
            why = f"has not answered within {_ANSWER_WITHIN_S:g} s"
        except RayError as error:
            why = f"did not answer: {str(error).strip().splitlines()[0]}"
        notify(f"{machine.name} {why}; whether it sees the storage and the data is not known")
    return missing


def _looking() -> Callable[[list[str]], list[str]]:
    # A function within a function travels whole: a machine that lacks our package can answer, too.
    def look(paths: list[str]) -> list[str]:
        import os
        import time
        from importlib.util import find_spec

        patience_s = 5.0  # a network file system may show a new file only after a while
        while paths and not os.path.exists(paths[0]) and patience_s > 0:  # noqa: PTH110
            patience_s -= 0.5
            time.sleep(0.5)
        lacks = [] if find_spec("dwp_sweep") else [""]
        return lacks + [path for path in paths if not os.path.exists(path)]  # noqa: PTH110

    return look


def _problems(
    missing: Mapping[Machine, Sequence[str]], root: Path | None, data: Sequence[DataPath]
) -> Iterator[Problem]:
    keys = {read.path: read.key for read in data}
    for machine, paths in missing.items():
        for path in paths:
            if not path:
                yield Problem(machine.name, "has no package dwp_sweep", "install it on every machine alike")
            elif path not in keys:
                what = f"{machine.name} does not see it: it is no folder that all machines share"
                fix = "give --storage a folder that every machine has mounted under the same path"
                yield Problem(f"storage {root}", what, fix)
            else:
                fix = "mount it under the same path on every machine whose resources fit the stage"
                yield Problem(f"{keys[path]}: {path}", f"is not there on {machine.name}", fix)
