"""Errors written for people: what, where, which value, what to do.

Near the bottom of the package: everything may import it. No secret gets into a message. Advice for a
mistyped name is worded here, for every name that a user may give.
"""

from __future__ import annotations

import difflib
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from dwp_sweep.passwords import without_secrets

SYNONYMS = {
    "learning_rate": "lr",
    "epochs": "max_epochs",
    "n_epochs": "max_epochs",
    "num_epochs": "max_epochs",
    "batch": "batch_size",
    "bs": "batch_size",
    "early_stopping": "patience",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "lr_decay": "factor",
    "mixed_precision": "precision",
    "amp": "precision",
    "fp16": "precision",
    "bf16": "precision",
    "gradient_checkpointing": "checkpointing",
    "path": "root",
    "dir": "root",
    "folder": "root",
    "data_dir": "root",
    "voxel_size": "spacing_mm",
    "spacing": "spacing_mm",
    "patch_size": "patch",
    "roi_size": "patch",
    "crop_size": "shape",
    "image_size": "shape",
    "intensity_window": "window",
    "num_classes": "n_classes",
    "input_channels": "in_channels",
    "features": "channels",
    "filters": "channels",
    "mc_samples": "n_samples",
    "num_samples": "n_samples",
    "val_size": "n_val",
    "test_size": "n_test",
    "n_train": "train_size",
    "folds": "split",
    "fold": "split",
    "n_folds": "n_splits",
    "k_folds": "n_splits",
    "random_seed": "seed",
    "model": "method",
    "z_dim": "latent_dim",
    "latent_size": "latent_dim",
    "beta": "kl_weight",
    "modalities": "modality",
    "gpus": "gpu",
    "cpus": "cpu",
    "max_trials": "n_trials",
    "num_trials": "n_trials",
    "sampler": "searcher",
    "pruner": "scheduler",
    "early_stop": "scheduler",
    "timeout": "wall",
    "parameters": "search",
    "retries": "max_failures",
}
"""What settings are called elsewhere -> their name here."""

_WRITTEN_OUT = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of Unicode: control characters, bytes of a file name that are no text, separators of lines."""
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of the text after them."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what a user gave.

    Attributes:
        where: File, folder or dotted key.
        what: What is wrong, with the offending value.
        fix: What to do about it; may be empty.
    """

    where: str
    what: str
    fix: str = ""

    def __post_init__(self) -> None:
        for name in ("where", "what", "fix"):
            object.__setattr__(self, name, without_secrets(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.fix})" if self.fix else "")


def visible(text: str, one_line: bool = False) -> str:
    r"""A text with its control characters written out (``\x1b``): no name acts on a terminal or ends a line.

    Args:
        text: Of a user: names and paths may hold any character.
        one_line: Write out line breaks and tabs as well.
    """
    if text.isprintable():
        return text
    kept = "" if one_line else "\n\t"
    return "".join(
        character.encode("unicode_escape").decode()
        if character not in kept and (unicodedata.category(character) in _WRITTEN_OUT or character in _TURNS)
        else character
        for character in text
    )


def figure_text(text: str, width: int = 60, n_lines: int = 1) -> str:
    r"""A user's text as matplotlib draws it: no part of it is a formula, and a long one loses its middle.

    Text between two ``$`` is a formula to matplotlib, and an error where it is none; ``\$`` is drawn as
    ``$``. A legend leaves out labels that begin with ``_``, so those begin with a hair space.

    Args:
        text: A name, or a title with names in it.
        width: Characters that a line has room for.
        n_lines: Lines that there is room for.
    """
    text, longest = visible(text, one_line=True), width * n_lines
    if len(text) > longest:
        text = f"{text[: longest - longest // 3 - 1]}…{text[-(longest // 3) :]}"
    lines = textwrap.wrap(text, width, break_on_hyphens=False) if len(text) > width else [text]
    if len(lines) > n_lines:
        lines = [text[start : start + width] for start in range(0, len(text), width)]
    return ("\u200a" if text.startswith("_") else "") + "\n".join(lines).replace("$", r"\$")


def nearest_names(name: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """The at most ``n`` known names most like a given one, best first; ``cutoff`` is the least likeness."""
    return difflib.get_close_matches(name, list(known), n, cutoff)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """What to do about an unknown name: take the known one that it stands for, or the one most like it.

    Args:
        name: What was given.
        known: What there is.
        otherwise: What to say where no known name is like it.

    >>> did_you_mean("tagret", ["source", "target"])
    "did you mean 'target'?"
    >>> did_you_mean("learning_rate", ["batch_size", "lr"])
    "did you mean 'lr'?"
    """
    known = list(known)
    usual = SYNONYMS.get(name.lower().replace("-", "_"))
    close = [usual] if usual in known else nearest_names(name, known)
    return f"did you mean {close[0]!r}?" if close else otherwise


class DwpSweepError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(DwpSweepError):
    """Bad input of a user: all problems at once; the command exits with 2 and starts nothing."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class DivergedError(DwpSweepError):
    """Training produced a non-finite loss; names the last finite step."""


class DeviceMemoryError(DwpSweepError):
    """The device ran out of memory; names the field to lower."""


class DeviceUnusableError(DwpSweepError):
    """A worker has a GPU that torch cannot use; names the versions of torch and of the driver."""


class CorruptArtifactError(DwpSweepError):
    """A published file differs from its manifest; names the file."""


class StorageError(DwpSweepError, OSError):
    """A storage that is no folder did not do what was asked; names it and says why. Trying again may help."""


class StopTrial(DwpSweepError):  # noqa: N818 - a request, not an error
    """Raised by ``emit`` to ask a stage to leave politely after a checkpoint."""
