"""More than a hundred hostile values of free-text fields, aimed at spreadsheets, browsers and terminals."""

# ruff: noqa: E501, RUF001  # hostile values are kept verbatim

from __future__ import annotations

import unicodedata
from typing import Final

FORMULAS: Final = (
    "=cmd|' /C calc'!A0", "=1+1", "@SUM(1+1)", "+1+cmd|' /C calc'!A0", "-1+cmd|' /C calc'!A0", "=HYPERLINK(\"http://x.example\",\"x\")",
    "=IMPORTXML(\"http://x.example\",\"//a\")", "=WEBSERVICE(\"http://x.example\")", "=DDE(\"cmd\";\"/C calc\";\"x\")", "\t=1+1", "\r=1+1",
    "\n=1+1", " =1+1", "  @SUM(A1)", "=\"a\"&\"b\"", "=A1", "+A1", "-A1", "@A1", "＝1+1", "＋1", "－1", "＠SUM(1)", "'=1+1", "\"=1+1", ";=1+1",
    ",=1+1", "|=1+1", "%0A=1+1", "=1+1\",\"=2+2", "a\n=1+1", "a,\"=1\"", "\u00a0=1+1", "\u200b=1+1", "\ufeff=1+1",
)  # fmt: skip
MARKUP: Final = (
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>", "\"><script>alert(1)</script>", "'><script>alert(1)</script>", "<iframe src=//x.example>",
    "<a href=javascript:alert(1)>x</a>", "javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "<base href=//x.example>",
    "<meta http-equiv=refresh content=0;url=//x.example>", "<link rel=stylesheet href=//x.example>", "<style>@import '//x.example'</style>",
    "<style>*{background:url(//x.example)}</style>", "</style><script>alert(1)</script>", "</title><script>alert(1)</script>",
    "<!--<script>alert(1)</script>-->", "--><script>alert(1)</script>", "<![CDATA[<script>alert(1)</script>]]>", "{{ 7 * 7 }}",
    "{% include '/etc/passwd' %}", "{{ ''.__class__.__mro__ }}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;", "<form action=//x.example><input name=x>", "<object data=//x.example>", "<embed src=//x.example>",
    "<video src=//x.example onerror=alert(1)>", "<details open ontoggle=alert(1)>", "<body onload=alert(1)>", "<math href=javascript:1>",
    "<input autofocus onfocus=alert(1)>", "<p style=position:fixed>", "http://x.example/track.png", "//x.example/x", "` onmouseover=alert(1) `",
)  # fmt: skip
PATHS: Final = (
    "../../etc/passwd", "..\\..\\windows\\win.ini", "/etc/passwd", "C:\\x", "....//....//x", "%2e%2e%2f", "..%00/", "a/../../b", ".", "..", "~",
    "-rf", "con", "nul.txt", "a:b", "*?", "file:///etc/passwd", "$(touch x)", "`touch x`", "; touch x", "| touch x", "\\\\host\\share",
)  # fmt: skip
HIDDEN: Final = (
    "\u202egnp.exe", "abc\u202edcba", "\u2066x\u2069", "\u200fx", "\u200ex", "x\u200by", "x\u200dy", "\ufeffx", "x\u2028y", "x\u2029y",
    "x\x00y", "\x00", "\x1b[31mred", "\x07bell", "x\x08y", "x\x7fy", "\x85x", "a\rb", "a\r\nb", "a\tb", "\ue000", "\U000e0041", "x\ufff9y",
    "İ", "ﬁ", "𝒶", "e\u0301" * 50, "Z" + "\u0300" * 200, "раураl", "\u061cx",
)  # fmt: skip
TERMINAL: Final = (
    "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07", "\x1b]8;;http://x.example\x1b\\x\x1b]8;;\x1b\\", "\x1b[2J\x1b[H", "\x1b[8mhidden", "\x9b2J",
    "\x1bP+q544e\x1b\\", "\x90x\x9c", "\x1bc", "\x0e", "a\nFORGED line", "a\x0bFORGED", "a\x85FORGED", "a\u2028FORGED", "a\x1b[1EFORGED",
    "x" * 280 + " FORGED" + " FORGED" * 99, "Nike\ufe0f", "Nike" + "".join(map(chr, range(0xE0100, 0xE0110))), "a\u034fb", "\u115f\u3164\uffa0",
    "\u2800" * 40, "a\u180bb", "\u0301x", "a\u1160\u1160\u1160" * 3 + "\u11a8" * 300, "宽" * 500, "👩\u200d🚀", "\U0010fffd", "\u00ad", "`", "```", "|",
)  # fmt: skip
"""Values that deceive a terminal or its reader; none may start an output line with FORGED."""
LONG: Final = ("n" * 100_000, "=" * 100_001, "<b>" * 40_000, "\u202e" * 100_002, "' or 1=1; --", "null", "NaN", "")
HOSTILE: Final = (*FORMULAS, *MARKUP, *PATHS, *HIDDEN, *TERMINAL, *LONG)


def unsafe_lines(output: str) -> list[str]:
    """Returns the lines of a command's output that are unsafe on a terminal; none if all are safe.

    It classifies by Unicode's own tables, not by the code under test.
    """
    return [line[:200] for line in output.split("\n") if _is_unsafe(line)]


def _is_unsafe(line: str) -> bool:
    kinds = [unicodedata.category(sign) for sign in line]
    hides = any(
        kind[0] == "C" or kind in {"Zl", "Zp"} or (kind == "Zs" and sign != " ")
        for kind, sign in zip(kinds, line, strict=True)
    )
    run = flood = 0
    for kind in kinds:
        run = run + 1 if kind in {"Mn", "Me"} else 0
        flood = max(flood, run)
    wide = sum(
        2 if unicodedata.east_asian_width(sign) in "WF" else kind[0] != "M"
        for kind, sign in zip(kinds, line, strict=True)
    )
    return hides or flood > 8 or wide > 300 or line.startswith("FORGED")
