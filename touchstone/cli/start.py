"""Entry point of the `touchstone` command: signals are handled before anything is imported that takes long."""

from __future__ import annotations

import signal

from touchstone.cli.signals import stoppable


def main() -> None:
    """Runs the command line."""
    try:
        with stoppable():
            from touchstone.cli.main import main as command_line

            command_line()
    finally:
        # Ctrl+C during the interpreter's shutdown would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
