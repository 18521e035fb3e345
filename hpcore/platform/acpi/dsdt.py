r"""The DSDT: console, PCI, fw_cfg, the event devices, and a device for every possible vCPU.

A vCPU is `\_SB.CPUS.Cnnn` (ACPI0007) whether or not it is enabled: on arm64 it is
always present, and only its Enabled bit changes (ACPI 6.5, 6.3.7 and 8.4).
"""

from __future__ import annotations

from hpcore.model.acpi import STA_ENABLED
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules
from hpcore.platform import virt
from hpcore.platform.acpi.header import table
from hpcore.platform.acpi.osc import PLATFORM, osc
from hpcore.platform.acpi.pci import pci_host
from hpcore.platform.acpi.power_button import power_button, qemus_event_device
from hpcore.platform.acpi.transport import GedInterrupt, HotplugTransport, cpu_name
from hpcore.platform.acpi.virtio_mmio import virtio_mmio
from hpcore.platform.aml.encoding import eisa_id, string
from hpcore.platform.aml.objects import device, method, name, scope
from hpcore.platform.aml.resources import InterruptMode, interrupt, memory32, template

STA_HIDDEN = 0x0B
"""Present, enabled and working, and not for a user to see (ACPI 6.5, "_STA (Device Status)")."""

REVISION = 2
"""From 2 on, AML integers have 64 bits."""


def dsdt(
    config: MachineConfig,
    transport: HotplugTransport,
    *,
    pci: bool = True,
    fw_cfg: bool = False,
    mmio: bool = False,
    button: GedInterrupt | None = None,
    rules: Rules = RULES,
) -> bytes:
    """The whole table for `config`, with `transport` under its vCPUs, which go by `rules`.

    A PCI host bridge, QEMU's fw_cfg and its virtio-mmio are in it where they are there; `button`
    is the interrupt of QEMU's own event device, where that tells of the power button.
    """
    # two event devices with one register would take each other's events
    assert button is None or not transport.power_button
    pressed_by_none = button is None and not transport.power_button
    return table(
        b"DSDT",
        REVISION,
        scope(
            r"\_SB",
            osc(PLATFORM),
            _console(),
            pci_host() if pci else b"",
            _fw_cfg() if fw_cfg else b"",
            virtio_mmio() if mmio else b"",
            _event_device(transport),
            b"" if pressed_by_none else power_button(),
            b"" if button is None else qemus_event_device(button),
            _processors(config, transport, rules),
        ),
    )


def _console() -> bytes:
    return device(
        "COM0",
        name("_HID", string("ARMH0011")),
        name("_UID", 0),
        name(
            "_CRS",
            template(
                memory32(virt.UART0_BASE, 0x1000),
                interrupt(virt.UART0_GSI, InterruptMode.LEVEL),
            ),
        ),
    )


def _event_device(transport: HotplugTransport) -> bytes:
    """The Generic Event Device (ACPI 6.5, 5.6.9)."""
    line = transport.interrupt
    return device(
        "GED0",
        name("_HID", string("ACPI0013")),
        name("_UID", 0),
        name("_CRS", template(interrupt(line.gsi, line.trigger))),
        method("_EVT", transport.event_handler(), args=1),
    )


def _fw_cfg() -> bytes:
    """QEMU's channel for `-fw_cfg` files (fw_cfg.rst in QEMU's specs, "ACPI Interface")."""
    return device(
        "FWCF",
        name("_HID", string("QEMU0002")),
        name("_STA", STA_HIDDEN),
        name("_CCA", 1),
        name("_CRS", template(memory32(virt.FW_CFG_BASE, virt.FW_CFG_SIZE))),
    )


def _processors(config: MachineConfig, transport: HotplugTransport, rules: Rules) -> bytes:
    stays = [rules.stays(i, cold=config.cold_booted(i)) for i in range(config.possible)]
    return device(
        "CPUS",
        name("_HID", string("ACPI0010")),
        name("_CID", eisa_id("PNP0A05")),
        transport.declarations(config.possible),
        *(_processor(index, each, transport) for index, each in enumerate(stays)),
    )


def _processor(index: int, stays: bool, transport: HotplugTransport) -> bytes:
    """A vCPU. One that stays is enabled for the machine's life and can't be ejected."""
    terms = [name("_HID", string("ACPI0007")), name("_UID", index)]
    if stays:
        terms.append(name("_STA", STA_ENABLED))
    else:
        terms.append(method("_STA", transport.status(index)))
        terms.append(method("_EJ0", transport.eject(index), args=1))
    terms.append(method("_OST", transport.ost(index), args=3))
    return device(cpu_name(index), *terms)
