"""Makes untrusted text safe to display.

Titles, names, reviews, ids and file names are untrusted. `visible` replaces hidden characters by their code points, as ⟨U+202E⟩,
so that no text moves a cursor, reverses the reading direction, or forges a line. `shorten` and `wrap` fit text to a terminal, and
`terminal_lines` is the last guard before it. Data for programs (Parquet, `--json`) is never changed.
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
"""Of an untrusted text; a longer one is cut, and its length is shown."""
MOST_CELL_CHARACTERS: Final = 32_000
"""Of a CSV cell: spreadsheets allow 32,767."""
MOST_LINE_CHARACTERS: Final = 20_000
"""Of a line that is written to a terminal, before it is wrapped."""
TERMINAL_COLUMNS: Final = 300
WRAP_COLUMNS: Final = 116
LONG_LINE_COLUMNS: Final = 232
"""Of a line of a log or a table, which is easier to read and to search if it is not wrapped."""
MOST_ID_COLUMNS: Final = 80
MOST_TITLE_COLUMNS: Final = 120
MOST_SENTENCE_COLUMNS: Final = 600
"""Of a wrapped text: a reason with its quote, or a person's note."""
MARKS_IN_A_ROW: Final = 8
"""Combining marks on one character: Burmese and Tibetan use up to seven; more of them can cover the lines above."""

_BLANK: Final = frozenset(
    number
    for first, last in (
        (0x034F, 0x034F),  # combining grapheme joiner
        (0x115F, 0x1160), (0x3164, 0x3164), (0xFFA0, 0xFFA0),  # Hangul fillers
        (0x17B4, 0x17B5),  # Khmer inherent vowels
        (0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF),  # variation selectors
        (0x2800, 0x2800), (0x13441, 0x13442), (0x16FE4, 0x16FE4), (0x1D159, 0x1D159),  # blanks that count as symbols
    )
    for number in range(first, last + 1)
)  # fmt: skip
"""Characters that `str.isprintable` accepts although they show nothing, or nothing by themselves."""
_BROKEN_NUMBER: Final = r"⟨(U(\+[0-9A-F]*)?)?$"
_JAMO: Final = frozenset((*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)))
"""Vowels and finals of Hangul, which combine with the previous character as combining marks do."""


def is_hidden(character: str) -> bool:
    """Returns whether a character is invisible: controls, direction overrides, unusual spaces, blanks, private use."""
    return not character.isprintable() or ord(character) in _BLANK


def is_mark(character: str) -> bool:
    """Returns whether a character combines with the previous one."""
    return unicodedata.category(character).startswith("M") or ord(character) in _JAMO


def visible(text: str, most: int = MOST_CHARACTERS) -> str:
    """Returns a text on one line with hidden characters escaped, cut to `most` characters.

    Hidden characters are replaced by their code points, and so are combining marks after the eighth in a row, or without a
    base character. The function is idempotent.

    Args:
        text: The text.
        most: Longest text that is returned in full.
    """
    shown = _escaped(text[:most])
    if max(len(text), len(shown)) <= most:
        return shown
    return f"{re.sub(_BROKEN_NUMBER, '', shown[:most])}… (cut: {len(text):,} characters)"


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    shown, room = [], 0
    for character in text:
        if character.isascii():
            is_shown, room = character.isprintable(), MARKS_IN_A_ROW if character.isprintable() else 0
        elif is_hidden(character):
            is_shown, room = False, 0
        elif is_mark(character):
            is_shown, room = room > 0, max(room - 1, 0)
        else:
            is_shown, room = True, MARKS_IN_A_ROW
        shown.append(character if is_shown else f"⟨U+{ord(character):04X}⟩")
    return "".join(shown)


def visible_values(value: Any) -> Any:
    """Returns JSON-like data with `visible` applied to all text in it, but not to field names."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {name: visible_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [visible_values(item) for item in value]
    return value


def visible_in_html(value: Any) -> Any:
    """Escapes hidden characters of a value that an HTML template prints: for `jinja2.Environment(finalize=…)`."""
    return _escaped(value) if type(value) is str else value  # Markup is trusted: for example, our style sheet


# On a terminal --------------------------------------------------------------------------------------------------------


def shorten(text: object, columns: int = MOST_ID_COLUMNS) -> str:
    """Returns a value as visible text of at most `columns` terminal columns, with `…` if it is cut."""
    full = str(text)
    most = columns * (1 + MARKS_IN_A_ROW) + 1
    shown = _escaped(full[:most])
    if len(full) <= most and columns_of(shown) <= columns:
        return shown
    if shown.isascii():
        return f"{shown[: columns - 1]}…"
    from rich.cells import chop_cells

    return f"{chop_cells(shown, columns - 1)[0]}…"


def list_some(names: Sequence[object], most: int = 20) -> str:
    """Returns the first names, separated by commas and each shortened, and the number of further ones."""
    shown = ", ".join(shorten(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def columns_of(text: str) -> int:
    """Returns the terminal columns of a visible text: wide characters count two, combining marks zero."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: object, columns: int, most: int = MOST_ID_COLUMNS) -> str:
    """Returns a value as visible text, shortened to `most` terminal columns and padded with spaces to `columns`."""
    shown = shorten(text, most)
    return shown + " " * (columns - columns_of(shown))


def wrap(text: str, head: str = "  ", rest: str = "      ", *, width: int = WRAP_COLUMNS) -> list[str]:
    """Returns a text as lines for a terminal, made visible and wrapped at spaces; longer words are not broken.

    Args:
        text: The text.
        head: Prefix of the first line.
        rest: Prefix of the other lines.
        width: Characters per line.
    """
    shown = visible(text, MOST_LINE_CHARACTERS)
    return textwrap.wrap(
        shown, width, initial_indent=head, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def terminal_lines(text: str) -> str:
    """Returns a text that is safe to write to a terminal: the last guard, after each value was made visible.

    Line feeds are trusted. Only printable characters pass. A line of more than 300 columns is wrapped with an indent, so that no
    value can start a line.
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
    """Returns a DuckDB expression for `visible(value, most)`.

    Args:
        value: SQL expression for the text.
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
    """Returns the RE2 character classes of hidden characters, and of combining marks that are not hidden."""
    hidden, marks = _Ranges(), _Ranges()
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if is_hidden(character):
            hidden.add(number)
        elif is_mark(character):
            marks.add(number)
    return str(hidden), str(marks)


class _Ranges:
    """Code points, added in ascending order, as the members of an RE2 character class."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, int]] = []

    def add(self, number: int) -> None:
        if 0xD800 <= number <= 0xDFFF:  # surrogates do not occur in UTF-8
            return
        if self.ends and self.ends[-1][1] == number - 1:
            self.ends[-1] = (self.ends[-1][0], number)
        else:
            self.ends.append((number, number))

    def __str__(self) -> str:
        return "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in self.ends)
