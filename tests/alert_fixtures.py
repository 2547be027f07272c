"""Servers on this machine that take alerts: HTTP for a webhook, and as much SMTP as a mail needs."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


@dataclass
class Received:
    """What a server got.

    Attributes:
        address: Where it listens, `host:port`.
        posts: Bodies of the posts, read as JSON.
        mails: Mails as they came, headers and all.
        status: What the web server answers with.
    """

    address: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    status: int = 200


@contextmanager
def serving(server: socketserver.BaseServer, received: Received) -> Iterator[Received]:
    """Serves in a thread for the duration of a block."""
    host, port = server.server_address[:2]
    received.address = f"{host}:{port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def web_server() -> Iterator[Received]:
    """Takes posts."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(received.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with serving(HTTPServer(("127.0.0.1", 0), Handler), received) as running:
        yield running


@contextmanager
def mail_server(*extensions: str) -> Iterator[Received]:
    """Takes mails, in the commands of RFC 5321 that sending one needs; any user may log in by AUTH PLAIN."""
    received = Received()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                command = line.split()[0].upper()
                if command == "EHLO":
                    self.say("250-here")
                    for extension in extensions:
                        self.say(f"250-{extension}")
                    self.say("250 HELP")
                elif command == "AUTH":
                    received.mails.append(line)
                    self.say("235 welcome")
                elif command == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                        lines.append(part)
                    received.mails.append("\n".join(lines))
                    self.say("250 taken")
                elif command == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 fine")

    with serving(socketserver.TCPServer(("127.0.0.1", 0), Handler), received) as running:
        yield running
