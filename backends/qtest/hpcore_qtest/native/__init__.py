"""Machines whose vCPUs QEMU hotplugs itself; the effects become its own commands."""
