"""arm `virt`: QEMU's GICv3 is real, the hotplug registers are hpcore's."""
