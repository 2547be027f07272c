"""The `touchstone` command: one module per command group, which parses, calls and prints. All rendering to a terminal is here."""
