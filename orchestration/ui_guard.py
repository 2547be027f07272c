"""What the servers of `touchstone ui` refuse: every request that a page of another origin makes a browser send.

Neither Dagster nor MLflow asks who somebody is, so whoever reaches their servers may do everything. The servers listen on this
machine alone, but a browser on this machine carries requests of any web page to them. Here are the rules against that, as
one ASGI middleware that knows neither Dagster nor MLflow; `ui_servers.py` puts it around both. docs/decisions/0020 says why
these rules. What a user who may log in to this machine can do is not limited here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES: Final = ("127.0.0.1", "localhost")
READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# A browser never sends these to another origin without asking that first, so they may come without a body.
ASKED_METHODS: Final = frozenset({"PUT", "PATCH", "DELETE"})
# Dagster's page puts the name of the operation there, for logs; nothing else may be in the address of a GraphQL request.
GRAPHQL_QUERY_STRING: Final = re.compile(rb"(op=\w+)?", re.ASCII)
# For browsers that send neither Origin nor Sec-Fetch-Site with a request: other origins may not embed or frame an answer.
ANSWER_HEADERS: Final = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that is refused: its status, and a sentence that says what is wrong and what to do."""

    status: HTTPStatus
    message: str


class UiGuard:
    """ASGI middleware that answers what `refusal` refuses, and passes everything else on."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request itself, or has the application do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif (refused := refusal(scope)) is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted, which makes it a 403
        else:
            content_type = (b"content-type", b"text/plain; charset=utf-8")
            start = {"type": "http.response.start", "status": int(refused.status), "headers": [content_type]}
            await _with_headers(send)(start)
            await send({"type": "http.response.body", "body": f"{refused.message}\n".encode()})


def refusal(scope: Scope) -> Refusal | None:
    """Returns why a request is refused, or None where it is not.

    Args:
        scope: The scope of an HTTP request or a websocket's handshake, as ASGI describes it.
    """
    _, port = scope["server"]
    allowed = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
    hosts = _values(scope, b"host")
    if len(hosts) != 1 or hosts[0] not in allowed:
        addresses = " or ".join(f"http://{name}:{port}" for name in NAMES)
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"Refused: this server is to be opened as {addresses}, and this request's Host header names another address. "
            "Open it there; through an SSH tunnel, use the same port at both ends.",
        )
    if any(origin != f"http://{hosts[0]}" for origin in _values(scope, b"origin")) or _is_embedded(scope):
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"Refused: a page of another origin than http://{hosts[0]} sent this request. Open the address in a tab of its own.",
        )
    # Anywhere in the path: Dagster's router takes `/graphql%0A` for its own, too.
    if "graphql" in scope["path"].lower() and not GRAPHQL_QUERY_STRING.fullmatch(scope["query_string"]):
        return Refusal(
            HTTPStatus.FORBIDDEN,
            "Refused: a GraphQL query in the address. Send it by POST, in a JSON body with Content-Type: application/json.",
        )
    if scope["type"] == "http" and not _has_allowed_content(scope):
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Refused: the body of a request has to be JSON. Send it with Content-Type: application/json.",
        )
    return None


def _is_embedded(scope: Scope) -> bool:
    """Whether a browser says that another origin sent this request, and it is not a link that opens a page in a tab."""
    if {"same-origin", "none"}.issuperset(_values(scope, b"sec-fetch-site")):
        return False
    is_link = _values(scope, b"sec-fetch-mode") == ["navigate"] and _values(scope, b"sec-fetch-dest") == ["document"]
    return not (is_link and scope.get("method") == "GET")


def _has_allowed_content(scope: Scope) -> bool:
    """Whether a request only reads, or has a JSON body, which a browser sends to another origin only after asking it."""
    types = [value.split(";")[0].strip().lower() for value in _values(scope, b"content-type")]
    if scope["method"] in READING_METHODS or types == ["application/json"]:
        return True
    return not types and scope["method"] in ASKED_METHODS  # MLflow's page deletes without a body


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *ANSWER_HEADERS]}
        await send(message)

    return send_with_headers
