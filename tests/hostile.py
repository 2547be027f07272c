"""A hundred values and more that somebody may write: to make a spreadsheet calculate, a browser run, a path lead astray."""

# ruff: noqa: E501, RUF001  # they are what they are

from __future__ import annotations

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
LONG: Final = ("n" * 100_000, "=" * 100_001, "<b>" * 40_000, "\u202e" * 100_002, "' or 1=1; --", "null", "NaN", "")
HOSTILE: Final = (*FORMULAS, *MARKUP, *PATHS, *HIDDEN, *LONG)
