"""Secrets that a process knows are in nothing that it says."""

from __future__ import annotations

import json
import logging
import traceback
from urllib.parse import quote

import pytest

from touchstone.core.errors import BadInputError, ExitCode, without_secrets
from touchstone.core.secrets import hide, remember
from touchstone.core.settings import read_settings
from touchstone.landing.checks import Violation

SECRET = "kept:out\\of 'sight' & \"mind\" ü"  # noqa: S105  every character that some layer writes in another way


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET)[1:-1],
        repr(SECRET)[1:-1],
        SECRET.replace("'", "''"),
        SECRET.replace("\\", "\\\\").replace("'", "\\'"),
    ],
    ids=["as it is", "percent", "JSON", "Python", "SQL", "libpq"],
)
def test_a_secret_is_hidden_however_it_is_written(written: str) -> None:
    remember(SECRET)
    assert hide(f"before {written} after {written}.") == "before [secret] after [secret]."


def test_what_is_too_short_to_be_a_secret_garbles_nothing() -> None:
    remember("")
    remember("abc")
    assert hide("abcd") == "abcd"


def test_of_two_secrets_the_longer_is_hidden_whole() -> None:
    remember("hunter")
    remember("hunter2-and-more")
    assert hide("hunter2-and-more hunter") == "[secret] [secret]"


def test_an_error_and_a_refusal_hide_it() -> None:
    remember(SECRET)
    assert str(BadInputError(f"no {SECRET}")) == "no [secret]"
    assert str(Violation("type", ("a",), SECRET, 1, (f"a={SECRET}",))) == "a: [secret] [type]\n    e.g. a=[secret]"


def test_a_line_of_the_log_hides_it(caplog: pytest.LogCaptureFixture) -> None:
    remember(SECRET)
    logging.getLogger("touchstone").warning("try %d: %s", 1, SECRET)
    assert caplog.messages == ["try 1: [secret]"]


def fail_with(error: Exception, cause: Exception) -> None:
    try:
        raise cause
    except type(cause) as first:
        raise error from first


@pytest.mark.parametrize(
    ("error", "raised"), [(BadInputError("wrong"), BadInputError), (ValueError("wrong"), RuntimeError)]
)
def test_a_cause_that_shows_it_is_left_out(error: Exception, raised: type[Exception]) -> None:
    """Dagster keeps an error with its causes and contexts, each with its text."""
    remember(SECRET)
    with pytest.raises(raised, match="wrong") as shown, without_secrets():
        fail_with(error, KeyError(SECRET))
    assert "sight" not in "".join(traceback.format_exception(shown.value))
    assert shown.value.__cause__ is None
    assert shown.value.__suppress_context__
    assert getattr(shown.value, "exit_code", ExitCode.BAD_INPUT) == ExitCode.BAD_INPUT


def test_an_error_without_it_stays_as_it_was() -> None:
    remember(SECRET)
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong") as shown, without_secrets():
        fail_with(error, KeyError("harmless"))
    assert shown.value is error
    assert isinstance(shown.value.__cause__, KeyError)


def test_the_secrets_of_the_settings_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HMAC_KEY": "a key of 16 or more",
        "ALERT_WEBHOOK": "https://chat.example/T123/B456",
        "ALERT_SMTP_PASSWORD": "a password of mail",
    }.items():
        monkeypatch.setenv(f"TOUCHSTONE_{name}", value)
    read_settings()
    shown = "a key of 16 or more, https://chat.example/T123/B456 and a password of mail"
    assert hide(shown) == "[secret], [secret] and [secret]"
