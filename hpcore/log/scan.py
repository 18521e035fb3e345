"""A log's bytes as whole lines whose checksums are right, some thousands at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import IO

import attrs

from hpcore.log.errors import LogDamaged, LogEmpty, LogUnreadable, NotALog
from hpcore.log.foreign import BOM, CRLF, recognised
from hpcore.log.framing import END, MAGIC, MAX_BATCH, MAX_LINE, NO_SUM, TAIL, sum_of
from hpcore.log.header import Header, decode
from hpcore.log.packed import PackedDamaged
from hpcore.log.tail import Place, Torn, judge
from hpcore.log.versions import Formats

MARK = "begins with a byte order mark (BOM)"
CR = "has lines that end in CRLF"
"""What is overlooked in a log that is only read."""

CHUNK = 1 << 18
"""Bytes read at a time: with MAX_LINE and MAX_BATCH, what bounds the memory of a reader."""


class Scan:
    """Reads `stream`, which error messages call `name`, from its beginning.

    With `as_text` a byte order mark and CRLF at the ends of lines are overlooked, which some editor
    or transfer has put there. The header's `wrapping` says so, after what `wrapping` says of the
    file already.

    `header` is read at once: raises LogUnreadable, LogEmpty, NotALog, LogTooNew,
    LogTooOld, or LogDamaged for line 1. `good` says how far the log has been verified, and
    `torn`, once `lines` has ended, what was left out at the end, or None. At the end of the
    stream, `again` is asked whether there may be more of it by now.
    """

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        formats: Formats,
        again: Callable[[], bool] = lambda: False,
        *,
        as_text: bool = False,
        wrapping: tuple[str, ...] = (),
    ) -> None:
        self._read = getattr(stream, "read1", stream.read)  # a pipe's bytes as they come
        self.name = name
        self._again = again
        self._rest = b""
        self._as_text = as_text
        self._crlf = False
        self._cr = b""
        """A CR that a chunk has ended with: whether LF follows it is not known yet."""
        self._wrapping = wrapping
        self.torn: Torn | None = None
        self.good = Place(0, 0, NO_SUM)
        line = self._first_line()
        self.header: Header = attrs.evolve(decode(name, line, formats), wrapping=self._wrapping)
        self.good = Place(1, len(line) + 1, sum_of(line), self.header.first)

    def lines(self) -> Iterator[list[bytes]]:
        """The event lines, without their newlines, in lists; each with the right checksum.

        Raises LogUnreadable, or LogDamaged after the last good line has been given out.
        """
        while True:
            *lines, unfinished = self._rest.split(b"\n")
            count = self._verified(lines)
            if count:
                yield lines[:count]
            if count < len(lines) or len(unfinished) > MAX_LINE:
                self._end(b"\n".join([*lines[count:], unfinished]))
                return
            chunk = self._chunk()
            if not chunk and self._again():
                self._rest = unfinished
                continue
            if not chunk:
                self._rest = b""
                if unfinished:
                    self._end(unfinished)
                return
            self._rest = unfinished + chunk

    def _verified(self, lines: list[bytes]) -> int:
        """How many of `lines` are right, from the first on; moves `good` past those."""
        before = self.good.sum
        count = 0
        # This is framing.is_sealed, without its calls: half of a reader's time goes here.
        for line in lines:
            own = blake2b(before + line[:-TAIL], digest_size=8).hexdigest().encode()
            if line[-TAIL:] != own + END:
                break
            before = own
            count += 1
        if count:
            size = sum(map(len, lines[:count])) + count
            good = self.good
            self.good = Place(good.lines + count, good.offset + size, before, good.first)
        return count

    def _end(self, rest: bytes) -> None:
        """The log is good no further: decide whether `rest`, and what follows, is torn."""
        parts, size = [rest], len(rest)
        while size <= MAX_BATCH and (chunk := self._chunk()):
            parts.append(chunk)
            size += len(chunk)
        verdict = judge(b"".join(parts), self.good)
        if isinstance(verdict, str):
            raise LogDamaged(self.name, self.good.lines + 1, verdict, self.good.first)
        self.torn = verdict

    def _first_line(self) -> bytes:
        data = self._chunk()
        while data and b"\n" not in data and len(data) <= MAX_LINE:
            chunk = self._chunk()
            if not chunk:
                break
            data += chunk
        if self._as_text and data.startswith(BOM + MAGIC):
            data = data.removeprefix(BOM)
            self._wrapping += (MARK,)
        line, newline, self._rest = data.partition(b"\n")
        if not line.strip(b"\0") and not newline:
            raise LogEmpty(self.name, "nothing was ever written to it")
        if not newline and MAGIC.startswith(line[: len(MAGIC)]) and len(line) <= MAX_LINE:
            raise LogEmpty(self.name, "its header breaks off")
        if not newline or not line.startswith(MAGIC):
            raise NotALog(self.name, recognised(line))
        if line.endswith(b"\r"):
            if not self._as_text:
                raise NotALog(self.name, CRLF)
            self._crlf = True
            self._wrapping += (CR,)
            line = line.removesuffix(b"\r")
            self._rest = self._without_cr(self._rest)
        return line

    def _chunk(self) -> bytes:
        """What comes next, as LF would end it; empty at the end of the stream."""
        data = self._as_it_comes()
        if not self._crlf:
            return data
        text = self._without_cr(data)
        while data and not text:  # it was a CR alone
            data = self._as_it_comes()
            text = self._without_cr(data)
        return text

    def _without_cr(self, data: bytes) -> bytes:
        held, self._cr = self._cr, b""
        if data.endswith(b"\r"):
            data, self._cr = data[:-1], b"\r"
        return (held + data).replace(b"\r\n", b"\n")

    def _as_it_comes(self) -> bytes:
        try:
            data: bytes = self._read(CHUNK)
        except OSError as error:
            raise LogUnreadable(self.name, error) from error
        except PackedDamaged as error:
            why = f"what it is packed in is damaged or cut: {error}"
            raise LogDamaged(self.name, self.good.lines + 1, why, self.good.first) from error
        return data
