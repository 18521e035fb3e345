"""What the sessions of accelerators that run a QEMU have in common."""
