"""The guard of `touchstone ui` around an application that would answer everything: which requests pass."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.ui import commands
from orchestration.ui_guard import ANSWER_HEADERS, NAMES, Message, Receive, Scope, Send, UiGuard, refusal
from orchestration.ui_servers import guarded_mlflow
from touchstone.core.settings import Settings

PORT = 3000
OWN = f"127.0.0.1:{PORT}"
HOST, ORIGIN = ("host", OWN), ("origin", f"http://{OWN}")
JSON = ("content-type", "application/json")
CROSS, SAME_SITE = ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")
NAVIGATES, DOCUMENT, IFRAME = (
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-dest", "iframe"),
)
Headers = tuple[tuple[str, str], ...]


def scope_of(*headers: tuple[str, str], method: str = "GET", target: str = "/", port: int = PORT) -> Scope:
    """Returns uvicorn's scope of a request: the path is unquoted, the query string is raw."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "server": ("127.0.0.1", port),
    }


def socket_scope(*headers: tuple[str, str], target: str = "/graphql") -> Scope:
    scope = scope_of(*headers, target=target) | {"type": "websocket", "subprotocols": ["graphql-ws"]}
    del scope["method"]
    return scope


def answer(scope: Scope) -> tuple[bool, list[Message]]:
    """Returns whether a request reached the application behind the guard, and the response."""
    reached: list[Scope] = []
    sent: list[Any] = []

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        reached.append(scope)
        if scope["type"] == "http":
            headers = [(b"content-security-policy", b"object-src 'none'")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"secret"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})

    async def receive() -> Message:
        raise AssertionError("the guard decides without reading a body")

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(UiGuard(app)(scope, receive, send))
    return bool(reached), sent


