from __future__ import annotations

import pytest

from dwp_sweep.config.initial.modalities import Modalities, chosen, kind_of


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("t2", "T2w", "T2-weighted", "T2W MRI"), "t2"),
        (("FLAIR", "t2f"), "flair"),
        (("t1gd", "T1c", "t1ce"), "t1ce"),
        (("CT", "ct (portal)"), "ct"),
    ],
)
def test_spellings_of_a_modality_are_one_kind(names, kind):
    assert {kind_of(name) for name in names} == {kind}


def test_one_image_that_the_other_task_lacks_says_what_else_is_there():
    own = Modalities("modality", ("t1", "t1ce"), ("t1", "t1ce"))

    assert chosen(own, Modalities("", ("CT",))) == (
        ("t1",),
        "one image, as the other task has another one; t1ce are there too",
    )


def test_a_task_alone_takes_all_images():
    own = Modalities("channel", ("T1", "FLAIR"), (0, 1))

    assert chosen(own, None)[0] == (0, 1)
