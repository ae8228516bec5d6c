"""Lines of messages on a terminal are broken at spaces."""

import sys

import pytest

from aiperf_orch.commands.line_width import fit_lines
from terminal import in_terminal

unit = pytest.mark.unit


@unit
@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        pytest.param("short\n", "short\n", id="short enough"),
        pytest.param("one two three four five\n", "one two three four\nfive\n", id="at spaces"),
        pytest.param("label  one two three\n", "label  one two three\n", id="as wide as the terminal"),
        pytest.param("label  one two three four", "label  one two three\n       four", id="after a label"),
        pytest.param("    one two three four five", "    one two three\n    four five", id="indented"),
        pytest.param("a long label  one two three", "a long label  one two three", id="label over half the width"),
        pytest.param("again: aiperf-orch run site.yaml", "again: aiperf-orch run site.yaml", id="a command"),
        pytest.param("   1  one  two  three  four  five", "   1  one  two  three  four  five", id="a row of a table"),
        pytest.param("see /a/path/that/is/too/long now", "see\n/a/path/that/is/too/long\nnow", id="a long word"),
        pytest.param("a\n\none two three four five", "a\n\none two three four\nfive", id="further lines"),
        pytest.param(
            "\u8ba1\u7b97 \u8282\u70b9 \u8ba1\u7b97 \u8282\u70b9 x",
            "\u8ba1\u7b97 \u8282\u70b9 \u8ba1\u7b97 \u8282\u70b9\nx",
            id="wide letters",
        ),
    ],
)
def test_wide_lines_are_broken(text, fitted):
    assert fit_lines(text, 20) == fitted


def test_an_error_on_a_narrow_terminal_has_no_broken_word():
    command = (sys.executable, "-m", "aiperf_orch.cli", "status", "/nowhere/at/all", "--trial", "no-number-at-all")
    status, shown = in_terminal(*command, columns=60)
    lines = shown.replace("\r", "").splitlines()
    assert status == 2
    assert max(map(len, lines)) <= 60
    assert any("no-number-at-all" in line for line in lines)
