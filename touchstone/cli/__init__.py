"""The `touchstone` command: one module a group of commands, which parse, call and print. All rendering to a terminal is here."""
