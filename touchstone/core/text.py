"""Text that anybody may have written, made visible and harmless before a person sees it.

Titles, names, reviews, ids and file names come from strangers. `visible` shows what hides in them by its number, as ⟨U+202E⟩, so
that nothing moves a cursor, turns the direction of reading around, or forges a line; `shorten` and `wrap` fit it to a terminal,
and `terminal_lines` is the last guard before one. Data that programs read (Parquet, `--json`) is never changed.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

MOST_CHARACTERS: Final = 2_000
"""Of a text that anybody wrote; the length of what is cut off is given."""
MOST_CELL_CHARACTERS: Final = 32_000
"""Of a cell of CSV: a spreadsheet's holds 32,767."""
MOST_LINE_CHARACTERS: Final = 20_000
"""Of a line that leaves for a terminal, before it is wrapped."""
TERMINAL_COLUMNS: Final = 300
WRAP_COLUMNS: Final = 116
LONG_LINE_COLUMNS: Final = 232
"""Of a line of a log or a table, which is easier to read and to search unbroken."""
MOST_ID_COLUMNS: Final = 80
MOST_TITLE_COLUMNS: Final = 120
MOST_SENTENCE_COLUMNS: Final = 600
"""Of what is wrapped: a reason with its quote, or a note that a person wrote."""
MARKS_IN_A_ROW: Final = 8
"""Combining marks that one character may bear: Burmese and Tibetan stack up to seven, a flood covers the lines above."""

_BLANK: Final = frozenset(
    number
    for first, last in (
        (0x034F, 0x034F),  # combining grapheme joiner
        (0x115F, 0x1160), (0x3164, 0x3164), (0xFFA0, 0xFFA0),  # Hangul fillers
        (0x17B4, 0x17B5),  # Khmer inherent vowels
        (0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF),  # variation selectors
        (0x2800, 0x2800), (0x13441, 0x13442), (0x16FE4, 0x16FE4), (0x1D159, 0x1D159),  # blanks that count as signs
    )
    for number in range(first, last + 1)
)  # fmt: skip
"""What `str.isprintable` lets pass although nothing, or nothing of its own, is seen of it."""
_BROKEN_NUMBER: Final = r"⟨(U(\+[0-9A-F]*)?)?$"
_JAMO: Final = frozenset((*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)))
"""Vowels and finals of Hangul, which join the character before them as combining marks do."""


def is_hidden(sign: str) -> bool:
    """Tells whether a character is not seen as itself: controls, overrides of direction, odd spaces, blanks, private use."""
    return not sign.isprintable() or ord(sign) in _BLANK


def is_mark(sign: str) -> bool:
    """Tells whether a character joins the one before it."""
    return unicodedata.category(sign).startswith("M") or ord(sign) in _JAMO


def visible(text: str, most: int = MOST_CHARACTERS) -> str:
    """Returns a text in which nothing hides, on one line, cut where it is longer than `most` characters, or would be so.

    What is hidden is shown by its number, and so are combining marks beyond the eighth in a row, or without a character to join.
    What is visible already stays as it is, so that to do this twice does no more than once.
    """
    shown = _escaped(text[:most])
    if max(len(text), len(shown)) <= most:
        return shown
    return f"{re.sub(_BROKEN_NUMBER, '', shown[:most])}… (cut: {len(text):,} characters)"


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown, room = [], 0
    for sign in text:
        if sign.isascii():
            is_shown, room = sign.isprintable(), MARKS_IN_A_ROW if sign.isprintable() else 0
        elif is_hidden(sign):
            is_shown, room = False, 0
        elif is_mark(sign):
            is_shown, room = room > 0, max(room - 1, 0)
        else:
            is_shown, room = True, MARKS_IN_A_ROW
        shown.append(sign if is_shown else f"⟨U+{ord(sign):04X}⟩")
    return "".join(shown)


