"""The lines of a text file, plain or gzip: told apart by their first bytes, decoded one by one, with their numbers.

It knows no columns. Whatever is wrong with the file as a file (missing, cut off, another encoding, another archive)
is a BadTrace here.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stoker_sim.traces.bad_trace import BadTrace

LINE_MAX = 1 << 20
"""Bytes. The longest line of a public trace (1,440 minutes of one function) has 10 KB."""

_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": ("a zip archive", "unpack it first, with unzip"),
    b"Rar!": ("a rar archive", "unpack it first, with unrar"),
    b"\xfd7zXZ": ("compressed by xz", "unpack it first, with tar xJf or unxz"),
    b"BZh": ("compressed by bzip2", "unpack it first, with bunzip2"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it first, with unzstd"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it first, with 7z x"),
    b"PAR1": ("a Parquet file", "write it as CSV"),
    b"\xff\xfe": ("text in UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "save it as UTF-8"),
}
"""What a file may be by its first bytes that is not read here, and what to do then."""


def lines_of(path: Path) -> Iterator[str]:
    """Each line with its ending, a byte order mark removed. Raises BadTrace."""
    with _opened(path) as file:
        number = 0
        while True:
            number += 1
            raw = _next_line(file, path, number)
            if not raw:
                return
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadTrace(
                    path,
                    f"byte {error.start + 1} of the line is not UTF-8 (0x{raw[error.start]:02x})",
                    "save the file as UTF-8",
                    line=number,
                ) from None
            if "\0" in text:
                raise BadTrace(path, "holds a NUL byte", "export the trace as text again", line=number)
            yield text


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    try:
        with path.open("rb") as file:
            head = file.read(8)
        for magic, (what, fix) in _FOREIGN.items():
            if head.startswith(magic):
                raise BadTrace(path, f"is {what}, and only plain text or gzip is read", fix)
        return gzip.open(path, "rb") if head.startswith(_GZIP) else path.open("rb")
    except FileNotFoundError:
        raise BadTrace(path, "there is no such file", "check the name and the folder") from None
    except IsADirectoryError:
        raise BadTrace(path, "is a folder", "name the file in it") from None
    except OSError as error:
        raise BadTrace(path, f"cannot be opened ({error.strerror})", "check who may read it") from None


def _next_line(file: BinaryIO | gzip.GzipFile, path: Path, number: int) -> bytes:
    try:
        raw = file.readline(LINE_MAX)
    except EOFError:
        raise BadTrace(path, "the gzip file ends in the middle", "copy or download it again", line=number) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadTrace(path, f"the gzip file is damaged ({error})", "copy or download it again", line=number) from None
    except OSError as error:
        raise BadTrace(path, f"cannot be read ({error.strerror})", "check the disk", line=number) from None
    if len(raw) == LINE_MAX and not raw.endswith(b"\n"):
        raise BadTrace(
            path, f"the line is longer than {LINE_MAX} bytes", "is it a CSV file with one request a line?", line=number
        )
    return raw
