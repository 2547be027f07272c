"""User text: invisible characters are shown by code point, long text is shortened, visible text is unchanged."""

# ruff: noqa: E501, RUF001  # hostile values are kept verbatim

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.hostile import HOSTILE, unsafe_lines
from touchstone.core import text
from touchstone.core.text import (
    MARKS_IN_A_ROW,
    TERMINAL_COLUMNS,
    TerminalFormatter,
    is_hidden,
    is_mark,
    list_some,
    pad,
    shorten,
    terminal_lines,
    visible,
    visible_in_html,
    visible_sql,
    visible_values,
    wrap,
)

ORDINARY = (
    "Quartz 8 Fast Charger VA-39273 Navy K38", "Wаll Chаrger", "Ünïcödé €5 ™ ½", "日本の時計", "ساعة يد", "שָׁלוֹם", "กำลัง", "क्षत्रिय", "ကြွှေး", "བསྒྲུབས",
    "e\u0301te\u0301", "한국어", "한국어", "👟 🔥", "½\u0338", "⟨U+001B⟩",
)  # fmt: skip


@pytest.mark.parametrize("title", ORDINARY)
def test_ordinary_text_is_unchanged(title: str) -> None:
    assert visible(title) == title
    assert shorten(title, 80) == title
    assert terminal_lines(title) == title


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", "⟨U+001B⟩[2J"), ("a\tb\r\nc", "a⟨U+0009⟩b⟨U+000D⟩⟨U+000A⟩c"), ("\x9b2J", "⟨U+009B⟩2J"), ("\x00", "⟨U+0000⟩"),
        ("\u202egnp", "⟨U+202E⟩gnp"), ("x\u200by", "x⟨U+200B⟩y"), ("a\u2028b\u2029", "a⟨U+2028⟩b⟨U+2029⟩"), ("\u061c", "⟨U+061C⟩"),
        ("x\ufff9", "x⟨U+FFF9⟩"), ("\ue000", "⟨U+E000⟩"), ("\U000e0041", "⟨U+E0041⟩"), ("\udc80", "⟨U+DC80⟩"), ("a\u00a0b", "a⟨U+00A0⟩b"),
        ("Nike\ufe0f", "Nike⟨U+FE0F⟩"), ("\U000e0100", "⟨U+E0100⟩"), ("a\u034f", "a⟨U+034F⟩"), ("\u3164", "⟨U+3164⟩"), ("\u2800", "⟨U+2800⟩"),
        ("\u0301x", "⟨U+0301⟩x"), ("\u202e\u0301", "⟨U+202E⟩⟨U+0301⟩"), ("Z" + "\u0300" * 10, "Z" + "\u0300" * 8 + "⟨U+0300⟩" * 2),
    ],
)  # fmt: skip
def test_invisible_characters_are_shown_by_code_point(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown
    assert visible(shown) == shown


@given(value=st.text(max_size=60) | st.sampled_from(HOSTILE))
def test_visible_output_is_printable_and_idempotent(value: str) -> None:
    shown = visible(value, 300)
    assert shown.isprintable()
    assert visible(shown, 10**6) == shown
    assert visible_in_html(value) == visible(value, 10**6)


def test_a_shortened_text_states_its_original_length() -> None:
    assert visible("n" * 2_001) == "n" * 2_000 + "… (cut: 2,001 characters)"
    assert visible("n" * 2_000) == "n" * 2_000
    # Code points are longer than their characters, and none is split.
    assert visible("\x1b" * 10, 20) == "⟨U+001B⟩⟨U+001B⟩… (cut: 10 characters)"
    assert len(visible("\u202e" * 100_002, 32_000)) < 32_767


def test_visible_values_escapes_only_texts_in_nested_data() -> None:
    data = {"a\x1b": ["\x1b", 1, None, ("x\n",)], "b": {"c": "\u202e"}}
    assert visible_values(data) == {"a\x1b": ["⟨U+001B⟩", 1, None, ["x⟨U+000A⟩"]], "b": {"c": "⟨U+202E⟩"}}


@given(value=st.text(max_size=60) | st.sampled_from(HOSTILE), columns=st.integers(2, 90))
def test_a_shortened_value_fits_the_column_limit(value: str, columns: int) -> None:
    shown = shorten(value, columns)
    assert cell_len(shown) <= columns
    assert not unsafe_lines(f"  {shown}")
    assert shown.endswith("…") or shown == visible(value, 10**6)
    assert columns <= cell_len(pad(value, columns, columns)) <= columns


def test_wide_characters_count_two_columns_and_combining_marks_none() -> None:
    assert shorten("宽" * 10, 9) == "宽" * 4 + "…"
    assert shorten("e\u0301" * 10, 10) == "e\u0301" * 10
    assert pad("宽", 4) == "宽  "
    assert list_some(["a\nb", 7, *"x" * 30], 3) == "a⟨U+000A⟩b, 7, x and 29 more"


@given(lines=st.lists(st.text(max_size=40) | st.sampled_from(HOSTILE), max_size=4))
def test_wrapped_values_are_safe_on_a_terminal(lines: list[str]) -> None:
    assert not unsafe_lines("\n".join(terminal_lines(line) for value in lines for line in wrap(value)))


@pytest.mark.parametrize("value", HOSTILE)
def test_the_terminal_guard_passes_only_printable_lines_of_300_columns(value: str) -> None:
    guarded = terminal_lines(f"title: {value.replace(chr(10), '')}")
    assert not unsafe_lines(guarded)
    assert max(map(cell_len, guarded.split("\n"))) <= TERMINAL_COLUMNS


def test_the_terminal_guard_keeps_all_of_an_error_and_indents_wrapped_lines() -> None:
    path = "/home/" + "/".join(f"folder-{number:03d}" for number in range(60))
    error = f"  {path} cannot be read: " + "word " * 100
    first, *rest = terminal_lines(error).split("\n")
    assert "".join("".join([first, *rest]).split()) == "".join(error.split())
    assert first.startswith("  /home")
    assert rest
    assert all(line.startswith("        ") for line in rest)
    assert terminal_lines("one\n\n  two\n") == "one\n\n  two\n"


def test_log_lines_and_tracebacks_are_safe_on_a_terminal() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TerminalFormatter("%(message)s"))
    logger = logging.getLogger("touchstone.a_test_of_text")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        raise ValueError("\x1b[2Jbad")
    except ValueError:
        logger.exception("title %s", "\x1b]0;x\x07\u202e")
    assert not unsafe_lines(stream.getvalue())
    assert "title ⟨U+001B⟩]0;x⟨U+0007⟩⟨U+202E⟩\nTraceback" in stream.getvalue()
    assert "ValueError: ⟨U+001B⟩[2Jbad" in stream.getvalue()