def visible_values(value: Any) -> Any:
    """Returns plain data with all text in it made visible, the names of fields as they are."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {name: visible_values(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [visible_values(one) for one in value]
    return value


def visible_in_html(value: Any) -> Any:
    """Returns what a template of HTML prints, text in it made visible but not cut: for `jinja2.Environment(finalize=…)`."""
    return _escaped(value) if type(value) is str else value  # what is Markup already is ours, such as a style sheet


# On a terminal --------------------------------------------------------------------------------------------------------


def shorten(text: object, columns: int = MOST_ID_COLUMNS) -> str:
    """Returns a value as visible text of at most so many columns of a terminal, with `…` where it is cut."""
    whole = str(text)
    most = columns * (1 + MARKS_IN_A_ROW) + 1
    shown = _escaped(whole[:most])
    if len(whole) <= most and columns_of(shown) <= columns:
        return shown
    if shown.isascii():
        return f"{shown[: columns - 1]}…"
    from rich.cells import chop_cells

    return f"{chop_cells(shown, columns - 1)[0]}…"


def few_of(names: Sequence[object], most: int = 20) -> str:
    """Returns names as a person lists them, each cut as an id is, and how many more there are."""
    shown = ", ".join(shorten(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def columns_of(text: str) -> int:
    """Returns how many columns a terminal needs for a visible text: wide characters count two, combining marks none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: object, columns: int, most: int = MOST_ID_COLUMNS) -> str:
    """Returns a value as visible text of at least so many columns of a terminal, filled with spaces, and of `most` at most."""
    shown = shorten(text, most)
    return shown + " " * (columns - columns_of(shown))


def wrap(text: str, head: str = "  ", rest: str = "      ", *, width: int = WRAP_COLUMNS) -> list[str]:
    """Returns a text as lines for a terminal, made visible and broken at spaces; a word that is longer stays whole.

    Args:
        text: The text.
        head: What the first line begins with.
        rest: What the others begin with.
        width: Characters of a line.
    """
    shown = visible(text, MOST_LINE_CHARACTERS)
    return textwrap.wrap(
        shown, width, initial_indent=head, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def terminal_lines(text: str) -> str:
    """Returns what may leave for a terminal: the last guard, after each value was made visible where it was put in.

    Line feeds are taken for ours. Nothing else than printable characters passes, and a line of more than 300 columns is broken,
    with the others set in, so that no value can begin a line.
    """
    return "\n".join(_terminal_line(line) for line in text.split("\n"))


def _terminal_line(line: str) -> str:
    shown = visible(line, MOST_LINE_CHARACTERS)
    if columns_of(shown) <= TERMINAL_COLUMNS:
        return shown
    # A wide character takes two columns, and textwrap counts characters.
    width = TERMINAL_COLUMNS if columns_of(shown) <= len(shown) else TERMINAL_COLUMNS // 2
    indent = " " * (min(len(shown) - len(shown.lstrip(" ")), 40) + 6)
    return "\n".join(textwrap.wrap(shown, width, subsequent_indent=indent, break_on_hyphens=False))


class TerminalFormatter(logging.Formatter):
    """Formats lines of a log for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, with a traceback if it has one, through `terminal_lines`."""
        return terminal_lines(super().format(record))


# In SQL ---------------------------------------------------------------------------------------------------------------


def visible_sql(value: str, most: int) -> str:
    """Returns DuckDB's expression for `visible(value, most)`, for columns of any length.

    Args:
        value: SQL for the text.
        most: How many characters of it are kept.
    """
    hidden, marks = _character_classes()
    kept = f"left({value}, {most})"
    parts = f"regexp_extract_all({kept}, '(?s)(?:[^{hidden}{marks}][{marks}]{{0,{MARKS_IN_A_ROW}}})+|.')"
    number = "'⟨U+' || printf('%04X', unicode(part)) || '⟩'"
    shown = (
        f"case when regexp_matches({value}, '[{hidden}{marks}]') then array_to_string(list_transform({parts}, "
        f"lambda part: if(regexp_full_match(part, '(?s)[{hidden}{marks}]'), {number}, part)), '') else {kept} end"
    )
    whole = f"regexp_replace(left(shown, {most}), '{_BROKEN_NUMBER}', '')"
    cut = f"{whole} || '… (cut: ' || format('{{:,}}', length({value})) || ' characters)'"
    fits = f"greatest(length({value}), length(shown)) <= {most}"
    return f"list_transform([{shown}], lambda shown: case when {fits} then shown else {cut} end)[1]"


@functools.cache
def _character_classes() -> tuple[str, str]:
    """Returns the members of a class of RE2 for what is hidden, and for combining marks that are not."""
    hidden, marks = _Ranges(), _Ranges()
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        if is_hidden(sign):
            hidden.add(number)
        elif is_mark(sign):
            marks.add(number)
    return str(hidden), str(marks)


class _Ranges:
    """Code points, given in their order, as members of a class of RE2."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, int]] = []

    def add(self, number: int) -> None:
        if 0xD800 <= number <= 0xDFFF:  # half a surrogate pair, which no UTF-8 holds
            return
        if self.ends and self.ends[-1][1] == number - 1:
            self.ends[-1] = (self.ends[-1][0], number)
        else:
            self.ends.append((number, number))

    def __str__(self) -> str:
        return "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in self.ends)
