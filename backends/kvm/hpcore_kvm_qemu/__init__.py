"""hpcore in an unpatched QEMU with -accel kvm: so far the interposer alone, no accelerator."""
