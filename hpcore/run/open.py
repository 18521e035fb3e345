"""Opening a machine: whether it fits, the head of its log, its controller, its end."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from os import PathLike
from pathlib import Path

import attrs
import structlog

from hpcore.guest.kernel import load_kernel
from hpcore.log import Header, LogWriter, Rotation, Sync
from hpcore.model.config import MachineConfig, cap
from hpcore.model.revision import HPCORE, Revision
from hpcore.model.states import initial
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript
from hpcore.run.admission import need_protocol
from hpcore.run.console import Printed
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.discovery import Found, keeper, usable, usable_by
from hpcore.run.errors import ProtocolBroken
from hpcore.run.kept import home, record
from hpcore.run.kept_controller import KeptController
from hpcore.run.machine import LiveMachine
from hpcore.run.saving import saver_of


def fit(found: Found, config: MachineConfig) -> MachineConfig:
    """`config` as `found` can run it here, capped where that has no hotplug.

    Raises AcceleratorError where it can't run at all.
    """
    usable(found)
    fitted = cap(config, found.capabilities.no_hotplug)
    most = found.capabilities.max_vcpus
    if fitted.possible > most:
        raise AcceleratorError(
            f"the machine has {fitted.possible} possible vCPUs; '{found.name}' can run "
            f"{most} here. Lower maxcpus"
        )
    return fitted


@asynccontextmanager
async def open_machine(
    found: Found,
    config: MachineConfig,
    guest: GuestImages | GuestScript | None = None,
    *,
    log: str | PathLike[str],
    overwrite: bool = False,
    sync: Sync = Sync.DURABLE,
    rotation: Rotation | None = None,
    patience: Patience | None = None,
    printed: Printed = lambda _data: None,
    keep: bool = False,
    protocol: Revision = HPCORE,
) -> AsyncIterator[LiveMachine]:
    """A machine on the accelerator `found`, logged in the file `log`, and ready to `boot`.

    `guest` is what boots in it, or a script where the accelerator plays its guest; without
    one the machine has none. Of a guest that boots without a shell no more is known than what
    its kernel does: `boot` and `reset` do not wait for it, and there is no `guest`. `printed`
    is told what the guest prints. With a `rotation` the log is in segments. `protocol` is by
    whose rules it runs; the log's header says so where it is not hpcore's own. On leaving, the
    machine is gone and the log closed, whatever happened; with `keep` the machine goes on unless
    it has ended or is off, also if hpcore is killed, and `attach_machine` takes it up again.

    Raises AcceleratorError where the machine cannot run here, or not outlive hpcore, GuestError
    for a kernel that is none, LogError where the log cannot be started, and on leaving
    ProtocolBroken for a fault of hpcore.
    """
    _say_warnings_alone()
    accelerator, fitted = usable_by(found, protocol.rules), fit(found, config)
    need_protocol(found, protocol)
    header = header_of(found, fitted, guest, protocol)
    shell = not isinstance(guest, GuestImages) or guest.shell
    logs: list[LogWriter] = []
    with ExitStack() as stack:

        def open_log() -> LogWriter:
            place = controller.session.place if isinstance(controller, KeptController) else None
            begins = attrs.evolve(header, kept=None if place is None else home(place))
            writer = LogWriter.create(
                log, begins, sync=sync, overwrite=overwrite, rotation=rotation
            )
            logs.append(stack.enter_context(writer))
            if place is not None:
                record(place, Path(log), found.name, shell=shell, rotation=rotation)
            return writer

        controller: Controller
        if keep:
            keeps = keeper(found)
            controller = KeptController(
                initial(fitted),
                open_log,
                lambda report: keeps.keep(fitted, guest, report),
                patience,
                saver=saver_of(found.name, lambda: logs[0]),
            )
        else:
            controller = Controller(
                initial(fitted),
                open_log,
                lambda report: accelerator.open(fitted, guest, report),
                patience,
                saver=saver_of(found.name, lambda: logs[0]),
                protocol=protocol,
            )
        machine = LiveMachine(controller, printed, shell=shell)
        try:
            async with controller:
                yield machine
        finally:
            await machine.console_read()
        if isinstance(controller.failure, ProtocolBroken):
            raise controller.failure


def _say_warnings_alone() -> None:
    """Diagnostics of a program that did not set them up: warnings and worse, to stderr.

    structlog by itself would print everything, and on standard output.
    """
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def header_of(
    found: Found,
    config: MachineConfig,
    guest: GuestImages | GuestScript | None = None,
    protocol: Revision = HPCORE,
) -> Header:
    """The head of the log of a machine on `found`; it names the kernel of `guest`."""
    capabilities = found.capabilities
    versions = dict(capabilities.versions)
    if isinstance(guest, GuestScript):
        versions["kernel"] = str(guest)
    elif guest is not None and (version := load_kernel(guest.kernel).version) is not None:
        versions["kernel"] = version
    return Header(
        machine=config,
        accelerator=found.name,
        versions=versions,
        modelled=capabilities.modelled,
        differs=capabilities.differs,
        rules=None if protocol == HPCORE else protocol,
    )
