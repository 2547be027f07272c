"""Sends alerts for failed runs, gates that refuse or warn, and refused loads.

Alerts are sent at the end of a run to a webhook, by mail, or both, as configured. They are built from the run record: names of
tables, gates, expectations and stages with their figures, never rows or texts of errors, which may contain values of the data.
Alerts of the same subject are sent at most once an hour by default; the next one says how many were suppressed. An alert that
cannot be sent is logged and does not affect the run.
"""

from __future__ import annotations

import json
import logging
import platform
import smtplib
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from touchstone.core.files import write_json
from touchstone.core.home import Home
from touchstone.core.lock import writer_lock
from touchstone.core.run_record import RunRecord
from touchstone.core.settings import Settings

logger = logging.getLogger("touchstone")
TIMEOUT_SECONDS = 10  # of a connection, and of a read
SEND_SECONDS = 30.0  # of a channel in total: a server that answers byte by byte never exceeds the timeout of a read
LOCK_WAIT_SECONDS = 60
SMTP_PORTS = {"smtp": 587, "smtps": 465}
LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Alert:
    """An alert.

    Attributes:
        subject: The kind of event, the same each time that it occurs; the rate is limited per subject.
        text: What happened, and what to do.
    """

    subject: str
    text: str


def alerts_for(record: RunRecord) -> list[Alert]:
    """Returns the alerts for a run that ended.

    Args:
        record: The run's record.
    """
    day = f" as of {record.facts['as_of']}" if "as_of" in record.facts else ""
    run = f"Run {record.run_id}{day}"
    loads: Mapping[str, str] = record.facts.get("refused_loads", {})
    gates: Mapping[str, Sequence[str]] = record.facts.get("refused_gates", {})
    alerts = [
        Alert(f"load of {table} refused", f"{run}: {message} The run's summary and the ledger name the broken rule.")
        for table, message in sorted(loads.items())
    ]
    alerts += [
        Alert(
            f"gate {gate} refused",
            f"{run}: nothing was published for it; the last good list stays.\n"
            + "\n".join(f"- {reason}" for reason in reasons),
        )
        for gate, reasons in sorted(gates.items())
    ]
    warnings: Mapping[str, Sequence[str]] = record.facts.get("warning_gates", {})
    alerts += [
        Alert(f"gate {gate} warns", f"{run}: publication continues.\n" + "\n".join(f"- {reason}" for reason in reasons))
        for gate, reasons in sorted(warnings.items())
    ]
    has_gate_alert = record.outcome == "refused" and bool(gates)
    if record.outcome in {"failed", "killed", "refused"} and not has_gate_alert:
        broken = ", ".join(stage.name for stage in record.stages if stage.has_failed) or "outside any stage"
        outcome = "was killed" if record.outcome == "killed" else f"ended as {record.outcome}, in: {broken}"
        text = f"{run} {outcome}. Run `touchstone doctor` for what to do; {record.path} has the reason."
        alerts.append(Alert("run failed", text))
    return alerts


def could_not_run(what: str) -> Alert:
    """Returns the alert for a run that has no record, such as one that waited for the lock in vain.

    Args:
        what: The run, for the message.
    """
    return Alert("run failed", f"{what} could not run. Run `touchstone doctor` for what to do; the log has the reason.")


def send_alerts(settings: Settings, alerts: Sequence[Alert]) -> None:
    """Sends alerts by every channel, within the rate limit. Never raises, since a run must not fail because of an alert.

    Args:
        settings: The settings.
        alerts: The alerts.
    """
    channels = _channels(settings)
    if not alerts or not channels:
        return
    try:
        folder = Home(settings.home).alerts
        with writer_lock(folder / "lock", purpose="sending alerts", wait_seconds=LOCK_WAIT_SECONDS):
            for alert in alerts:
                _send(settings, folder / "sent.json", alert, channels)
    except Exception as error:  # noqa: BLE001  # the outcome of the run must not change
        logger.error(
            "ALERTS COULD NOT BE SENT (%s): %s", _format_error(error), "; ".join(alert.subject for alert in alerts)
        )


def send_test(settings: Settings) -> dict[str, str]:
    """Sends a test alert by every channel, regardless of the rate limit.

    Args:
        settings: The settings.

    Returns:
        By channel: `sent`, or the error.
    """
    alert = Alert("test", "This is a test of Touchstone's alerts. Nothing has happened.")
    results = {}
    for name, send in _channels(settings).items():
        try:
            _within(SEND_SECONDS, send, _headline(settings, alert), alert.text)
            results[name] = "sent"
        except (OSError, smtplib.SMTPException, ValueError) as error:
            results[name] = _format_error(error)
    return results


