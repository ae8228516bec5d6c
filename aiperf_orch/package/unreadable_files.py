"""Diagnosis of files that should be a package or a result.csv: their probable kind, and advice.

Mail programs, browsers and spreadsheets change files in a few common ways. The diagnosis only helps users; it does not
make a file trusted.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.util.text import one_line

_HEAD: Final = 1 << 16  # bytes that are examined
_MOST_MEMBERS: Final = 1000
_LONG: Final = 8192  # bytes of compressed data in which every kind of line end occurs by chance
_AGAIN: Final = "request it again, or download it again (in binary mode)"
_TITLE: Final = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_PAGE: Final = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_MAIL: Final = re.compile(rb"(From |Return-Path:|Received:|Delivered-To:|MIME-Version:|Message-ID:|From:|X-[\w-]+:)")
_ROW: Final = re.compile(rb"""["']?system["']?\s*([,;\t|])\s*["']?submitter\b""", re.IGNORECASE)
_ROUNDED: Final = re.compile(
    rb"""(?<=[,;\t|"\n])\d+([.,]\d+)?E\+\d+(?=[,;\t|"\n]|$)"""
)  # aiperf-orch writes a lower-case e
_DECIMAL_COMMA: Final = re.compile(rb"(?<![\d,])\d+,\d+(?![\d,])")
_MAGIC: Final = (
    (b"BZh", "a bzip2 archive", "unpack it: the package is the .tar.gz in it"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it: the package is the .tar.gz in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it: the package is the .tar.gz in it"),
    (b"Rar!", "a RAR archive", "unpack it: the package is the .tar.gz in it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it: the package is the .tar.gz in it"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS in place of the file", "run `git lfs pull`"),
    (b"/annex/objects/", "a pointer of git-annex in place of the file", "run `git annex get` for it"),
    (b"H4sI", "a mail's attachment as base64 text", "decode it: `base64 -d FILE > package.tar.gz`"),
    (b"begin 6", "a mail's attachment as uuencoded text", "decode it with `uudecode`"),
    (b"%PDF-", "a PDF document", "ask for the package or the result.csv itself"),
    (b"-----BEGIN PGP", "encrypted or signed text", "decrypt it first: it contains the package"),
    (b"-----BEGIN SSH SIGNATURE", "the signature of a package", "give the package, with its signature beside it"),
)


def likely_cause(path: Path) -> str | None:
    """The probable kind of a file that is not a package, with advice: `is a web page ...: log in`; None if unknown."""
    if path.is_dir():
        return _directory_cause(path)
    try:
        head = read_regular(path, most=_HEAD)
        size = path.stat().st_size
    except OSError:
        return None
    if not head:
        return f"is empty: the download or the copy failed: {_AGAIN}"
    for magic, what, advice in _MAGIC:
        if head.lstrip(b"\xef\xbb\xbf").startswith(magic):
            return f"is {what}: {advice}"
    return _archive_cause(path, head) or _text_cause(head) or _damage_cause(head, size)


def spreadsheet_signs(data: bytes) -> list[str]:
    """Signs that a table was saved by a spreadsheet or changed in transfer; empty for an unchanged table."""
    signs = []
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ["text in UTF-16"]
    if data.startswith(b"\xef\xbb\xbf"):
        signs.append("a byte order mark")
    if b"\r" in data:
        signs.append("line ends of another system")
    first, _, rest = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n").partition(b"\n")
    separator = re.match(rb"""["']?\w+["']?\s*([;\t|])""", first)
    if separator:
        separators = {b";": "semicolons", b"\t": "tabs", b"|": "bars"}
        signs.append(f"{separators[separator[1]]} between the cells")
        if _DECIMAL_COMMA.search(rest):
            signs.append("commas in numbers")
    if re.match(rb'"\w+"', first):
        signs.append("quotes around every cell")
    if _ROUNDED.search(rest):
        signs.append("rounded numbers such as 1.2E+10")
    if "\ufffd" in data.decode(errors="replace"):
        signs.append("text in another encoding than UTF-8")
    return signs


def saved_by_a_spreadsheet(data: bytes) -> str | None:
    """Message for a table that was probably saved by a spreadsheet; None without signs of it."""
    signs = spreadsheet_signs(data)
    if not signs:
        return None
    return (
        f"it was probably opened and saved by a spreadsheet or changed in transfer (it has {', '.join(signs)}): "
        "use the file as aiperf-orch wrote it, without opening it in a spreadsheet, or better the package"
    )


def _directory_cause(path: Path) -> str:
    layout = Layout(path)
    manifests = [path / "manifest.json", *sorted(path.glob("*/manifest.json"))[:1]]
    has_run = layout.lock.exists() or layout.weights_folder.is_dir()
    if not has_run and any(manifest.is_file() for manifest in manifests):
        return (
            "is an unpacked package (some browsers unpack downloads): give the .tar.gz as it was sent; "
            "packing it again gives another file, with another SHA-256 and without its signature"
        )
    if has_run or layout.config_file.is_file():
        return f"is a campaign directory: `aiperf-orch package {path} --output FILE.tar.gz` makes a package of it"
    return "is a directory: give the file that `aiperf-orch package CAMPAIGN_DIR --output FILE.tar.gz` makes"


def _archive_cause(path: Path, head: bytes) -> str | None:
    if head.startswith(b"PK\x03\x04"):
        return _zip_cause(path)
    if head[257:262] == b"ustar":
        return (
            "is a tar archive that is not compressed (browsers and mail programs decompress a .tar.gz when they save "
            "it): request the file as it was sent, or save it with another program (curl -O, wget)"
        )
    return None


def _zip_cause(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:_MOST_MEMBERS]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        names = []
    if any(name.startswith("xl/") for name in names):
        return "is a spreadsheet file (.xlsx): give the result.csv as aiperf-orch wrote it"
    members = [name for name in names if name.endswith((".tar.gz", ".tgz", ".csv"))]
    wanted = f"{one_line(members[0]):.80}" if members else "the .tar.gz in it"
    return f"is a ZIP archive (browsers and mail programs make them of attachments): `unzip` it, and give {wanted}"


def _text_cause(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _PAGE.match(text):
        title = _TITLE.search(text)
        name = f" ({one_line(title[1].decode(errors='replace')):.60})" if title else ""
        return f"is a web page{name}, probably of a login or an error: log in, and download it again"
    if text.lstrip()[:5] == b"<?xml":
        return f"is an XML document, probably an error of a storage server: {_AGAIN}"
    if text.lstrip()[:1] == b"{":
        return "is JSON, probably an error of a server: give the package (.tar.gz) or the result.csv"
    if _ROW.match(text):
        return (
            "is a result.csv, which contains no records: only the package (.tar.gz) can be verified; `rank` takes both"
        )
    if _MAIL.match(text):
        return "is a mail: save its attachment, and give the attachment"
    return None


def _unpacked(head: bytes) -> bytes:
    """The first decompressed bytes; empty if the data are damaged."""
    with suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(head, 1024)
    return b""


def _damage_cause(head: bytes, size: int) -> str | None:
    if head.startswith(b"\x1f\xef\xbf\xbd"):
        return f"was read as text and saved again in transfer, and cannot be repaired: {_AGAIN}"
    if not head.startswith(b"\x1f\x8b"):
        return None
    inner = _unpacked(head)
    if inner.startswith(b"\x1f\x8b"):
        return (
            "is compressed twice (some servers compress downloads): rename it to FILE.tar.gz.gz, `gunzip` it once, "
            "and give the result"
        )
    if _PAGE.match(inner):
        return _text_cause(inner)
    if len(head) >= _LONG and not re.search(rb"(?<!\r)\n", head):
        return f"was transferred as text, which changed its line ends, and cannot be repaired: {_AGAIN}"
    if len(head) >= _LONG and b"\r\n" not in head and b"\r" not in head:
        return f"was transferred as text, which removed its carriage returns, and cannot be repaired: {_AGAIN}"
    return f"is gzip-compressed and damaged or incomplete (it has {size:,} bytes): {_AGAIN}"
