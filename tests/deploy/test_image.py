"""The image: pinned base, pinned packages, another user than root, nothing from outside its list."""

from __future__ import annotations

import re

from tests.deploy.documents import DEPLOY, PINS, PROJECT, ROOT, SECRETS

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word.upper(), re.sub(r"\s+", " ", rest).strip())
        for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    ]


def of(word: str) -> list[str]:
    return [arguments for name, arguments in instructions() if name == word]


def test_every_base_image_is_pinned_to_a_full_version() -> None:
    bases = [arguments.split()[0] for arguments in of("FROM")]
    assert bases
    assert [base for base in bases if not re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)] == []
    assert len(set(bases)) == 1  # the environment is copied from one to the other


def test_the_last_stage_runs_as_a_user_by_number_that_is_not_root() -> None:
    last = max(i for i, (name, _) in enumerate(instructions()) if name == "FROM")
    users = [arguments for name, arguments in instructions()[last:] if name == "USER"]
    assert users == ["10001:10001"]
    after = [name for name, _ in instructions()[instructions().index(("USER", "10001:10001")) + 1 :]]
    assert "RUN" not in after and "COPY" not in after


def test_all_packages_come_at_the_versions_of_the_constraints_file() -> None:
    installs = [step for run in of("RUN") for step in run.split("&&") if "pip install" in step]
    assert len(installs) == 3
    assert all("-c constraints.txt" in step or "--no-deps" in step for step in installs)
    assert "==" not in "".join(of("RUN")).replace("^torch==", "")


def test_what_only_the_server_needs_is_pinned_too() -> None:
    wanted = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in PROJECT["optional-dependencies"]["server"]}
    assert {"boto3", "psycopg", "Flask-WTF"} <= wanted
    assert wanted - set(PINS) == set()
    assert "'.[server]'" in DOCKERFILE


def test_no_secret_can_get_into_a_layer() -> None:
    words = re.compile(r"password|secret|token|credential|access_key", re.IGNORECASE)
    settings = " ".join(of("ENV") + of("ARG")).replace("RAY_AUTH_MODE=token", "")
    assert not words.search(settings)
    assert not words.search(" ".join(of("COPY")))
    assert of("ADD") == []


def test_the_build_context_holds_only_what_is_listed() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for copy in of("COPY")
        if "--from" not in copy
        for source in copy.split()[:-1]
        if source[0] != "-"
    }
    assert copied <= allowed
    assert not any(name in rule for rule in allowed for name in (".git", ".venv", "secrets", "dwp_runs"))
    assert all((ROOT / name).exists() for name in allowed)


def test_git_ignores_the_folder_of_secrets() -> None:
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert len(SECRETS) == 8
