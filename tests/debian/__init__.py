"""A Debian for arm64 on a disk, made from Debian's own packages and kept in the cache."""