ALLOWED = {
    "a page in a tab": scope_of(HOST),
    "by its alternative host name": scope_of(("host", f"localhost:{PORT}"), ("origin", f"http://localhost:{PORT}")),
    "typed into the address bar": scope_of(HOST, ("sec-fetch-site", "none"), NAVIGATES, DOCUMENT),
    "a link from another site": scope_of(HOST, CROSS, NAVIGATES, DOCUMENT, target="/runs?status=FAILURE"),
    "a link from another port": scope_of(HOST, SAME_SITE, NAVIGATES, DOCUMENT),
    "the page's own request": scope_of(HOST, ORIGIN, JSON, ("sec-fetch-site", "same-origin"), method="POST"),
    "a frame of its own page": scope_of(HOST, ("sec-fetch-site", "same-origin"), NAVIGATES, IFRAME),
    "a script without Origin": scope_of(HOST, JSON, method="POST", target="/graphql"),
    "JSON with a charset": scope_of(HOST, ("content-type", "Application/JSON; charset=utf-8"), method="POST"),
    "an operation's name": scope_of(HOST, ORIGIN, JSON, method="POST", target="/graphql?op=RunQuery_1"),
    "the page of GraphiQL": scope_of(HOST, target="/graphql"),
    "a query on another path": scope_of(HOST, target="/search?query=mutation"),
    "a HEAD request": scope_of(HOST, method="HEAD"),
    "a delete without a body": scope_of(HOST, ORIGIN, method="DELETE"),
    "the page's own socket": socket_scope(HOST, ORIGIN),
    "a script's socket": socket_scope(HOST),
    "on the default port of http": scope_of(("host", "localhost"), ("origin", "http://localhost"), port=80),
}
FORBIDDEN = {
    "no host": (),
    "two hosts": (HOST, HOST),
    "another name": (("host", f"evil.test:{PORT}"),),
    "another name without a port": (("host", "evil.test"),),
    "its name without a port": (("host", "127.0.0.1"),),
    "another port": (("host", "127.0.0.1:3001"),),
    "an address of the network": (("host", f"192.168.0.7:{PORT}"),),
    "any address": (("host", f"0.0.0.0:{PORT}"),),
    "IPv6, on which it does not listen": (("host", f"[::1]:{PORT}"),),
    "a longer name": (("host", f"127.0.0.1:{PORT}.evil.test"),),
    "a user": (("host", f"evil@127.0.0.1:{PORT}"),),
    "a name with a dot": (("host", f"localhost.:{PORT}"),),
    "two names": (("host", f"{OWN}, evil.test"),),
    "origin null": (HOST, ("origin", "null")),
    "an empty origin": (HOST, ("origin", "")),
    "origin of another port": (HOST, ("origin", "http://127.0.0.1:3001")),
    "origin of its alternative host name": (HOST, ("origin", f"http://localhost:{PORT}")),
    "origin of another scheme": (HOST, ("origin", f"https://{OWN}")),
    "origin of another site": (HOST, ("origin", "http://evil.test")),
    "own origin as a suffix": (HOST, ("origin", f"http://evil.test/http://{OWN}")),
    "two origins": (HOST, ORIGIN, ("origin", "http://evil.test")),
    "an image on another site": (HOST, CROSS, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")),
    "a script on another port": (HOST, SAME_SITE, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")),
    "a frame on another site": (HOST, CROSS, NAVIGATES, IFRAME),
    "an object on another site": (HOST, CROSS, NAVIGATES, ("sec-fetch-dest", "object")),
    "a cross-site fetch with destination document": (HOST, CROSS, ("sec-fetch-mode", "no-cors"), DOCUMENT),
    "a non-standard site value": (HOST, ("sec-fetch-site", "SAME-ORIGIN")),
    "two sites": (HOST, ("sec-fetch-site", "same-origin"), CROSS, ("sec-fetch-mode", "cors")),
}
GRAPHQL_TARGETS = (
    *(
        "/graphql?query={version}",
        "/graphql?op=a&query=b",
        "/graphql?query",
        "/graphql?op=a;query=b",
        "/graphql?op=%71",
    ),
    *(
        "/graphql?%71uery=b",
        "/graphql?operationName=a",
        "/graphql?variables=%7B%7D",
        "/graphql?op=a&op=b",
        "/graphql?&",
    ),
    *("/%67raphql?query=b", "//graphql?query=b", "/graphql/?query=b", "/GraphQL?query=b", "/prefix/graphql?query=b"),
    *("/graphql%2F?query=b", "/%2Fgraphql?query=b", "/graphql%0A?query=b"),
)


@pytest.mark.parametrize("scope", ALLOWED.values(), ids=ALLOWED)
def test_requests_of_users_and_scripts_pass(scope: Scope):
    reached, sent = answer(scope)
    assert reached
    if scope["type"] == "http":
        # Both policies apply then: browsers enforce each.
        assert sent[0]["headers"] == [(b"content-security-policy", b"object-src 'none'"), *ANSWER_HEADERS]


@pytest.mark.parametrize("headers", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "websocket"])
def test_another_host_or_origin_is_forbidden(headers: Headers, method: str):
    scope = socket_scope(*headers) if method == "websocket" else scope_of(*headers, JSON, method=method)
    reached, sent = answer(scope)
    assert not reached
    if method == "websocket":
        assert sent == [{"type": "websocket.close", "code": 1008}]
    else:
        assert_refused(sent, 403)


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
def test_a_cross_site_navigation_may_only_use_get(method: str):
    assert_refused(answer(scope_of(HOST, CROSS, NAVIGATES, DOCUMENT, JSON, method=method))[1], 403)


@pytest.mark.parametrize("target", GRAPHQL_TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "websocket"])
def test_a_graphql_query_in_the_address_is_forbidden(target: str, method: str):
    if method == "websocket":
        assert answer(socket_scope(HOST, ORIGIN, target=target)) == (False, [{"type": "websocket.close", "code": 1008}])
    else:
        reached, sent = answer(scope_of(HOST, ORIGIN, JSON, method=method, target=target))
        assert not reached
        assert_refused(sent, 403)


@pytest.mark.parametrize(
    "types",
    [
        *((), ("",), ("text/plain",), ("application/x-www-form-urlencoded",), ("multipart/form-data; boundary=a",)),
        *(("application/graphql",), ("text/plain; application/json",), ("application/json, text/plain",)),
        *(("application/jsonp",), ("application/json", "text/plain"), ("application/json", "application/json")),
    ],
)
def test_a_post_of_anything_but_json_is_refused(types: tuple[str, ...]):
    sent = answer(scope_of(HOST, *(("content-type", value) for value in types), method="POST"))[1]
    assert_refused(sent, 415)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "CONNECT", "any"])
