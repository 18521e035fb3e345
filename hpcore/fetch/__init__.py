"""What is fetched from Debian, and where it is kept: guests, a newer QEMU, test images."""
