"""Which accelerator a command line is given, on this host and on others."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

import pytest

from hpcore.door import machine_option, offered
from hpcore.door.asked import Boots, read
from hpcore.door.front import Part
from hpcore.door.options import ArgumentRefused
from hpcore.door.remade import remade
from tests.door.test_asked import KATA


@pytest.fixture
def arm64_with_kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host whose /dev/kvm this user may use; the path of that device."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(offered, "KVM", device)
    return device


@pytest.mark.parametrize(
    ("asked", "had"),
    [("kvm", "kvm"), ("kvm:tcg", "kvm"), ("tcg:kvm", "tcg"), ("hvf:kvm", "kvm")],
)
def test_the_first_that_can_be_had_is_had(arm64_with_kvm: Path, asked: str, had: str) -> None:
    assert machine_option.accelerator({"accel": asked}) == had


def test_where_none_is_asked_for_it_is_qemus_own_default() -> None:
    assert machine_option.accelerator({}) == "tcg"


@pytest.mark.parametrize("words", ["-enable-kvm", "-accel kvm", "-M accel=kvm", "-accel kvm:tcg"])
def test_kvm_has_the_hosts_own_cpu_by_whatever_words(arm64_with_kvm: Path, words: str) -> None:
    asked = read(f"-M virt,gic-version=host -cpu host -kernel k -m 1G {words}".split())
    assert (asked.accelerator, asked.cpu) == ("kvm-qemu", "host")
    assert asked.config.driver == "host-arm-cpu"


def test_katas_own_arguments_for_kvm_are_taken(arm64_with_kvm: Path) -> None:
    for_kvm = KATA.replace("accel=tcg", "accel=kvm").replace("cortex-a57,pmu=off", "host,pmu=off")
    asked = read(shlex.split(for_kvm))
    assert (asked.accelerator, asked.config.topology.maxcpus) == ("kvm-qemu", 4)
    part = Part({"gic-version": "3", "acpi": "off"}, ())
    real = shlex.join(remade(asked, part, []).words())
    assert "gic-version=3" in real
    assert "gic-version=host" not in real
    assert "-accel kvm -cpu host,pmu=off -smp 4,maxcpus=4,sockets=4" in real
    assert "-m 2048M,slots=10,maxmem=8192M" in real


FIRMWARE = {
    "-bios fw.fd": "-bios fw.fd",
    "-pflash fw.fd": "-pflash fw.fd",
    "-drive if=pflash,file=fw.fd": "-drive if=pflash,file=fw.fd",
    "-blockdev driver=file,filename=fw.fd,node-name=f -M pflash0=f": "pflash0=f",
}


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_the_callers_firmware_runs_with_kvm_and_finds_its_kernel(
    arm64_with_kvm: Path, firmware: str
) -> None:
    words = f"-M virt -accel kvm -cpu host -m 1G -nodefaults {firmware} -kernel k -append a=1"
    asked = read(words.split())
    assert asked.boots == Boots(firmware=True)
    real = shlex.join(remade(asked, Part({"acpi": "off"}, ()), []).words())
    assert FIRMWARE[firmware] in real
    assert "-kernel k" in real
    assert "-append a=1" in real
    assert "acpi=off" in real


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_the_callers_firmware_is_left_out_with_tcg(firmware: str) -> None:
    words = f"-M virt -accel tcg -cpu cortex-a57 -m 1G -nodefaults {firmware} -kernel k"
    asked = read(words.split())
    assert asked.boots == Boots(kernel=Path("k"), initrd=None)
    real = shlex.join(remade(asked, Part({}, ()), []).words())
    assert FIRMWARE[firmware] not in real
    assert "-kernel" not in real  # hpcore's part says what lies in memory


def test_without_the_device_the_next_one_is_had_or_the_reason_is_said(
    arm64_with_kvm: Path,
) -> None:
    arm64_with_kvm.unlink()
    assert machine_option.accelerator({"accel": "kvm:tcg"}) == "tcg"
    with pytest.raises(ArgumentRefused, match=f"{arm64_with_kvm} is not there"):
        machine_option.accelerator({"accel": "kvm"})


def test_another_kind_of_host_has_no_kvm_for_arm64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert machine_option.accelerator({"accel": "kvm:tcg"}) == "tcg"
    with pytest.raises(ArgumentRefused, match="this host is riscv64"):
        machine_option.accelerator({"accel": "kvm"})


def test_an_accelerator_without_hotplug_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(ArgumentRefused, match="with tcg or kvm"):
        machine_option.accelerator({"accel": "hvf"})
