"""Secrets known to a process never appear in its output."""

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
    ids=["verbatim", "percent", "JSON", "Python", "SQL", "libpq"],
)
def test_a_secret_is_hidden_in_any_escaping(written: str) -> None:
    remember(SECRET)
    assert hide(f"before {written} after {written}.") == "before [secret] after [secret]."


def test_too_short_values_are_not_treated_as_secrets() -> None:
    remember("")
    remember("abc")
    assert hide("abcd") == "abcd"


def test_the_longer_of_two_overlapping_secrets_is_hidden_completely() -> None:
    remember("hunter")
    remember("hunter2-and-more")
    assert hide("hunter2-and-more hunter") == "[secret] [secret]"


def test_errors_and_violations_hide_secrets() -> None:
    remember(SECRET)
    assert str(BadInputError(f"no {SECRET}")) == "no [secret]"
    assert str(Violation("type", ("a",), SECRET, 1, (f"a={SECRET}",))) == "a: [secret] [type]\n    e.g. a=[secret]"


def test_log_lines_hide_secrets(caplog: pytest.LogCaptureFixture) -> None:
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
def test_an_error_cause_with_a_secret_is_dropped(error: Exception, raised: type[Exception]) -> None:
    """Dagster stores an error with its causes and contexts, each with its message."""
    remember(SECRET)
    with pytest.raises(raised, match="wrong") as shown, without_secrets():
        fail_with(error, KeyError(SECRET))
    assert "sight" not in "".join(traceback.format_exception(shown.value))
    assert shown.value.__cause__ is None
    assert shown.value.__suppress_context__
    assert getattr(shown.value, "exit_code", ExitCode.BAD_INPUT) == ExitCode.BAD_INPUT


def test_an_error_without_secrets_is_unchanged() -> None:
    remember(SECRET)
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong") as shown, without_secrets():
        fail_with(error, KeyError("harmless"))
    assert shown.value is error
    assert isinstance(shown.value.__cause__, KeyError)


def test_the_secrets_of_the_settings_are_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HMAC_KEY": "a key of 16 or more",
        "ALERT_WEBHOOK": "https://chat.example/T123/B456",
        "ALERT_SMTP_PASSWORD": "a password of mail",
    }.items():
        monkeypatch.setenv(f"TOUCHSTONE_{name}", value)
    read_settings()
    shown = "a key of 16 or more, https://chat.example/T123/B456 and a password of mail"
    assert hide(shown) == "[secret], [secret] and [secret]"
