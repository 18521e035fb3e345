"""The memory map and interrupts of QEMU's arm `virt` that the tables describe.

Source: hw/arm/virt.c (base_memmap, a15irqmap). Addresses and sizes in bytes; a GSI is
a GIC INTID.
"""

from __future__ import annotations

GICD_BASE = 0x0800_0000
GICD_SIZE = 0x1_0000
ITS_BASE = 0x0808_0000
GICR_BASE = 0x080A_0000
GICR_SIZE = 0x00F6_0000
GICR_FRAME = 0x2_0000  # one redistributor: RD_base and SGI_base, 64 KiB each
GICR_FIRST_REGION = GICR_SIZE // GICR_FRAME  # 123; the rest are in the high region
GICR_HIGH_BASE = 0x40_0000_0000
GICR_HIGH_SIZE = 0x0400_0000

UART0_BASE, UART0_GSI = 0x0900_0000, 33
RTC_BASE, RTC_GSI = 0x0901_0000, 34
FW_CFG_BASE, FW_CFG_SIZE = 0x0902_0000, 0x18
UART1_BASE, UART1_GSI = 0x0904_0000, 40
GED_BASE, GED_SIZE, ACPI_GED_GSI = 0x0908_0000, 0x18, 41  # SPI 9, an edge
SECURE_GPIO_BASE = 0x090B_0000
CPU_HOTPLUG_BASE, CPU_HOTPLUG_SIZE = 0x090C_0000, 0x0C  # the research series' place
# QEMU has had PCI hotplug registers at 0x090C_0000 since 10.1 (VIRT_ACPI_PCIHP), and places what is
# new behind them: these are the last 64 KiB before virtio-mmio
KVM_CPU_HOTPLUG_BASE = 0x09FF_0000
VIRTIO_MMIO_BASE, VIRTIO_MMIO_SIZE, VIRTIO_MMIO_PLACES = 0x0A00_0000, 0x200, 32
VIRTIO_MMIO_FIRST_GSI = 48
SECURE_RAM_BASE, SECURE_RAM_SIZE = 0x0E00_0000, 0x0100_0000
ECAM_BASE, ECAM_SIZE = 0x40_1000_0000, 0x1000_0000
PCI_MMIO_BASE, PCI_MMIO_SIZE = 0x1000_0000, 0x2EFF_0000
PCI_PIO_BASE, PCI_PIO_SIZE = 0x3EFF_0000, 0x1_0000
PCI_HIGH_BASE, PCI_HIGH_SIZE = 0x80_0000_0000, 0x80_0000_0000
PCI_FIRST_GSI = 35

TIMER_SECURE_GSI, TIMER_PHYS_GSI, TIMER_VIRT_GSI, TIMER_HYP_GSI = 29, 30, 27, 26
PMU_GSI = 23
GED_GSI = 47  # SPI 15, which no device of `virt` uses

RAM_BASE = 0x4000_0000
DTB_BASE = RAM_BASE
BLOB_BASE, BLOB_SIZE = 0x4010_0000, 0x10_0000
KERNEL_BASE = 0x4020_0000
INITRD_BASE = 0x4800_0000


def redistributor(index: int) -> int:
    """The address of the GICR frame of vCPU `index`."""
    if index < GICR_FIRST_REGION:
        return GICR_BASE + index * GICR_FRAME
    return GICR_HIGH_BASE + (index - GICR_FIRST_REGION) * GICR_FRAME
