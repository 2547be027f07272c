"""The Chromium that the browser tests drive.

As a program it reports whether one starts, and if not, how to install one.

Playwright's own comes first, then one that the system has; `TOUCHSTONE_CHROMIUM` overrides both.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

SYSTEM = ("/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser")
# A foreign host name that resolves to this machine, as in a DNS rebinding attack.
REBOUND = "rebound.test"
# There is no sandbox when running as root; only names that resolve to this machine may be looked up.
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
    """Starts the first working Chromium, headless.

    Raises:
        RuntimeError: None starts; the message lists what was tried and what to do.
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
