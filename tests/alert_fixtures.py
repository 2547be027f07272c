"""Local servers that receive alerts: HTTP for a webhook, and the SMTP that sending mail needs, with or without TLS."""

from __future__ import annotations

import ipaddress
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Received:
    """What a server received.

    Attributes:
        address: The address it listens on, `host:port`.
        posts: Bodies of the POST requests, parsed as JSON.
        mails: The received mails, including their headers.
        encrypted: For each mail and each login, whether the connection was encrypted.
        status: The status with which the web server responds.
        location: The redirect target; none if empty.
        gets: The number of requests that were not POST requests.
    """

    address: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    status: int = 200
    location: str = ""
    gets: int = 0


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
    """Accepts POST requests."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(received.status)

        def do_GET(self) -> None:
            received.gets += 1
            self.answer(200)

        def answer(self, status: int) -> None:
            self.send_response(status)
            if received.location:
                self.send_header("Location", received.location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with serving(HTTPServer(("127.0.0.1", 0), Handler), received) as running:
        yield running


@contextmanager
def slow_server() -> Iterator[str]:
    """Responds to any request with one byte every tenth of a second, endlessly; yields its address, `host:port`."""
    stopped = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while not stopped.wait(0.1):
                    self.request.sendall(b"2")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with serving(Server(("127.0.0.1", 0), Handler), Received()) as running:
        yield running.address
        stopped.set()


def own_certificate(folder: Path) -> Path:
    """Writes a self-signed certificate for 127.0.0.1 and its key into one file; returns the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


class _MailServer(socketserver.TCPServer):
    """State shared by the handlers: extensions, certificate, and what was received."""

    def __init__(self, extensions: Sequence[str], certificate: Path | None, *, is_encrypted: bool) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.extensions, self.is_encrypted, self.received = extensions, is_encrypted, Received()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if certificate is not None:
            self.context.load_cert_chain(certificate)


class _MailHandler(socketserver.StreamRequestHandler):
    """The RFC 5321 commands that sending a mail needs; any user may log in by AUTH PLAIN."""

    server: _MailServer

    def setup(self) -> None:
        super().setup()
        if self.server.is_encrypted:
            self.encrypt()

    def handle(self) -> None:
        self.reply("220 here")
        while line := self.rfile.readline().decode().strip():
            command = line.split()[0].lower()
            getattr(self, f"on_{command}", self.on_any)(line)

    def on_ehlo(self, _: str) -> None:
        self.reply("250-here", *(f"250-{extension}" for extension in self.server.extensions), "250 HELP")

    def on_starttls(self, _: str) -> None:
        self.reply("220 go on")
        self.encrypt()

    def on_auth(self, line: str) -> None:
        self.store(line)
        self.reply("235 welcome")

    def on_data(self, _: str) -> None:
        self.reply("354 go on")
        self.store("\n".join(iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")))
        self.reply("250 taken")

    def on_quit(self, _: str) -> None:
        self.reply("221 bye")

    def on_any(self, _: str) -> None:
        self.reply("250 fine")

    def reply(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def store(self, text: str) -> None:
        self.server.received.mails.append(text)
        self.server.received.encrypted.append(isinstance(self.request, ssl.SSLSocket))

    def encrypt(self) -> None:
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()


@contextmanager
def mail_server(*extensions: str, certificate: Path | None = None, is_encrypted: bool = False) -> Iterator[Received]:
    """Receives mails: over TLS from the start, or after STARTTLS where that is among the extensions."""
    server = _MailServer(extensions, certificate, is_encrypted=is_encrypted)
    with serving(server, server.received) as running:
        yield running
