"""What the spread of scores over splits holds, and with it an interval over splits, and what it leaves out.

Read off the runs themselves: how their splits were drawn, and which nodes each of them came from. Where a
sweep gives all splits one source network or one set of priors, training those again would move the scores
too, and no spread over splits shows by how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dwp_sweep.report.answers.runs import Repeat, Target, chosen_runs, columns_of, runs_of

_ONE_START = (
    "networks of an older version: all splits of a seed began from one start, so the spread over splits "
    "leaves out the choice of the start"
)


def spread_notes(targets: Sequence[Target]) -> list[str]:
    """What the spread over splits holds, then what each method's upstream networks add or leave out.

    Args:
        targets: Of a sweep. Nothing is said of runs made by hand, nor where there is one split.
    """
    done = [target for target in targets if target.state == "done" and target.key]
    if len({target.repeat[0] for target in done}) < 2:
        return []
    labels_by_words: dict[str, list[str]] = {}
    for name, label in columns_of(done).items():
        for words in _upstream(done, name):
            labels_by_words.setdefault(words, []).append(label)
    return [_of_all(done), *(f"{', '.join(labels)}: {words}" for words, labels in labels_by_words.items())]


def _of_all(done: Sequence[Target]) -> str:
    drawn = {target.splits for target in done}
    if "" in drawn:
        return _ONE_START
    scans = "other training and test scans"
    if drawn <= {"independent", "file"}:
        scans = "other training scans" if drawn == {"independent"} else "the scans of the split file"
    return f"the spread over splits holds {scans}, and another start and order of training in each split"


def _upstream(done: Sequence[Target], name: str) -> list[str]:
    """What differs between the splits of a method or variant among the nodes that it came from."""
    words = dict.fromkeys(
        text
        for size in sorted({target.train_size for target in done})
        for text in _of_cell(chosen_runs(runs_of(done, name, size))[0])
    )
    return list(words)


def _of_cell(runs: Mapping[Repeat, Target]) -> list[str]:
    n_splits = len({split for split, _ in runs})
    if n_splits < 2:
        return []
    words = []
    n_sources = _n_different(runs, "source")
    if n_sources == 1:
        words.append("one source network for all splits: the spread leaves out the choice of it")
    elif n_sources:
        many = "each split" if n_sources >= n_splits else f"some splits ({n_sources} for {n_splits} splits)"
        words.append(f"the spread holds another source network in {many} as well")
    if any(_n_different(runs, role) == 1 for role in ("priors", "bank")):
        words.append(
            "one set of source kernels for all splits: the spread leaves out training its networks, and "
            "fitting priors, again"
        )
    return words


def _n_different(runs: Mapping[Repeat, Target], role: str) -> int:
    """How many different nodes the runs have in a role; 0 where they have none."""
    return len({keys for target in runs.values() if (keys := target.inputs.get(role, ()))})
