"""Classes of a data set: which labels of its masks each of them is, and the numbers of network and scores.

Everything behind preprocessing sees numbers: 0 is the background, 1 to K are the classes by name, in order
of the alphabet. So the same names in two data sets are the same outputs of a network, whatever labels their
masks use and however their files list them. A data set without classes has one foreground, number 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from dwp_sweep.errors import Problem

BACKGROUND = "background"
"""Name under which labels stand that are in the masks and count as background."""
MAX_CLASSES = 255
"""The numbers of a mask are bytes."""
HIGHEST_LABEL = 2**31 - 1
"""Of a mask."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")

ClassPairs = tuple[tuple[str, tuple[int, ...]], ...]
"""(name, labels) in order of the names, labels rising; frozen, so that a config can be a key."""


def _read(value: Any) -> Any:
    """The pairs of a mapping; what is a tuple already was read before."""
    if value is None or isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must name each class with its labels, such as {oedema: [2], core: [1, 4]}")
    if problems := list(_problems(value)):
        raise ValueError("; ".join(problems))
    return tuple((name, tuple(sorted(value[name]))) for name in sorted(value))


def _problems(classes: Mapping[Any, Any]) -> Iterator[str]:
    """Everything that is wrong with the classes as a user writes them."""
    owners: dict[int, str] = {}
    for name, labels in classes.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield (
                f"{name!r} is no name of a class, which becomes part of the names of metrics: begin with a "
                "letter from a to z, go on with letters, digits, _ and -, and take at most 40"
            )
            continue
        if not isinstance(labels, list | tuple) or not all(type(label) is int for label in labels):
            yield f"class {name} needs a list of labels, such as {name}: [1]"
            continue
        if not labels:
            yield f"class {name} has no labels: name at least one"
        for label in labels:
            if not (label == 0 and name == BACKGROUND) and not 0 < label <= HIGHEST_LABEL:
                is_zero = "0 is the background" if label == 0 else f"{label} is no label"
                yield f"class {name}: {is_zero}; labels are whole numbers from 1 to {HIGHEST_LABEL}"
            elif (first := owners.setdefault(label, name)) != name:
                yield (
                    f"label {label} is in {first} and in {name}: classes must not overlap; nested regions "
                    "are not supported, so give each label one class"
                )
        if len(set(labels)) < len(labels):
            yield f"class {name} names a label twice"
    yield from _problems_of_names([name for name in classes if isinstance(name, str)])


def _problems_of_names(names: Sequence[str]) -> Iterator[str]:
    own = [name for name in names if name != BACKGROUND]
    folded = [name.lower() for name in own]
    for name in own:
        if name.lower() == BACKGROUND or folded.count(name.lower()) > 1:
            yield f"{name} differs from another name in case only, and some databases of MLflow see no case"
    if len(own) < 2:
        what = f"one class ({own[0]})" if own else "no class"
        yield f"{what}: a single foreground needs no classes; write labels with its values instead"
    if len(own) > MAX_CLASSES:
        yield f"{len(own)} classes: at most {MAX_CLASSES}"


Classes = Annotated[
    ClassPairs,
    BeforeValidator(_read),
    PlainSerializer(lambda pairs: {name: list(labels) for name, labels in pairs}),
    WithJsonSchema({
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        "minProperties": 2,
    }),
]  # fmt: skip
"""A field of a config: a mapping for people, pairs inside."""


def foreground_pairs(pairs: ClassPairs | None) -> ClassPairs:
    """The classes without the background; number i of a mask is the i-th of them, from 1."""
    return tuple((name, labels) for name, labels in pairs or () if name != BACKGROUND)


def numbered(labels: NDArray[np.int32], pairs: ClassPairs) -> NDArray[np.uint8]:
    """A mask with the numbers of the classes in place of the labels, 0 elsewhere.

    Args:
        labels: (D, H, W), as stored.
        pairs: Classes, background included or not.
    """
    numbers = np.zeros(labels.shape, dtype=np.uint8)
    for number, (_, values) in enumerate(foreground_pairs(pairs), 1):
        numbers[np.isin(labels, values)] = number
    return numbers


def labelled(numbers: NDArray[np.uint8], pairs: ClassPairs) -> NDArray[np.uint8] | NDArray[np.int32]:
    """The way back, for people: each class by the lowest of its labels; bytes where these suffice."""
    lowest = [0, *(labels[0] for _, labels in foreground_pairs(pairs))]
    table = np.array(lowest, dtype=np.uint8 if max(lowest) <= np.iinfo(np.uint8).max else np.int32)
    return np.asarray(table[numbers])


def in_words(pairs: ClassPairs) -> str:
    """The classes as they stand in a search space: ``{core: [1, 4], oedema: [2]}``."""
    return "{" + ", ".join(f"{name}: {list(labels)}" for name, labels in pairs) + "}"


def suggested(names: Mapping[int, str]) -> str:
    """Classes of one label each, with the names that a data set's own description gives them.

    Args:
        names: By label; a name that is none for a class is made one.
    """
    taken: dict[str, int] = {}
    for label in sorted(names):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", names[label]).strip("_")[:36]
        name = name if _NAME.fullmatch(name) and name.lower() != BACKGROUND else f"label{label}"
        taken.setdefault(name if name.lower() not in map(str.lower, taken) else f"{name}_{label}", label)
    return in_words(tuple((name, (label,)) for name, label in taken.items()))


def head_warning(source: Sequence[str], target: Sequence[str]) -> tuple[Problem, ...]:
    """What happens to the last layer of a source network where the target has other classes.

    Args:
        source: Names of its classes; empty with one foreground.
        target: Likewise.
    """
    if tuple(source) == tuple(target):
        return ()
    ours, theirs = (", ".join(names) or "one foreground" for names in (target, source))
    what = f"the target has other classes ({ours}) than the source ({theirs})"
    fix = "legal; networks that start from the source get a new last layer, and all other layers from it"
    return (Problem("data.target.classes", what, fix),)
