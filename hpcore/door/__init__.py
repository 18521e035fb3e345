"""The front door: what callers of QEMU meet, in front of a QEMU that hpcore drives."""
