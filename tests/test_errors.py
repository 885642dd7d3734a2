"""Advice for mistyped names, worded in one place."""

from __future__ import annotations

import pytest

from dwp_sweep.errors import did_you_mean, figure_text, nearest_names


def test_the_name_most_like_a_mistyped_one_is_advised() -> None:
    assert did_you_mean("tagret", ["source", "target"], "known keys: source, target") == (
        "did you mean 'target'?"
    )


def test_a_name_like_no_other_gets_the_other_advice() -> None:
    assert did_you_mean("zzz", ["source", "target"], "known keys: source, target") == (
        "known keys: source, target"
    )
    assert did_you_mean("zzz", []) == ""


def test_without_a_cutoff_the_nearest_names_of_a_long_list_are_found() -> None:
    assert nearest_names("zzz", ["source", "target"]) == []
    assert len(nearest_names("zzz", ["source", "target", "harvest"], n=2, cutoff=0.0)) == 2


@pytest.mark.parametrize(
    "text, shown",
    [
        ("UNet-DWP, m = 5", "UNet-DWP,\nm = 5"),
        ("$x$", r"\$x\$"),
        (r"\$", r"\\$"),
        ("_mine", "\u200a_mine"),
        ("a\nb", r"a\nb"),
        ("one two three", "one two\nthree"),
        ("abcdefghijklmnopqrstuvwxyz", "abcdefghij\nklm…uvwxyz"),
    ],
)
def test_a_text_in_a_figure_is_no_formula_and_has_room(text: str, shown: str) -> None:
    assert figure_text(text, 10, 2) == shown
