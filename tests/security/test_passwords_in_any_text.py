"""No secret of a generated text survives, and text without one stays as it is."""

from __future__ import annotations

import configparser
import io
import json
import string
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dwp_sweep.passwords import without_secrets

ROOT = Path(__file__).resolve().parents[2]
MARKS = "QJZ"
"""Letters of secrets alone: what is around them has none, so that a part that survives is seen."""


def secrets(punctuation: str) -> st.SearchStrategy[str]:
    """Secrets with letters that nothing else has at both ends, since closing marks at an end may stay."""
    inner = st.text(alphabet=MARKS + "7" + punctuation, min_size=4, max_size=20)
    ends = st.sampled_from(MARKS)
    return st.builds(lambda first, middle, last: first + middle + last, ends, inner, ends).filter(
        lambda secret: "://" not in secret
    )


ANY = secrets(string.punctuation)
WORD = secrets("-_.~+/=")


def is_hidden(text: str) -> bool:
    shown = without_secrets(text)
    assert not any(mark in shown for mark in MARKS), shown
    assert "***" in shown
    assert without_secrets(shown) == shown
    return True


ADDRESSES = (
    "postgresql://me:{}@host:5432/db",
    "postgresql+psycopg://me@corp:{}@host/db?sslmode=require",
    "cannot reach http://me:{}@host:5000, again in 5 s",
    "redis://:{}@host",
    "url = mysql://me:{}@host/db # kept",
)


@pytest.mark.parametrize("form", ADDRESSES)
@given(ANY)
def test_no_password_of_an_address_survives(form: str, secret: str) -> None:
    assert is_hidden(form.format(secret))


@given(ANY)
def test_no_password_of_a_quoted_address_survives(secret: str) -> None:
    url = f"postgresql://me:{secret}@host/db"
    assert is_hidden(repr(url))
    assert is_hidden(json.dumps({"storage": url, "other": 1}))
    assert is_hidden(json.dumps({"storage": url, "other": 1}, separators=(",", ":")))
    assert is_hidden(yaml.safe_dump({"storage": url}, width=1_000))


@given(secrets("/:?#@").filter(lambda secret: not secret[0].isdigit()), st.integers(0, 99_999))
def test_a_database_password_may_look_like_a_port(secret: str, port: int) -> None:
    assert is_hidden(f"postgresql://me:{port}/{secret}@host:5432/db")


QUERIES = (
    "postgresql://host/db?user=me&password={}&sslmode=require",
    "https://bucket.s3.amazonaws.com/key?X-Amz-Date=2026&X-Amz-Signature={}",
    "https://bucket.s3.amazonaws.com/key?X-Amz-Security-Token={}&X-Amz-Date=2026",
    "https://bucket.s3.amazonaws.com/key?X-Amz-Credential={}%2Fus-east-1",
    "https://account.blob.core.windows.net/key?sp=r&sig={}",
    "https://host/callback#access_token={}&state=a",
)


@pytest.mark.parametrize("form", QUERIES)
@given(ANY)
def test_no_secret_of_a_query_survives(form: str, secret: str) -> None:
    url = form.format(quote(secret, safe=""))
    assert is_hidden(url)
    assert is_hidden(f"GET '{url}' failed")
    assert "sslmode=require" in without_secrets(url) or "sslmode" not in url


def libpq(secret: str) -> str:
    return "'" + secret.replace("\\", "\\\\").replace("'", "\\'") + "'"


@given(ANY)
def test_no_password_of_a_connection_string_survives(secret: str) -> None:
    escaped = secret.replace("\\", "\\\\").replace("'", "\\'")
    assert is_hidden(f"host=db password={escaped} user=me")
    assert is_hidden(f"host=db password={libpq(secret)} user=me")
    assert is_hidden(f"host = db password = {libpq('a ' + secret)} user = me")


