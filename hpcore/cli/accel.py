"""`hpcore accel`: what can run here, and why not."""

from __future__ import annotations

import click

from hpcore.cli.output import Output, json_option
from hpcore.run.discovery import Found, probe_all


@click.command()
@json_option
def accel(as_json: bool) -> None:
    """Say which accelerators are installed, whether they run here, and if not, why.

    \b
    hpcore accel
    hpcore accel --json | jq '.accelerators[] | select(.available) | .name'
    """
    out = Output(json=as_json)
    found = probe_all()
    table = out.table(None, "accelerator", "runs here", "hotplug", "vCPUs", "notes")
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
    notes += [f"{what} is modelled: {why}" for what, why in c.modelled.items()]
    return "; ".join(notes)


def _fields(one: Found) -> dict[str, object]:
    c = one.capabilities
    return {
        "name": one.name,
        "distribution": one.distribution,
        "available": c.unavailable is None,
        "reason": c.unavailable,
        "no_hotplug": c.no_hotplug,
        "max_vcpus": c.max_vcpus,
        "modelled": dict(c.modelled),
        "versions": dict(c.versions),
    }