def test_a_body_of_another_type_is_refused_by_any_method(method: str):
    assert_refused(answer(scope_of(HOST, ("content-type", "text/plain"), method=method))[1], 415)


@pytest.mark.parametrize("method", ["post", "CONNECT", "any"])
def test_an_unusual_method_needs_json_too(method: str):
    assert_refused(answer(scope_of(HOST, method=method))[1], 415)


def test_lifespan_events_reach_the_application():
    assert answer({"type": "lifespan"})[0]


# The following inputs are nearly valid, because random headers are refused trivially.
PIECES = st.sampled_from(
    [
        "127.0.0.1",
        "localhost",
        "evil.test",
        "[::1]",
        ":3000",
        ":3001",
        ":",
        "http://",
        "https://",
        "null",
        ",",
        " ",
        "@",
        ".",
    ]
)
TEXT = st.lists(PIECES, max_size=4).map("".join) | st.sampled_from([OWN, f"http://{OWN}", f"localhost:{PORT}"])


@given(st.lists(TEXT, max_size=2), st.lists(TEXT, max_size=2))
def test_only_the_servers_own_host_and_origin_pass(hosts: list[str], origins: list[str]):
    headers = [*(("host", host) for host in hosts), *(("origin", origin) for origin in origins)]
    is_own = hosts in [[f"{name}:{PORT}"] for name in NAMES] and set(origins) <= {f"http://{hosts[0]}"}
    assert (refusal(scope_of(*headers)) is None) == is_own


@given(
    st.lists(
        st.sampled_from(["op", "query", "=", "&", ";", "%71uery", "%26", "%3D", "+", "a", "\x00", "é"]), max_size=8
    )
)
def test_the_router_sees_no_graphql_parameter_but_the_operation_name(pieces: list[str]):
    """Starlette and Werkzeug parse the query string like `parse_qsl`."""
    query = "".join(pieces)
    if refusal(scope_of(HOST, target=f"/graphql?{query}")) is None:
        assert {name for name, _ in parse_qsl(query, keep_blank_values=True)} <= {"op"}


@given(
    st.sampled_from(["/", "//", "/%2F", "/a/", "/./"]),
    st.sampled_from(["graphql", "GRAPHQL", "%67raphql", "graphq%6C", "%2567raphql"]),
    st.sampled_from(["", "/", "%2F", "%0A", "%0D", "%00", ";a", "/..", "%20"]),
)
def test_no_path_routed_to_graphql_passes_with_a_query(before: str, word: str, after: str):
    from starlette.routing import Match, Route, Router

    scope = scope_of(HOST, target=f"{before}{word}{after}?query={quote('{version}')}")
    router = Router([Route("/graphql", lambda _: None, methods=["GET", "POST"])])
    paths = {scope["path"], scope["path"].rstrip("/")}  # Starlette redirects to the latter
    if any(router.routes[0].matches({**scope, "path": path})[0] is not Match.NONE for path in paths):
        assert refusal(scope) is not None


def test_both_servers_are_started_with_the_guard(tmp_path: Path):
    started = commands(Settings(home=tmp_path), PORT)
    assert "orchestration.ui_servers" in started["Dagster's webserver"]
    named = started["MLflow"][started["MLflow"].index("--app-name") + 1]
    assert {found.load() for found in entry_points(group="mlflow.app", name=named)} == {guarded_mlflow}


def assert_refused(sent: list[Message], status: int) -> None:
    """Asserts that the response is a refusal with a reason that no other origin can read."""
    start, body = sent
    assert start["status"] == status
    assert start["headers"] == [(b"content-type", b"text/plain; charset=utf-8"), *ANSWER_HEADERS]
    assert body["body"].startswith(b"Refused: ")
    assert body["body"].endswith(b".\n")
    assert b"secret" not in body["body"]
