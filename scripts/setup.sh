#!/bin/sh
# Set-up: a virtual environment with hpcore and its accelerators, QEMU and iasl from
# Debian's own packages where they are missing, the guest's kernel, the EL3 monitor, the interposer.
# Run it as often as you like; it does what is left to do.
#   scripts/setup.sh          what `make demo` needs
#   scripts/setup.sh --tests  and what the tests need
set -eu
PATH=$PATH:/usr/sbin:/sbin  # where mkfs is, and where a user's own PATH may not go
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 2; }

find_python() {
    for python in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$python" ] || continue
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    die "no CPython 3.11 or newer; install python3, or name one: PYTHON=/path/to/python make demo"
}

# Debian packages, where the command of theirs is missing: install_missing COMMAND PACKAGE ...
install_missing() {
    missing=
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
        shift 2
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        die "missing:$missing. This is no Debian; install what gives the commands of these packages"
    if [ "$(id -u)" = 0 ]; then
        root=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        root=sudo
    elif command -v sudo >/dev/null 2>&1 && [ -t 0 ]; then
        root=sudo
    else
        die "missing Debian packages, and no root here to install them. Ask for:
  apt-get install --no-install-recommends$missing"
    fi
    say "installing$missing"
    # The index may be old or absent on a new machine; one that is fresh costs a second.
    $root apt-get -q update || say "apt-get update had errors; going on with what is known"
    # shellcheck disable=SC2086 # a list of words
    $root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y install --no-install-recommends $missing ||
        die "apt could not install:$missing"
}

venv() {
    python=$(find_python)
    [ -x .venv/bin/python ] || {
        say "making .venv with $python"
        # Debian keeps ensurepip in a package of its own; the pip that is there does as well.
        "$python" -m venv --without-pip .venv
    }
    stamp=.venv/.installed
    want=$(cat pyproject.toml backends/*/pyproject.toml | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$want" ] && return 0
    say "installing hpcore, its accelerators and what they need into .venv"
    "$python" -m pip --version >/dev/null 2>&1 || die "no pip for $python; install python3-pip"
    "$python" -m pip --python .venv/bin/python install -q --disable-pip-version-check \
        -e '.[dev]' -e backends/tcg -e backends/kvm -e backends/qtest ||
        die "pip could not install the packages"
    printf '%s\n' "$want" >"$stamp"
}

if [ "${1:-}" = --tests ]; then
    install_missing qemu-system-aarch64 qemu-system-arm iasl acpica-tools \
        spin spin java default-jre-headless \
        qemu-img qemu-utils mkfs.ext4 e2fsprogs mkfs.vfat dosfstools mkfs.xfs xfsprogs mcopy mtools \
        libvirtd libvirt-daemon virsh libvirt-clients sfdisk fdisk fakeroot fakeroot \
        chromium chromium
else
    install_missing qemu-system-aarch64 qemu-system-arm
fi
venv
say "fetching the guest's kernel and busybox"
.venv/bin/hpcore guest fetch
if [ "${1:-}" = --tests ]; then
    say "fetching the QEMU that hotplugs vCPUs by itself"
    .venv/bin/hpcore qemu fetch
    say "fetching UEFI firmware for the guest"
    .venv/bin/hpcore uefi fetch
fi
say "building the EL3 monitor"
.venv/bin/python -c "from hpcore_tcg.build import ensure_monitor; print(ensure_monitor().path)"
say "building the interposer of kvm-qemu"
.venv/bin/python -c "from hpcore_kvm_qemu.build import ensure_interposer; print(ensure_interposer())"
if [ "${1:-}" = --tests ]; then
    say "building the image in which the KVM tests run"
    .venv/bin/python -m tests.nested --build
fi
say "ready: .venv/bin/hpcore --help"
