"""The alerts sent for a run, how often and by which channel; a run never fails because of them. Over real sockets."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alert_fixtures import Received, mail_server, own_certificate, slow_server, web_server
from touchstone.core.errors import BadInputError
from touchstone.core.run_record import RunRecord, Stage
from touchstone.core.settings import Settings, read_settings
from touchstone.maintenance import alerts
from touchstone.maintenance.alerts import Alert, alerts_for, send_alerts, send_test

ALERT = Alert("run failed", "Run abc failed.")


@pytest.fixture
def web() -> Iterator[Received]:
    with web_server() as received:
        yield received


@pytest.fixture
def captured_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log; the command line's setup would keep our logger's records from pytest."""
    logger = logging.getLogger("touchstone")
    before, logger.propagate = logger.propagate, True
    yield caplog
    logger.propagate = before


def settings_with(home: Path, **values: object) -> Settings:
    return read_settings(home=home, **{f"alert_{name}": value for name, value in values.items()})


def record(folder: Path, outcome: str, **facts: object) -> RunRecord:
    found = RunRecord.start(folder, "abc")
    found.facts |= facts
    found.end(outcome)  # type: ignore[arg-type]  # the test names outcomes
    return found


def test_a_successful_run_sends_no_alert(tmp_path: Path) -> None:
    assert alerts_for(record(tmp_path, "done", as_of="2026-06-30")) == []


def test_a_failed_run_names_its_stage_without_the_error_message(tmp_path: Path) -> None:
    failed = record(tmp_path, "failed")
    failed.stages.append(Stage("shape", has_failed=True))
    failed.message = "could not convert 'ann@example.com'"
    (alert,) = alerts_for(failed)
    assert alert.subject == "run failed"
    assert "shape" in alert.text
    assert "touchstone doctor" in alert.text
    assert "ann@example.com" not in alert.text


def test_refused_gates_and_loads_have_separate_alerts(tmp_path: Path) -> None:
    loads = {"orders": "orders: the new load was refused; the one of 2026-06-30 is in use."}
    gates = {"scores listings": ["few_are_flagged: observed 0.4, allowed 0.1"]}
    found = alerts_for(record(tmp_path, "refused", refused_loads=loads, refused_gates=gates))
    assert [alert.subject for alert in found] == ["load of orders refused", "gate scores listings refused"]
    assert "observed 0.4, allowed 0.1" in found[1].text
    assert [alert.subject for alert in alerts_for(record(tmp_path / "2", "done", refused_loads=loads))] == [
        "load of orders refused"
    ]
    assert [alert.subject for alert in alerts_for(record(tmp_path / "3", "killed"))] == ["run failed"]


def test_a_gate_warning_is_alerted_and_is_no_failure(tmp_path: Path) -> None:
    gates = {"scores listings": ["population_is_as_at_the_cut: price_base: observed 0.4, allowed 0.25"]}
    (alert,) = alerts_for(record(tmp_path, "done", warning_gates=gates))
    assert alert.subject == "gate scores listings warns"
    assert "publication continues" in alert.text
    assert "price_base: observed 0.4, allowed 0.25" in alert.text


def test_a_subject_is_sent_once_an_hour_with_the_number_of_suppressed_ones(tmp_path: Path, web: Received) -> None:
    hourly = settings_with(tmp_path, webhook=f"http://{web.address}/hook")
    for _ in range(3):
        send_alerts(hourly, [ALERT])
    send_alerts(hourly, [Alert("gate scores refused", "another violation_type")])
    assert [post["headline"].rpartition(": ")[2] for post in web.posts] == ["run failed", "gate scores refused"]
    send_alerts(settings_with(tmp_path, webhook=f"http://{web.address}/hook", every_seconds=0), [ALERT])
    assert "2 more of these were suppressed" in web.posts[-1]["text"]


def test_a_failing_channel_is_logged_without_its_address(
    tmp_path: Path, web: Received, captured_log: pytest.LogCaptureFixture
) -> None:
    web.status = 500
    secret = settings_with(tmp_path, webhook=f"http://{web.address}/secret-token")
    send_alerts(secret, [ALERT])
    assert "COULD NOT BE SENT" in captured_log.text
    assert "500" in captured_log.text
    assert "secret-token" not in captured_log.text
    web.status = 200
    send_alerts(secret, [ALERT])
    assert len(web.posts) == 2, "what nobody took is not held back"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_reported_as_sent(tmp_path: Path, web: Received, status: int) -> None:
    with web_server() as elsewhere:
        web.status, web.location = status, f"http://{elsewhere.address}/secret-token"
        result = send_test(settings_with(tmp_path, webhook=f"http://{web.address}/hook"))["webhook"]
    assert f"{status}" in result
    assert "redirect" in result
    assert "TOUCHSTONE_ALERT_WEBHOOK" in result
    assert "secret-token" not in result
    assert (elsewhere.posts, elsewhere.gets, len(web.posts)) == ([], 0, 1)


