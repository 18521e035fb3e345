"""`hpcore scenarios`: the scenarios that come with hpcore."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.output import Output, json_option
from hpcore.scenario import read


@click.command()
@click.argument("name", required=False)
@json_option
def scenarios(name: str | None, as_json: bool) -> None:
    """List the scenarios that come with hpcore, or print one.

    \b
    hpcore scenarios
    hpcore scenarios cover-letter > mine.yaml
    """
    out = Output(json=as_json)
    if name is not None:
        read.load(name)  # a wrong name gets its message
        text = read.bundled().get(name, Path(name)).read_text()
        out.text(text)
        out.close(True, text=text)
        return
    table = out.table("scenario", "about")
    listed = []
    for key in read.bundled():
        about = read.load(key).about
        table.add_row(key, about)
        listed.append({"name": key, "about": about})
    out.show(table)
    out.close(True, scenarios=listed)
