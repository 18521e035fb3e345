"""The first line of a log: the machine, what it ran on, and what the log promises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import attrs
import orjson
from attrs import field, frozen
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from hpcore.log.errors import LogDamaged, LogTooNew
from hpcore.log.framing import NO_SUM, is_sealed
from hpcore.log.segments import FIRST, Head
from hpcore.log.versions import Fields, Formats, FormatVersion
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.invariants import kept_by
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.properties import Invariants
from hpcore.model.revision import HPCORE, Revision, revision_of
from hpcore.model.states import Owed, Shared, Slot, State, initial
from hpcore.version import __version__

FORMAT = "hpcore-log"


class Sync(StrEnum):
    """What an event survives once `append` has returned."""

    DURABLE = "durable"
    """Loss of power: fdatasync, every time. What a run uses."""

    OS = "os"
    """The death of hpcore, kill -9 included, but not of the host: write, every time."""

    BUFFERED = "buffered"
    """Nothing, until `flush` or `close`: bulk output that can be made again."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@frozen
class Header:
    """What a log says of itself.

    `versions` maps qemu, kernel, hpcore and so on to theirs; the writer adds hpcore's.
    `created` is wall-clock time, ISO 8601. `format` is the log format's version as it
    stands in the file; the writer sets it, and `sync`. `modelled` and `differs` are the
    accelerator's own words (hpcore.run.accelerator.Capabilities); a log before format 1.1
    has none. `segment` is what was before this segment of the log; None in the first one.
    `kept` is the host and the directory of a machine that may outlive hpcore, as HOST:PATH;
    None for one that does not.
    `rules` is the protocol that the machine was run by, where it is not hpcore's own. A log
    before format 1.3 has none of these.
    `wrapping` is no part of the log: it says what of its file was overlooked as it was read, such
    as "is packed with gzip".
    """

    machine: MachineConfig
    accelerator: str
    versions: Mapping[str, str] = field(factory=dict, hash=False)
    created: str = field(factory=_now)
    sync: Sync = Sync.DURABLE
    modelled: Mapping[str, str] = field(factory=dict, hash=False)
    differs: Mapping[str, str] = field(factory=dict, hash=False)
    kept: str | None = None
    segment: Head | None = None
    rules: Revision | None = None
    format: FormatVersion | None = None
    wrapping: tuple[str, ...] = field(default=(), eq=False)

    @property
    def protocol(self) -> Revision:
        """The protocol by which the log is to be judged."""
        return self.rules or HPCORE

    @property
    def invariants(self) -> Invariants:
        """What the log is held against: what the hpcore that wrote it has kept of its own.

        Another protocol than hpcore's stands in the header whole, with what it promises.
        """
        if self.rules is not None:
            return self.rules.invariants
        return kept_by(self.versions.get("hpcore", "unknown"))

    @property
    def number(self) -> int:
        """The number of the segment that begins so."""
        return FIRST if self.segment is None else self.segment.number

    @property
    def first(self) -> int:
        """The number of the first event after this header."""
        return 1 if self.segment is None else self.segment.first

    @property
    def state(self) -> State:
        """The machine's state before the first event after this header."""
        if self.segment is None:
            return initial(self.machine)
        return State(self.machine, self.segment.shared, self.segment.slots)


def _exact(wanted: type, words: str) -> Any:
    def structure(value: object, _: object) -> object:
        if type(value) is not wanted:
            raise ValueError(f"{value!r} is not {words}")
        return value

    return structure


def _converter(strict: bool) -> Converter:
    converter = Converter(forbid_extra_keys=strict)
    # By itself cattrs would take "3" for 3 and 3 for "3".
    converter.register_structure_hook(int, _exact(int, "an integer"))
    converter.register_structure_hook(str, _exact(str, "a string"))
    converter.register_structure_hook(bool, _exact(bool, "true or false"))
    for enum in (Sync, SlotState, GiccState, Phase, Owed, Step, MachineStep):
        # Or else it would be structured as the str that it is, too, and be no Sync.
        converter.register_structure_hook(enum, lambda value, wanted: wanted(value))
    for cls in (Shared, Slot):  # most of a parked slot is as it was at first
        short = make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True)
        converter.register_unstructure_hook(cls, short)
    converter.register_structure_hook(Revision, lambda value, _: revision_of(value))
    converter.register_unstructure_hook(Revision, lambda revision: revision.plain)
    read = make_dict_structure_fn(
        Header, converter, wrapping=override(omit=True), _cattrs_forbid_extra_keys=strict
    )
    written = make_dict_unstructure_fn(Header, converter, wrapping=override(omit=True))
    converter.register_structure_hook(Header, read)
    converter.register_unstructure_hook(Header, written)
    return converter


_STRICT, _LENIENT = _converter(strict=True), _converter(strict=False)


def completed(header: Header, sync: Sync, formats: Formats) -> Header:
    """The header as it will stand in the file."""
    versions = {**header.versions, "hpcore": __version__}
    return attrs.evolve(header, sync=sync, versions=versions, format=formats.current)


def encode(header: Header) -> bytes:
    """The header's JSON object, without its sum."""
    plain = _STRICT.unstructure(header)
    del plain["format"]
    if header.kept is None:
        del plain["kept"]
    if header.segment is None:
        del plain["segment"]
    if header.rules is None:  # as in most logs
        del plain["rules"]
    return orjson.dumps({"format": FORMAT, "version": str(header.format), **plain})


def decode(name: str, line: bytes, formats: Formats) -> Header:
    """The header on `line`, which starts with MAGIC and has no newline.

    Raises LogTooNew, LogTooOld, or LogDamaged for line 1.
    """
    try:
        fields: Fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LogDamaged(name, 1, f"it is not JSON: {error}") from None
    version = FormatVersion.parse(fields.get("version"))
    if version is None:
        raise LogDamaged(name, 1, f"its version, {fields.get('version')!r}, is no version")
    sealed = is_sealed(line, NO_SUM)
    if sealed or version.major > formats.current.major:
        # The sum of a much later version might be another one; its name comes first.
        versions = fields.get("versions")
        wrote = versions.get("hpcore", "unknown") if isinstance(versions, dict) else "unknown"
        try:
            formats.admit(name, version, str(wrote))
        except LogTooNew as error:
            doubt = "" if sealed else ". Or its header is damaged: its checksum does not fit"
            raise LogTooNew(f"{error}{doubt}") from None
    if not sealed:
        raise LogDamaged(name, 1, "its checksum does not fit its bytes")
    fields.pop("sum", None)
    fields = formats.upgrade_header(version, fields)
    plain = {k: v for k, v in fields.items() if k not in ("format", "version")}
    converter = _LENIENT if version > formats.current else _STRICT
    try:
        header = converter.structure(plain, Header)
    except Exception as error:  # a group of whatever the classes' own validators raise
        why = "; ".join(transform_error(error, path="header"))
        raise LogDamaged(name, 1, f"it is sealed, but {why}") from None
    slots = header.machine.possible if header.segment is None else len(header.segment.slots)
    if slots != header.machine.possible:
        why = f"its state has {slots} slots, and its machine {header.machine.possible}"
        raise LogDamaged(name, 1, f"it is sealed, but {why}")
    return attrs.evolve(header, format=version)
