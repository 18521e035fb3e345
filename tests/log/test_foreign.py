"""Files that are no text, and files that are: which are named, before anybody reads on."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from hpcore.log import NotALog, read, why_no_text
from hpcore.log.foreign import BOM
from hpcore.log.framing import MAGIC
from tests.log.samples import write

BOM_SAYS = (
    "it begins with a byte order mark (BOM), which some editor put there; tail -c +4 takes it away"
)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(b"steps: []", mtime=0), "it is compressed with gzip; unpack it with gunzip"),
        (b"\xff\xfe" + "steps".encode("utf-16-le"),
         "it is UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"),
        (MAGIC.decode().encode("utf-16-be"),
         "it is UTF-16; iconv -f UTF-16BE -t UTF-8 makes UTF-8 of it"),
        (BOM + MAGIC + b'1.2"}', BOM_SAYS),  # of a log, it is too much
        (BOM + b"steps: []", None),  # of other text, it is not
        (BOM + MAGIC[:-1], None),
        (b"steps: []", None),
        (MAGIC, None),
        (b"", None),
    ],
)  # fmt: skip
def test_what_a_file_is_that_is_no_text_is_found_by_its_beginning(
    tmp_path: Path, data: bytes, says: str | None
) -> None:
    (tmp_path / "file").write_bytes(data)
    assert why_no_text(tmp_path / "file") == says


def test_of_what_cannot_be_read_nothing_is_known(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert why_no_text(path) is None


def test_a_log_without_its_first_line_is_said_to_lack_it(tmp_path: Path) -> None:
    headless = b"".join(write(tmp_path / "log")[1:])
    with pytest.raises(NotALog) as error:
        read(io.BytesIO(headless))
    assert str(error.value) == (
        "stream: this is not a log of hpcore: its first line, the header, is missing"
    )


def test_a_log_with_a_byte_order_mark_is_said_to_have_one(tmp_path: Path) -> None:
    with pytest.raises(NotALog) as error:
        read(io.BytesIO(BOM + b"".join(write(tmp_path / "log"))))
    assert str(error.value).endswith(BOM_SAYS)
