"""Text without the secrets that it may hold: what messages, records and pages show of an address.

Bottom of the package: errors for people pass through it, so that no caller has to think of it. The text is
read as what it is made of: addresses with their user and query, ``key=value`` and ``key: value`` (libpq,
YAML, JSON, INI, headers, options), and tokens that are known by their form. Where it is not clear how far
a secret goes, too much is hidden rather than too little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DWP_SWEEP_NOTIFY_WEBHOOK",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
    "RAY_AUTH_TOKEN",
)
"""Variables of the environment whose values are shown nowhere."""

_HIDDEN = "***"
_SHORTEST = 6
"""A shorter value of such a variable is no secret, and hiding it would spoil words."""

_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "pwd", "token", "secret", "secretkey", "secretaccesskey", "apikey",
    "accesskey", "privatekey", "accountkey", "authkey",
)  # fmt: skip
_SIGNED_QUERY = ("signature", "sig", "awsaccesskeyid", "xamzcredential", "xgoogcredential", "xamzsignature")
_HEADERS = ("authorization", "proxyauthorization", "cookie", "setcookie")
_SHELL_FOLDERS = ("PWD", "OLDPWD")
_NO_SECRETS = ("none", "null", "true", "false")

_URL = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://(?=\S)")
_NEXT_URL = re.compile(r"(?<=[\"'`(<\[{,;=|])[A-Za-z][A-Za-z0-9+.-]*://(?=\S)")
_DATABASE = re.compile(r"(?i)(?:postgres|mysql|mariadb|redis|mongodb|amqp|mssql|oracle)")
"""Schemes whose paths hold no ``@``: one after a number and a slash still ends a password."""
_HOST_AND_PORT = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/@?#]*):\d{1,5}(?:[/?#,\"'\s)\]}>]|$)")
_KEY = re.compile(
    r"(?<![\w.-])(?P<key>-{0,2}[A-Za-z_][\w.-]*)\\*[\"']?(?P<sep>[ \t]*[=:][ \t]*|(?<=\w)[ \t]+)"
)
_CLOSERS = "\"'`,;)]}>."
_AFTER_QUOTE = " \t\r\n,;:&)]}>\\\"'"
_RANDOM = re.compile(r"(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{16,}")
_KNOWN_TOKENS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|\b(?:gh[opsu]_|github_pat_|glpat-|hf_|dapi|xox[abps]-)[\w-]{16,}"
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))(?=[A-Za-z._~+/=-]*\d|\S{20})[\w.~+/=-]{8,}",
    re.DOTALL,
)


def without_secrets(text: str) -> str:
    """The text with passwords, tokens and signatures as ``***``, and so the values of `SECRET_VARIABLES`.

    >>> without_secrets("postgresql://me:pa/ss@host:5432/db?sslpassword=x")
    'postgresql://me:***@host:5432/db?sslpassword=***'
    >>> without_secrets("host=db password='it is' user=me")
    "host=db password='***' user=me"
    >>> without_secrets("Authorization: Bearer abc")
    'Authorization: Bearer ***'
    >>> without_secrets("http://127.0.0.1:5000/#/experiments")
    'http://127.0.0.1:5000/#/experiments'
    """
    for value in sorted(_secret_values(), key=len, reverse=True):
        text = text.replace(value, _HIDDEN)
    text = _KNOWN_TOKENS.sub(_HIDDEN, text)
    text = _hidden(text, _URL, _user_of_address)
    return _hidden(text, _KEY, _value_of_key)


def _secret_values() -> Iterator[str]:
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= _SHORTEST:
            yield from (value, quote(value, safe=""), quote(value))


def _hidden(text: str, start: re.Pattern[str], secret: Callable[[str, re.Match[str]], slice | None]) -> str:
    """The text with every part that ``secret`` names for a match of ``start`` as ``***``."""
    pieces, done = [], 0
    for match in start.finditer(text):
        if match.start() < done:
            continue
        part = secret(text, match)
        if part is not None and part.start < part.stop:
            pieces += [text[done : part.start], _HIDDEN]
            done = part.stop
    return "".join([*pieces, text[done:]])


def _user_of_address(text: str, match: re.Match[str]) -> slice | None:
    """The password of an address, or its user where that is a token."""
    start = match.end()
    rest = text[start : _end_of_address(text, match)]
    at, colon = rest.rfind("@"), rest.find(":")
    if at < 0:
        return None
    has_password = 0 <= colon < at
    if has_password and not _DATABASE.match(match[0]):  # host:port/path@more
        has_password = not _HOST_AND_PORT.match(rest[rest.rfind("@", 0, colon) + 1 :])
    user = rest[:colon] if has_password else rest[: rest.find("@")]
    if any(mark in user for mark in "/?#"):
        return None
    is_token = bool(_RANDOM.search(user))
    if not has_password:
        return slice(start, start + len(user)) if is_token and ":" not in user else None
    if rest[colon + 1 : at] in ("", "x-oauth-basic"):
        return slice(start, start + colon)
    return slice(start if is_token else start + colon + 1, start + at)


def _end_of_address(text: str, match: re.Match[str]) -> int:
    """Where an address ends: at its closing quote, at the next address, or before white space."""
    following = re.compile(r"\s").search(text, match.end())
    end = following.start() if following else len(text)
    if (other := _NEXT_URL.search(text, match.end(), end)) is not None:
        end = other.start()
    mark = text[match.start() - 1 : match.start()]
    if mark in ("'", '"', "`"):
        closing = _closing_quote(text, mark, match.end(), end)
        if "@" in text[match.end() : closing]:
            end = closing
    return end


def _value_of_key(text: str, match: re.Match[str]) -> slice | None:
    """The value that follows a key, an option or the name of a header, where such values are secret."""
    key, sep = match["key"], match["sep"].strip()
    before = text[match.start() - 1 : match.start()]
    name = re.sub(r"[^a-z0-9]", "", key.lower())
    is_signed = before in ("?", "&", "#") and name in _SIGNED_QUERY
    is_header = name in _HEADERS and sep != ""
    if key in _SHELL_FOLDERS or not (is_header or is_signed or name.endswith(_SECRET_ENDINGS)):
        return None
    if not sep and not key.startswith("--"):
        return None
    start = match.end()
    mark = re.compile(r"\\*[\"']").match(text, start)
    line_end = _line_end(text, start)
    if mark is not None:
        start, stop = mark.end(), _closing_quote(text, mark[0], mark.end(), line_end)
    elif is_header or (sep == ":" and _begins_line(text, match.start())):
        stop = _before_outer_quote(text, match.start(), start, line_end)
    else:
        stop = _end_of_bare_value(text, match.start(), start, line_end, before)
        if sep != "=" and not _looks_secret(text, start, stop, line_end):
            return None
    if is_header and (scheme := re.compile(r"[A-Za-z][\w-]*[ \t]+(?=\S)").match(text, start, stop)):
        start = scheme.end()
    value = text[start:stop]
    return None if value.lower() in _NO_SECRETS or value.startswith(("=", "//")) else slice(start, stop)


def _begins_line(text: str, position: int) -> bool:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return not line.strip(" \t-#>|")


def _looks_secret(text: str, start: int, stop: int, line_end: int) -> bool:
    """Whether one word after ``key:`` or ``--option`` is a value, not the next word of a sentence."""
    return (
        not text[start:stop].isalpha()
        or not text[stop:line_end].strip(_CLOSERS + " \t")
        or text[stop] in ",;)]}"
    )


def _end_of_bare_value(text: str, key: int, start: int, line_end: int, before: str) -> int:
    """Where a value without quotes ends: before white space that is not escaped, without what closes.

    In a query or a list of assignments, the mark before the key ends the value too.
    """
    ends = {"?": "&#", "&": "&#", "#": "&", ";": ";", ",": ","}.get(before, "")
    stop = start
    while stop < line_end and not text[stop].isspace() and text[stop] not in ends:
        stop += 2 if text[stop] == "\\" else 1
    stop = _before_outer_quote(text, key, start, min(stop, line_end))
    trimmed = text[start:stop].rstrip(_CLOSERS)
    return start + len(trimmed) if trimmed else stop


def _before_outer_quote(text: str, key: int, start: int, stop: int) -> int:
    """The end of a value that stands inside a quoted text, as an address or a header in JSON does."""
    line = text[text.rfind("\n", 0, key) + 1 : key]
    closings = (_closing_quote(text, mark, start, stop) for mark in "\"'`" if line.count(mark) % 2)
    return min(closings, default=stop)


def _closing_quote(text: str, mark: str, start: int, stop: int) -> int:
    """The first quote that is not escaped and that something follows which is no part of a value."""
    at = text.find(mark, start, stop)
    while at >= 0:
        after = text[at + len(mark) : at + len(mark) + 1]
        if text[at - 1] != "\\" and (not after or after in _AFTER_QUOTE) and after != mark:
            return at
        at = text.find(mark, at + (2 if after == mark else 1), stop)
    return stop


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
