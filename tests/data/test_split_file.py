"""The file of a user's own splits: every bad line is named."""

from __future__ import annotations

import pytest

from dwp_sweep.data.split_file import read_split_file
from dwp_sweep.errors import InputError


def test_every_bad_line_is_named_at_once(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text(
        "subject,split,role\n"
        "a,0,train\n"
        "a,0,test\n"  # line 3: two roles
        "zz,0,train\n"  # line 4: unknown subject
        "b,0,tests\n"  # line 5: unknown role
        "c,first,val\n"  # line 6: no number
        "c,\u00b2,val\n"  # line 7: a digit that is no number
        f"c,{'9' * 5000},val\n"  # line 8: more digits than Python converts
        "a,1,test\n"  # another split: fine
        "a,1,test\n"  # said twice: fine
    )

    with pytest.raises(InputError) as caught:
        read_split_file(path, ["a", "b", "c"])

    assert [(problem.where.rsplit(" ", 1)[1], problem.what) for problem in caught.value.problems] == [
        ("3", "subject 'a' is both train and test in one split"),
        ("4", "unknown subject 'zz'"),
        ("5", "unknown role 'tests'"),
        ("6", "split 'first' is no number"),
        ("7", "split '\u00b2' is no number"),
        ("8", "split 999999999... has 5000 digits"),
    ]
    assert all(problem.where.startswith(str(path)) and problem.fix for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "no such file"), ("", "no column subject, split, role"), ("subject,split,role\n", "no rows")],
)
def test_a_file_without_content_is_named(tmp_path, text, says):
    if text is not None:
        (tmp_path / "s.csv").write_text(text)

    with pytest.raises(InputError, match=says):
        read_split_file(tmp_path / "s.csv", ["a"])
