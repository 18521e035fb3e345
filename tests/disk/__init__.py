"""Disk images, made here, and what hpcore reads from them."""