@given(ANY)
@example("QJ'QJ,ZZ")
def test_no_secret_behind_a_key_survives(secret: str) -> None:
    values = {"mlflow_tracking_password": secret, "user": "me"}
    assert is_hidden(json.dumps(values))
    assert is_hidden(json.dumps(json.dumps(values)))
    assert is_hidden(repr(values))
    assert is_hidden(yaml.safe_dump(values, width=1_000))
    assert is_hidden(f"asked with password: {secret}7")
    assert is_hidden(f"--password {secret}7 --user me")
    assert is_hidden(f"MLFLOW_TRACKING_TOKEN={secret.replace(chr(92), '')}7 dwp-sweep run a.yaml")
    ini = configparser.RawConfigParser()
    ini["mlflow"] = values
    file = io.StringIO()
    ini.write(file)
    assert is_hidden(file.getvalue())


@pytest.mark.parametrize("scheme", ["Bearer", "Basic", "Token"])
@given(WORD)
def test_no_secret_of_a_header_survives(scheme: str, secret: str) -> None:
    assert is_hidden(f"> Authorization: {scheme} {secret}\n> Host: host")
    assert is_hidden(repr({"Authorization": f"{scheme} {secret}", "Host": "host"}))
    assert is_hidden(json.dumps({"headers": {"authorization": f"{scheme} {secret}"}}))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("curl -H 'Authorization: Bearer abc' http://host", "curl -H 'Authorization: Bearer ***' http://host"),
        ("sent Bearer 0123456789abcdef, refused", "sent Bearer ***, refused"),
        ("https://0123456789abcdef0123@host/x", "https://***@host/x"),
        ("https://abc:@host/x", "https://***:@host/x"),
        ("https://abc:x-oauth-basic@host", "https://***:x-oauth-basic@host"),
        ("jdbc:postgresql://me:abc@host/db", "jdbc:postgresql://me:***@host/db"),
        ("https://me:pa'ss\"w/o:rd@host:8/x", "https://me:***@host:8/x"),
        ("Server=db;Password=abc;Database=x", "Server=db;Password=***;Database=x"),
        ("connect(host='db', password='a', user='me')", "connect(host='db', password='***', user='me')"),
        ("key eyJhbGciOiJI.eyJzdWIi.c2ln done", "key *** done"),
        ("{password: abc, user: me}", "{password: ***, user: me}"),
        ("  aws_secret_access_key: a/b+c", "  aws_secret_access_key: ***"),
    ],
)  # fmt: skip
def test_what_is_around_a_secret_stays(given: str, shown: str) -> None:
    assert without_secrets(given) == shown
    assert without_secrets(shown) == shown


PIECES = st.sampled_from(
    """
    http://host:5000/path/me@there
    s3://bucket/path:1/x@2
    file:///home/me@lab:8/x
    http://[::1]:5000/x@y
    postgresql://me@host:5432/db
    me@lab.org
    target.lr=1e-3
    key: 3f2a91
    max_tokens=5
    tokenizer: x
    RAY_AUTH_MODE=token
    RAY_AUTH_TOKEN_PATH=/run/token
    PWD=/home/me
    the token was refused
    no password: give it in ~/.pgpass
    the cluster asks for a token
    --password is missing, it
    password=None
    signature=x
    Bearer of news
    Basic tests
    C:\\scans
    a, b; (c) [d] {e} 50 %
    it's 'f'
    """.strip().splitlines()
).map(str.strip)


@given(st.lists(PIECES, max_size=6).map(" ".join))
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


@given(st.text(alphabet=string.ascii_letters + string.digits + " .,-/\n", max_size=200))
def test_plain_words_and_paths_stay_as_they_are(text: str) -> None:
    assert without_secrets(text) == text


@given(st.text(max_size=300))
@example("password=\\")
@example("a://@:@")
def test_any_text_can_be_read(text: str) -> None:
    without_secrets(text)


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_search_space_that_comes_with_the_package_is_shown_whole(path: Path) -> None:
    text = path.read_text()
    assert without_secrets(text) == text
