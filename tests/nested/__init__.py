"""The nested bench: an arm64 Linux under QEMU whose /dev/kvm is real, on any machine.

QEMU emulates EL2 (`-M virt,virtualization=on`), so a stock kernel in it offers KVM. That
machine is called L1 here; the guests that run on its KVM are L2. See docs/kvm.md.
"""
