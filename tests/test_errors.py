"""Advice for mistyped names, worded in one place."""

from __future__ import annotations

from dwp_sweep.errors import did_you_mean, nearest_names


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
