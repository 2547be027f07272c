"""Redacts this process's secrets from its messages.

Code that reads a secret from the environment registers it with `remember`. From then on it is replaced by `[secret]` in the
message of every `TouchstoneError`, in every line of the log `touchstone`, and in every text that passes through `hide`: refusals
of loads, which the ledger and run records store, and errors that leave landing (`errors.without_secrets`), which Dagster stores
with their causes.

This is the second line of defence. The first is that no message is built from a secret.
"""

from __future__ import annotations

import json
import logging
from typing import Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "[secret]"
SHORTEST: Final = 4
"""Minimum length of a secret that is redacted: to replace shorter ones would garble every text, and so reveal them."""

_forms: set[str] = set()


def remember(secret: str) -> None:
    """Redacts a secret from now on, also in the escaped forms of URLs, SQL, JSON, Python and libpq."""
    if len(secret) < SHORTEST:
        return
    escaped = secret.replace("\\", "\\\\")
    _forms.update(
        (secret, quote(secret, safe=""), quote(secret), quote_plus(secret)),
        (secret.replace("'", "''"), secret.replace('"', '""'), escaped, escaped.replace("'", "\\'")),
        (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]),
    )
    logging.getLogger("touchstone").addFilter(_hide_in_line)  # the same function is added once


def hide(text: str) -> str:
    """Returns the text with every registered secret replaced."""
    for form in sorted(_forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _hide_in_line(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if hide(message) != message:
        record.msg, record.args = hide(message), ()
    return True
