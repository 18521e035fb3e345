"""What a person would have written on the disk: its name, network, and root's shell."""

from __future__ import annotations

from hpcore.guest.initramfs import CONSOLE_DEVICE, READY_MARKER

SHELL = f"""\
[Unit]
Description=Root's shell on the serial line, without a login

[Service]
ExecStart=/bin/sh -c 'stty sane -echo; printf "\\\\n{READY_MARKER}\\\\n"; exec sh -i'
Environment=PS1= PS2= TERM=dumb HOME=/root
WorkingDirectory=/root
StandardInput=tty-force
TTYPath={CONSOLE_DEVICE}
# A shell that is a person's does not heed SIGTERM: the machine would wait 90 s for it.
KillSignal=SIGHUP
TimeoutStopSec=2
Restart=always
RestartSec=0

[Install]
WantedBy=multi-user.target
"""

FILES = {
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost debian\n",
    "etc/systemd/system/hpcore-shell.service": SHELL,
    "etc/systemd/network/80-dhcp.network": "[Match]\nName=en*\n\n[Network]\nDHCP=ipv4\n",
    "etc/default/grub": (
        # the menu is on the firmware's console, as there is no screen
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_TERMINAL=console\nGRUB_DISTRIBUTOR=Debian\n"
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        'GRUB_CMDLINE_LINUX="console=ttyAMA0 systemd.show_status=no"\n'
    ),
    # The modules that are named, instead of every one that some machine may need; and hardly
    # packed: an emulated CPU does this.
    "etc/initramfs-tools/conf.d/small": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n",
    "etc/initramfs-tools/modules": "virtio_blk\nvirtio_scsi\nnvme\next4\n",
    "etc/dpkg/dpkg.cfg.d/unsafe": "force-unsafe-io\n",
}
"""Files by their paths from the root."""
