"""What a guest sees: memory map, ACPI tables, EFI hand-off, device tree, hotplug registers."""