def test_json_output_is_ascii_and_complete() -> None:
    printed = json.dumps({"titles": HOSTILE}, indent=2, default=str)
    assert printed.isascii()
    assert all(sign.isprintable() or sign == "\n" for sign in printed)
    assert json.loads(printed)["titles"] == list(HOSTILE)


# In SQL ---------------------------------------------------------------------------------------------------------------


def test_sql_classifies_all_unicode_characters_like_python() -> None:
    signs = [chr(number) for number in range(sys.maxunicode + 1) if unicodedata.category(chr(number)) != "Cs"]
    array = pa.array(signs)
    hidden, marks = text._character_classes()  # the character classes used in SQL
    assert pc.match_substring_regex(array, f"[{hidden}]").to_pylist() == [is_hidden(sign) for sign in signs]
    expected = [is_mark(sign) and not is_hidden(sign) for sign in signs]
    assert pc.match_substring_regex(array, f"[{marks}]").to_pylist() == expected
    assert all(is_hidden(sign) for sign in signs if not sign.isprintable())
    visible_controls = [sign for sign in signs if unicodedata.category(sign)[0] == "C" and not is_hidden(sign)]
    assert visible_controls == []


def in_sql(values: list[str | None], most: int) -> list[str | None]:
    with duckdb.connect(":memory:") as connection:
        connection.register("texts", pa.table({"value": pa.array(values, pa.string())}))
        rows = connection.execute(f"select {visible_sql('value', most)} from texts").fetchall()
    return [row[0] for row in rows]


def test_sql_escapes_texts_like_python() -> None:
    every_fiftieth = [chr(number) for number in range(0, sys.maxunicode, 50) if not 0xD800 <= number <= 0xDFFF]
    around = [f"{before}{sign}\u0301{sign}x" for sign in every_fiftieth for before in ("", "a\u0300")]
    floods = ["Z" + "\u0300" * number for number in range(2 * MARKS_IN_A_ROW + 2)]
    values = [*HOSTILE, *ORDINARY, *floods, *around]
    for most in (8, 20, 2_000):
        assert in_sql([*values, None], most) == [*(visible(value, most) for value in values), None]
