#!/bin/sh
# The first process of a Debian whose packages are unpacked and not yet configured: lets
# dpkg do that, as debootstrap's second stage does, and powers off. What it says last is
# read by disk.py.
export PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root TERM=dumb
# From a copy, or the root could not be made read-only in the end.
[ "$0" = /run/configure.sh ] || {
    mount -t tmpfs run /run
    cp "$0" /run
    exec sh /run/configure.sh
}
rm /configure.sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

info=/var/lib/dpkg/info
# The one script before unpacking that a new system needs: it writes /etc/passwd.
DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE=base-passwd $info/base-passwd.preinst install

# grub-mkconfig names the root by its UUID where udev has made this link.
root=$(findmnt -no SOURCE /)
uuid=$(blkid -o value -s UUID "$root")
mkdir -p /dev/disk/by-uuid /boot/grub
ln -s "../../${root##*/}" "/dev/disk/by-uuid/$uuid"
echo "UUID=$uuid / ext4 errors=remount-ro 0 1" >/etc/fstab

# The configurations that packages bring are kept where this disk has its own.
dpkg --force-confold --configure -a || dpkg --force-confold --configure -a
update-grub
systemctl enable -q systemd-networkd hpcore-shell
systemctl mask -q serial-getty@ttyAMA0 systemd-networkd-wait-online \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer
passwd -q -d root

wrong=$(dpkg --audit)
test -z "$wrong" && test -s /boot/grub/grub.cfg && test -s "$(readlink -f /initrd.img)" &&
    said="CONFIGURED" || said="FAILED: $wrong"
sync
mount -o remount,ro /
echo "$said"
echo o >/proc/sysrq-trigger
sleep 60
