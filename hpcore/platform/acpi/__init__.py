"""The ACPI tables of the machine: static ones, and the DSDT with its hotplug transports."""
