"""`hpcore accel`: what can run here, and why not."""

from __future__ import annotations

import click

from hpcore.cli.output import Output, json_option
from hpcore.run.discovery import Found, look_up, probe_all


@click.command()
@click.argument("name", required=False)
@json_option
def accel(name: str | None, as_json: bool) -> None:
    """Say which accelerators can run here, and why not.

    With a NAME, say what that one does not do for real, and what it does otherwise.

    \b
    hpcore accel
    hpcore accel qtest
    hpcore accel --json | jq '.accelerators[] | select(.available) | .name'
    """
    out = Output(json=as_json)
    if name is not None:
        one = look_up(name)
        _describe(out, one)
        out.close(True, accelerators=[_fields(one)])
        return
    found = probe_all()
    table = out.table("accelerator", "runs here", "hotplug", "vCPUs", "notes")
    for one in found:
        able = one.capabilities.unavailable is None
        hotplug = "yes" if able and one.capabilities.no_hotplug is None else "no"
        most = str(one.capabilities.max_vcpus) if able else "-"
        here = "yes" if able else "no"
        table.add_row(one.name, here, hotplug if able else "-", most, _notes(one))
    if found:
        out.show(table)
    else:
        out.say("No accelerator is installed. Install hpcore-tcg, hpcore-kvm or hpcore-qtest.")
    out.close(True, accelerators=[_fields(one) for one in found])


def _notes(one: Found) -> str:
    c = one.capabilities
    if c.unavailable is not None:
        return c.unavailable
    notes = [f"{k} {v}" for k, v in c.versions.items()]
    if c.no_hotplug is not None:
        notes.append(f"no hotplug: {c.no_hotplug}")
    if c.plays_guest:
        notes.append("the guest is played")
    if c.modelled:
        notes.append(f"modelled: {', '.join(c.modelled)} (hpcore accel {one.name})")
    return "; ".join(notes)


def _describe(out: Output, one: Found) -> None:
    c = one.capabilities
    out.say(f"{one.name}, of {one.distribution}: {c.unavailable or 'runs here'}")
    if c.unavailable is None:
        out.say(f"At most {c.max_vcpus} vCPUs; {c.no_hotplug or 'they can be hotplugged'}.")
        out.say(f"Outliving hpcore: {c.no_keep or 'with --keep'}.")
        out.say(f"Migration: {c.no_migration or 'to another process on this host'}.")
        out.say(f"Save and restore: {c.no_save or 'in a file'}.")
    if c.plays_guest:
        out.say("No code of a guest runs: it is played.")
    if c.versions:
        out.say(", ".join(f"{k} {v}" for k, v in c.versions.items()))
    for title, lead, entries in (
        ("modelled", "Not done for real, but modelled:", c.modelled),
        ("of other protocols", "Not done, where `--rules` asks for it:", c.lacks),
        ("in its logs", "Otherwise than with others, and left out by `hpcore diff`:", c.differs),
    ):  # fmt: skip
        if entries:
            out.say(f"\n{lead}")
            table = out.table(title, "because")
            for what, why in entries.items():
                table.add_row(what, why)
            out.show(table)


def _fields(one: Found) -> dict[str, object]:
    c = one.capabilities
    return {
        "name": one.name,
        "distribution": one.distribution,
        "available": c.unavailable is None,
        "reason": c.unavailable,
        "no_hotplug": c.no_hotplug,
        "no_keep": c.no_keep,
        "no_migration": c.no_migration,
        "no_save": c.no_save,
        "max_vcpus": c.max_vcpus,
        "plays_guest": c.plays_guest,
        "modelled": dict(c.modelled),
        "differs": dict(c.differs),
        "lacks": dict(c.lacks),
        "versions": dict(c.versions),
    }
