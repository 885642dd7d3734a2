"""Errors of the S3 client: which of them may pass, what they mean for people, and repeating a request.

`with_retries` is around every method of `Bucket` that sends a request. It repeats the request until the
server answers or `OUTAGE_S` is over.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from http import HTTPStatus
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from dwp_sweep.errors import Problem, StorageError

OUTAGE_S = 120.0
"""How long a server may be away before a request fails."""
_LONGEST_PAUSE_S = 5.0

ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_REFUSED = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
            "InvalidToken", "AuthorizationHeaderMalformed", "TokenRefreshRequired"}  # fmt: skip
_MOVED = {"301", "307", "PermanentRedirect", "IllegalLocationConstraintException"}
_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of this machine"


class Server(Protocol):
    """What is said of a bucket when its server fails."""

    url: str
    bucket: str

    @property
    def endpoint(self) -> str:
        """Address of the server."""


SelfT = TypeVar("SelfT", bound=Server)
ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

_is_brief: ContextVar[bool] = ContextVar("_is_brief", default=False)


@contextlib.contextmanager
def brief() -> Iterator[None]:
    """Context without retries: for requests that the caller repeats soon anyway."""
    token = _is_brief.set(True)
    try:
        yield
    finally:
        _is_brief.reset(token)


def with_retries(
    method: Callable[Concatenate[SelfT, ArgumentsT], ResultT],
) -> Callable[Concatenate[SelfT, ArgumentsT], ResultT]:
    """Repeat a method that sends a request until an outage is over; any other failure is a `StorageError`."""

    @functools.wraps(method)
    def repeated(self: SelfT, *args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> ResultT:
        begun_s, pause_s = time.monotonic(), 0.25
        while True:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                if not is_of_client(error):  # an error of the disk stays as it is
                    raise
                is_over = _is_brief.get() or time.monotonic() - begun_s + pause_s > OUTAGE_S
                if is_over or not _may_pass(error):
                    raise StorageError(str(problem(self, error))) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    return cast(Callable[Concatenate[SelfT, ArgumentsT], ResultT], repeated)


@contextlib.contextmanager
def ignoring(codes: Collection[str]) -> Iterator[None]:
    """Context that ends without error where the server answers with one of these codes."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) not in codes:
            raise


def is_of_client(error: Exception) -> bool:
    """Whether boto3 raised an error; its transfer manager wraps the errors of the client."""
    from botocore.exceptions import BotoCoreError, ClientError

    wrappers = ("boto3.", "s3transfer.", "urllib3.")
    return isinstance(error, BotoCoreError | ClientError) or type(error).__module__.startswith(wrappers)


def problem(server: Server, error: Exception) -> Problem:
    """What went wrong, for people."""
    from botocore import exceptions

    code = _code(error)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return Problem(server.url, "no credentials for it were found", f"set {_KEYS}")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        what = f"no S3 server answers at {server.endpoint}"
        return Problem(server.url, what, "correct AWS_ENDPOINT_URL or AWS_REGION, or start the server")
    if code in {"NoSuchBucket", *ABSENT}:
        what = f"there is no bucket {server.bucket!r} at {server.endpoint}"
        return Problem(server.url, what, "make it, or correct the name")
    if code in _REFUSED:
        what = f"{server.endpoint} refuses these credentials there ({code})"
        return Problem(server.url, what, f"look at {_KEYS}, and at what they may read and write")
    if code in _MOVED:
        return Problem(server.url, "the bucket lies in another region", "set AWS_REGION to it")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Problem(server.url, f"{server.endpoint} answers: {lines[0]}")


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: there was no answer, or the server reports a fault."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    permanent = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ParamValidationError,
    )
    return not isinstance(error, permanent)


def _code(error: Exception) -> str:
    """The code of an answer of the server; empty where it is no answer."""
    from botocore.exceptions import ClientError

    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
