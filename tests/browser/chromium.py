"""Which Chromium the browser tests drive. As a program: it tells whether there is one that starts, and else what to do.

Playwright's own comes first, then one that the system has; `TOUCHSTONE_CHROMIUM` names another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

SYSTEM = ("/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser")
# The name of a foreign site whose owner has it lead to this machine, as in an attack by DNS rebinding.
REBOUND = "rebound.test"
# As root there is no sandbox; and no name but this machine's address, or one that leads to it, may be looked up.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
REMEDY = (
    "The browser tests need Chromium, and none starts here. Install Playwright's own with "
    "`.venv/bin/playwright install --with-deps chromium-headless-shell`; where that download is refused, Debian's with "
    "`apt-get install chromium`; or name one that you have: TOUCHSTONE_CHROMIUM=/path/to/chromium."
)


def launch(playwright: Playwright) -> Browser:
    """Starts the first Chromium that does start, without a window.

    Raises:
        RuntimeError: None does; the message says what was tried and what to do.
    """
    named = os.environ.get("TOUCHSTONE_CHROMIUM")
    tried = []
    for path in [named] if named else [None, *(path for path in SYSTEM if Path(path).exists())]:
        try:
            return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            tried.append(f"{path or 'its own'}: {error.message.splitlines()[0]}")
    raise RuntimeError(f"{REMEDY} Tried: {'; '.join(tried)}")


if __name__ == "__main__":
    with sync_playwright() as started:
        try:
            launch(started).close()
        except RuntimeError as error:
            sys.exit(str(error))
