"""What goes wrong with a QEMU process, in words for the person who started it."""


class QemuError(Exception):
    """QEMU is missing, did not start, refused, or is gone. The text says what to do."""