Send = Callable[[str, str], None]


def _send(settings: Settings, file: Path, alert: Alert, channels: Mapping[str, Send]) -> None:
    """Sends one alert, or counts it as suppressed. An alert that no channel accepted counts as not sent."""
    sent: dict[str, dict[str, object]] = json.loads(file.read_text()) if file.exists() else {}
    last = sent.get(alert.subject, {})
    held_back = int(str(last.get("held_back", 0)))
    now = datetime.now(UTC)
    if "sent_at" in last:
        waited = (now - datetime.fromisoformat(str(last["sent_at"]))).total_seconds()
        if waited < settings.alert_every_seconds:
            write_json(file, {**sent, alert.subject: {**last, "held_back": held_back + 1}})
            return
    text = alert.text + (f"\n\n{held_back} more of these were suppressed since {last['sent_at']}." if held_back else "")
    accepted = 0
    for name, send in channels.items():
        try:
            _within(SEND_SECONDS, send, _headline(settings, alert), text)
            accepted += 1
        except (OSError, smtplib.SMTPException, ValueError) as error:
            logger.error("THE ALERT '%s' COULD NOT BE SENT by %s: %s", alert.subject, name, _format_error(error))
    if accepted:
        write_json(file, {**sent, alert.subject: {"sent_at": now.isoformat(timespec="seconds"), "held_back": 0}})


def _within(seconds: float, send: Send, headline: str, text: str) -> None:
    """Sends an alert with a timeout. A thread that hangs does not keep the process alive.

    Raises:
        TimeoutError: The server did not accept the alert in time; it may have received it.
        Exception: The error of `send`.
    """
    raised: list[Exception] = []

    def work() -> None:
        try:
            send(headline, text)
        except Exception as error:  # noqa: BLE001  # raised again below, in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the server did not accept the alert within {seconds:g} s.")
    if raised:
        raise raised[0]


def _headline(settings: Settings, alert: Alert) -> str:
    return f"Touchstone on {platform.node()} ({settings.home.name}): {alert.subject}"


def _format_error(error: Exception) -> str:
    """Returns type and message of an error, which contain neither a webhook's address nor a password."""
    return f"{type(error).__name__}: {error}"


def _channels(settings: Settings) -> dict[str, Send]:
    channels: dict[str, Send] = {}
    if settings.alert_webhook is not None:
        channels["webhook"] = lambda headline, text: _post(settings, headline, text)
    if settings.alert_smtp is not None:
        channels["mail"] = lambda headline, text: _mail(settings, headline, text)
    return channels


def _post(settings: Settings, headline: str, text: str) -> None:
    """Posts JSON with the keys `text`, which chat servers show, and `headline`."""
    if settings.alert_webhook is None:
        raise ValueError("no webhook is set")
    request = urllib.request.Request(  # noqa: S310  # the setting allows only http and https
        settings.alert_webhook.get_secret_value(),
        data=json.dumps({"text": f"{headline}\n{text}", "headline": headline}).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "touchstone"},
    )
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS) as answer:
        answer.read(1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Reports a redirect as an error: if it were followed, the POST would become a GET without the alert."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,  # noqa: ARG002  # the signature of urllib
        headers: HTTPMessage,
        newurl: str,  # noqa: ARG002  # not shown: a webhook's address is a secret
    ) -> None:
        """Raises the error."""
        reason = "the webhook answers with a redirect, which is not followed; set TOUCHSTONE_ALERT_WEBHOOK to its final address"
        raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)


def _mail(settings: Settings, headline: str, text: str) -> None:
    """Sends a mail, encrypted if the server supports it. A password is sent only encrypted, or to this machine."""
    url = urlsplit(settings.alert_smtp or "")
    host, port = url.hostname or "", url.port or SMTP_PORTS[url.scheme]
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = headline, settings.alert_from, settings.alert_to
    message.set_content(text)
    context = ssl.create_default_context()
    opened = (
        smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
        if url.scheme == "smtps"
        else smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    )
    with opened as server:
        server.ehlo()
        is_private = url.scheme == "smtps" or host in LOCAL
        if url.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=context)
            is_private = True
        if url.username:
            if not is_private:
                raise ValueError(f"{host} offers no encryption, so no password was sent. Use smtps://, or no user.")
            password = settings.alert_smtp_password
            server.login(unquote(url.username), password.get_secret_value() if password else "")
        server.send_message(message)
