"""Random changes of texts and records: lines and values are moved, repeated, cut, and replaced by extreme ones.

The short runs use nothing else; in the long ones they alternate with changes of single bytes by coverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

_TOKENS: Final = (
    b"", b"\0", b"\n", b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc2\xb2", b"\xd9\xa3", b"\xe2\x80\xae", b"\x1b[2J",
    b"-1", b"0", b"1e999", b"1e308", b"NaN", b"9" * 5000, b"9" * 40, b"null", b"true", b"[]", b"{}", b"[" * 2000, b'"',
    b"\\ud800", b"9999-12-31T23:59:59Z", b"0001-01-01T00:00:00Z", b"n[1-99999999]", b"[0-", b"|", b"=", b":", b",",
    b"&a *a", b"!!python/object:os.system", b"99999999999999999-00:00:00", b"../../etc/passwd",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], random: Random) -> Iterator[bytes]:
    """Yield changed seeds without end."""
    while True:
        yield mutate(random.choice(seeds), random)


def mutate(data: bytes, random: Random) -> bytes:
    """Change bytes in one place or a few."""
    for _ in range(random.choice((1, 1, 2, 4))):
        data = _change(data, random)
    return data


def _change(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((0, 1, 4, 30, len(data))))
    match random.randrange(7):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:start] + data[start:end] * 2 + data[end:]
        case 3:
            return data[:start] + random.randbytes(random.randrange(1, 5)) + data[start:]
        case 4:
            lines = data.split(b"\n")
            random.shuffle(lines)
            return b"\n".join(lines)
        case 5:
            return _replace_word(data, start, random)
        case _:
            return data[:start] + random.choice(_TOKENS) + data[end:]


def _replace_word(data: bytes, start: int, random: Random) -> bytes:
    """Replace the value that begins next by a token: a number, a text in quotation marks, or a cell."""
    import re

    word = re.compile(rb'"[^"\n]*"|[\w.+-]+').search(data, start)
    return data if word is None else data[: word.start()] + random.choice(_TOKENS) + data[word.end() :]
