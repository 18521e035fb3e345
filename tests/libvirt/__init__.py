"""libvirt from Debian, unmodified, in an instance of its own, and the machines it starts."""
