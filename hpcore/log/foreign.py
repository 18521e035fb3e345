"""What a file is that should be a log and is not: another encoding of one, most often."""

from __future__ import annotations

import re

from hpcore.log.framing import MAGIC
from hpcore.log.packed import PACKINGS

BOM = b"\xef\xbb\xbf"

_BEGINNINGS = (
    *((packing.begins, f"it is compressed with {packing.name}; unpack it with {packing.program}")
      for packing in PACKINGS),
    (b"PK\x03\x04", "it is a zip archive; unpack it with unzip"),
    (BOM, "it begins with a byte order mark (BOM), which some editor put there; "
          "tail -c +4 takes it away"),
    *((start, "it is UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it")
      for start in (b"\xff\xfe", b"\xfe\xff")),
    *((MAGIC[:4].decode().encode(coding), f"it is UTF-16; iconv -f {coding} -t UTF-8 makes UTF-8 "
                                         "of it")
      for coding in ("UTF-16LE", "UTF-16BE")),
)  # fmt: skip

CRLF = "its lines end in CRLF, and a log's in LF; tr -d '\\r' takes the CR away"
"""Some editors, and transfers as text, change a log so."""


def recognised(beginning: bytes) -> str:
    """Why a file that begins so is no log, and what would make one of it."""
    if beginning.startswith(b'{"seq":'):
        return "its first line, the header, is missing"
    return _found(beginning) or f"line 1 does not start with {MAGIC.decode()}"


def no_text(beginning: bytes) -> str | None:
    """Why a file that begins so can be read neither as a log nor as other text; None if it can.

    Other text may have a byte order mark.
    """
    if beginning.startswith(BOM) and not beginning.startswith(BOM + MAGIC):
        return None
    return _found(beginning)


_LINE = re.compile(r'\{"seq":\d+,.*,"sum":"[0-9a-f]{16}"\}')


def is_a_line(text: str) -> bool:
    """Whether `text` is a line of a log, whatever it stands in: its header, or an event."""
    if not text.startswith('{"'):
        return False
    return text.startswith(MAGIC.decode()) or _LINE.fullmatch(text) is not None


def _found(beginning: bytes) -> str | None:
    return next((why for start, why in _BEGINNINGS if beginning.startswith(start)), None)
