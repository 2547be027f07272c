"""Drafts a first sources file from files or a database: see `draft.py`."""