@pytest.mark.parametrize("channel", ["webhook", "mail"])
def test_a_server_that_responds_byte_by_byte_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel: str
) -> None:
    """Each byte arrives well within the socket's timeout, so only a limit on the whole response helps."""
    monkeypatch.setattr(alerts, "SEND_SECONDS", 1.0)
    mail = {"smtp": "smtp://{}", "from": "t@a.example", "to": "x@b.example"}
    with slow_server() as address:
        values = {name: value.format(address) for name, value in mail.items()}
        if channel == "webhook":
            values = {"webhook": f"http://{address}/"}
        began = time.monotonic()
        result = send_test(settings_with(tmp_path, **values))
        assert time.monotonic() - began < 5
    assert "TimeoutError" in result[channel]
    assert "1 s" in result[channel]


def test_an_unwritable_home_does_not_make_alerts_raise(
    tmp_path: Path, web: Received, captured_log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alerts").write_text("a file in the way")
    send_alerts(settings_with(tmp_path, webhook=f"http://{web.address}/"), [ALERT])
    assert "ALERTS COULD NOT BE SENT" in captured_log.text


def test_a_mail_has_sender_recipients_and_text(tmp_path: Path) -> None:
    with mail_server() as mail:
        send_alerts(
            settings_with(
                tmp_path, smtp=f"smtp://{mail.address}", **{"from": "t@a.example", "to": "x@b.example, y@c.example"}
            ),
            [ALERT],
        )
    (text,) = mail.mails
    assert "From: t@a.example" in text
    assert "To: x@b.example, y@c.example" in text
    assert "run failed" in text
    assert "Run abc failed." in text


def test_smtp_login_uses_the_password_of_the_settings(tmp_path: Path) -> None:
    with mail_server("AUTH PLAIN") as mail:
        result = send_test(
            settings_with(
                tmp_path,
                smtp=f"smtp://ann@{mail.address}",
                smtp_password="pass",  # noqa: S106  # a test's
                **{"from": "t@a.example", "to": "x@b.example"},
            )
        )
    assert result == {"mail": "sent"}
    assert base64.b64decode(mail.mails[0].split()[-1]).split(b"\0")[1:] == [b"ann", b"pass"]


@pytest.mark.parametrize(("scheme", "extensions"), [("smtp", ["STARTTLS", "AUTH PLAIN"]), ("smtps", ["AUTH PLAIN"])])
def test_a_mail_and_its_password_are_encrypted_if_the_server_supports_it(
    scheme: str,
    extensions: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate = own_certificate(tmp_path)
    with mail_server(*extensions, certificate=certificate, is_encrypted=scheme == "smtps") as mail:
        settings = settings_with(
            tmp_path,
            smtp=f"{scheme}://ann@{mail.address}",
            smtp_password="pass",  # noqa: S106  # a test's
            **{"from": "t@a.example", "to": "x@b.example"},
        )
        assert "certificate" in send_test(settings)["mail"].lower(), "nobody vouches for this server yet"
        assert mail.mails == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send_test(settings) == {"mail": "sent"}
    assert "This is a test" in mail.mails[-1]
    assert mail.encrypted == [True, True]


def test_nothing_is_sent_without_a_channel(tmp_path: Path) -> None:
    send_alerts(settings_with(tmp_path), [ALERT])
    assert send_test(settings_with(tmp_path)) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"webhook": "ftp://secret/"}, "ALERT_WEBHOOK"),
        ({"smtp": "smtp://ann:secret@host"}, "ALERT_SMTP"),
        ({"smtp": "smtp://host", "to": "x@b.example"}, "ALERT_FROM"),
        ({"smtp": "smtp://host"}, "ALERT_TO"),
        ({"every_seconds": -1}, "ALERT_EVERY_SECONDS"),
    ],
)
def test_an_invalid_setting_is_named_without_showing_a_secret_in_it(
    tmp_path: Path, values: dict[str, object], names: str
) -> None:
    with pytest.raises(BadInputError, match=names) as refused:
        settings_with(tmp_path, **values)
    assert "secret" not in str(refused.value)


def test_a_key_that_is_too_short_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="HMAC_KEY") as refused:
        read_settings(home=tmp_path, hmac_key="hush-hush")
    assert "hush" not in str(refused.value)
