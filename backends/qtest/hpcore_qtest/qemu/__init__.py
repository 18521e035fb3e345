"""A QEMU that runs no guest code: its process, its qtest and QMP sockets."""
