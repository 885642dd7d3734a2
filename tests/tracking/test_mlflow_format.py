from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwp_sweep.tracking.mlflow_format import MAX_CHARS, decode, encode, flatten, public_config, unflatten

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
NAMES = st.text(alphabet="abcdefgh_", min_size=1, max_size=6)


@given(st.one_of(PLAIN, st.lists(PLAIN, max_size=4)))
def test_every_plain_value_comes_back_from_its_text(value: Any) -> None:
    assert decode(encode(value)) == value
    assert type(decode(encode(value))) is type(value)


@pytest.mark.parametrize("text", ["5", "true", "null", "None", "0.1", "[1]", "", "0:90", '"quoted"'])
def test_text_that_looks_like_a_number_stays_text(text: str) -> None:
    assert decode(encode(text)) == text


def test_values_written_by_python_are_understood() -> None:
    assert [decode(text) for text in ("None", "True", "5", "1e-05", "fine_tune")] == [
        None,
        True,
        5,
        1e-5,
        "fine_tune",
    ]


@given(
    st.dictionaries(
        NAMES, st.one_of(PLAIN, st.dictionaries(NAMES, st.dictionaries(NAMES, PLAIN), max_size=3)), max_size=4
    )
)
def test_flatten_and_unflatten_are_inverse(values: dict[str, Any]) -> None:
    assert unflatten(flatten(values)) == values


def test_a_name_that_is_value_and_section_loses_neither() -> None:
    assert unflatten({"source": 1, "source.lr": 2}) == {"source": 1, "source.lr": 2}


def test_long_values_that_differ_at_the_end_stay_different_within_mlflows_limit() -> None:
    subjects = [f"subject_{index:05d}" for index in range(1_000)]
    first, second = encode(subjects), encode([*subjects[:-1], "other"])
    assert first != second
    assert max(len(first), len(second)) <= MAX_CHARS < 6_000


def test_a_stages_config_is_told_in_the_keys_of_a_search_space() -> None:
    config = {
        "dataset": {"layout": "msd"},
        "settings": {"dwp": {"kl_weight": 1.0}},
        "brought": None,
        "split": 0,
    }
    assert public_config("target", config) == {
        "data": {"target": {"layout": "msd"}},
        "dwp": {"kl_weight": 1.0},
        "split": 0,
    }


def test_of_a_brought_output_only_its_content_is_told() -> None:
    config = {"brought": {"path": "/net", "sha256": "ab"}, "source": {"lr": 0.1}, "unet": {"channels": [1]}}
    assert flatten(public_config("source", config)) == {
        "source.brought.path": "/net",
        "source.brought.sha256": "ab",
    }
    prior = {"brought": {"path": "/p/group3", "sha256": "cd"}, "group": 3, "prior": {"latent_dim": 6}}
    assert public_config("prior", prior) == {
        "prior": {"brought": {"group3": {"path": "/p/group3", "sha256": "cd"}}}
    }


def test_a_source_without_a_section_of_settings_keeps_what_it_has() -> None:
    assert public_config("source", {"name": "toy"}) == {"name": "toy"}
