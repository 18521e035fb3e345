"""`hpcore domain`: the XML that libvirt is given."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from tests.support.command import hpcore


def test_under_kvm_the_cpu_is_the_hosts() -> None:
    domain = Xml.fromstring(hpcore("domain", "vm1", "--kvm", "--json").last["xml"])
    cpu = domain.find("cpu")
    assert cpu is not None
    assert (domain.get("type"), cpu.get("mode")) == ("kvm", "host-passthrough")
    assert cpu.find("model") is None


def test_under_tcg_it_is_a_model_of_qemus() -> None:
    domain = Xml.fromstring(hpcore("domain", "vm1", "--cpu", "max", "--json").last["xml"])
    assert (domain.get("type"), domain.findtext("cpu/model")) == ("qemu", "max")


def test_a_model_under_kvm_is_refused() -> None:
    ended = hpcore("domain", "vm1", "--kvm", "--cpu", "max")
    assert (ended.code, ended.out) == (2, "")
    assert "with --kvm the CPU is the host's; leave --cpu max out" in ended.err
