"""The secrets that this process was given, and how they are kept out of what it says.

Whoever reads a secret from the environment remembers it here. From then on it is replaced by `[secret]` in the message of every
`TouchstoneError`, in every line of the log `touchstone`, and wherever a text passes through `hide`: refusals of loads, which
the ledger and run records keep, and errors that leave landing (`errors.without_secrets`), which Dagster keeps with causes.

This is the second line of defence. The first is that no text is made of a secret at all.
"""

from __future__ import annotations

import json
import logging
from typing import Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "[secret]"
SHORTEST: Final = 4
"""Characters that a secret needs to be hidden: to replace shorter ones would garble every text, and so give them away."""

_forms: set[str] = set()


def remember(secret: str) -> None:
    """Hides a secret from now on, also as an address, SQL, JSON, Python or libpq would write it."""
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
    """Returns a text with every remembered secret replaced."""
    for form in sorted(_forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _hide_in_line(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if hide(message) != message:
        record.msg, record.args = hide(message), ()
    return True
