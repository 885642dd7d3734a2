"""Search-space files that were hit by chance, as text and as structures: read, or refused with problems."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dwp_sweep.config.space import load_space
from dwp_sweep.errors import InputError
from tests.cli.command import ROOT
from tests.security.fuzz_settings import many_inputs, same_inputs

FILES = sorted((ROOT / "search_spaces").glob("*.yaml"))
TEXTS = [path.read_text() for path in FILES]
DOCUMENTS = [yaml.safe_load(text) for text in TEXTS]

FEW = same_inputs(25)
MANY = many_inputs(300)

PIECES = st.one_of(
    st.sampled_from(
        ["\t", "\0", ": ", "- ", "{", "}", "[", "]", "&a ", "*a", "!!python/object:os.system ", "<<: ", "? ",
         "|", ">", "'", '"', "%", "---\n", "1e999", ".nan", "0x", "2020-01-01", "~", "\ud800", "\U0001f9e0"]
    ),
    st.text(max_size=5),
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=3),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=8), st.integers(), st.none()), inner, max_size=3),
    ),
    max_leaves=5,
)


@st.composite
def hit_texts(draw: st.DrawFn) -> str:
    """A file of ours with up to four pieces cut, put in or in place of others."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(PIECES) + text[start + draw(st.integers(0, 12)) :]
    return text


@st.composite
def hit_documents(draw: st.DrawFn) -> dict[Any, Any]:
    """The content of a file of ours with up to three values replaced, added or taken out."""
    document: dict[Any, Any] = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                place[draw(st.one_of(st.text(max_size=6), st.integers(), st.none()))] = draw(VALUES)
            elif draw(st.booleans()):
                place[key] = draw(VALUES)
            else:
                del place[key]
            break
    return document


def read_or_refused(source: Any, overrides: tuple[str, ...] = (), smoke: bool = False) -> None:
    try:
        load_space(source, overrides, smoke)
    except InputError as error:
        assert error.problems and all(problem.what for problem in error.problems)


def check_text(tmp_path: Path, text: str, smoke: bool) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    read_or_refused(path, smoke=smoke)


@FEW
@given(text=hit_texts(), smoke=st.booleans())
def test_a_file_that_was_hit_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, smoke: bool
) -> None:
    check_text(tmp_path_factory.getbasetemp(), text, smoke)


@FEW
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    check_text(tmp_path_factory.getbasetemp(), text, smoke=False)


@FEW
@given(document=hit_documents(), smoke=st.booleans())
def test_a_structure_that_was_hit_is_read_or_refused(document: dict[Any, Any], smoke: bool) -> None:
    read_or_refused(document, smoke=smoke)


@FEW
@given(override=st.one_of(st.text(max_size=20), st.builds("{}={}".format, st.text(max_size=9), PIECES)))
def test_any_override_is_read_or_refused(override: str) -> None:
    read_or_refused(DOCUMENTS[0], (override,))


@pytest.mark.slow
@MANY
@given(text=hit_texts(), smoke=st.booleans())
def test_many_files_that_were_hit(tmp_path_factory: pytest.TempPathFactory, text: str, smoke: bool) -> None:
    check_text(tmp_path_factory.getbasetemp(), text, smoke)


@pytest.mark.slow
@MANY
@given(document=hit_documents(), smoke=st.booleans())
def test_many_structures_that_were_hit(document: dict[Any, Any], smoke: bool) -> None:
    read_or_refused(document, smoke=smoke)
