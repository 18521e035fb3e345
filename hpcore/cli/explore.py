"""`hpcore explore`: the states of a small configuration, to walk in with a browser."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.check.graphs.walkable import walkable, whole_up_to
from hpcore.check.result import CheckError
from hpcore.check.variants.known_bugs import find_mutant
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.guests import GUESTS
from hpcore.check.world.words import describe
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable, write_file
from hpcore.model.rules import RULES

MOST_ROWS = 2_000_000
"""Of a page, a row for each vCPU of each state: a browser has a page of 50 MB then."""


@click.command()
@click.option("--html", type=OUTPUT_FILE, required=True, metavar="FILE",
              help="Write the page here.")  # fmt: skip
@click.option("--slots", type=int, default=2, show_default=True, help="Possible vCPUs.")
@click.option("--boot", type=int, default=1, show_default=True, help="vCPUs at boot.")
@click.option("--guest", type=click.Choice(list(GUESTS)), default="linux",
              show_default=True, help="Who runs in the machine.")  # fmt: skip
@click.option("--faults", type=int, default=0, show_default=True, help="Effects that may fail.")
@click.option("--reset/--no-reset", default=False, show_default=True, help="Resets may come.")
@click.option("--migration/--no-migration", default=False, show_default=True,
              help="The machine may migrate.")  # fmt: skip
@click.option("--pause/--no-pause", default=False, show_default=True, help="It may be paused.")
@click.option("--power-off/--no-power-off", default=False, show_default=True, help="It may end.")
@click.option("--mutant", metavar="NAME", help="Walk in the protocol with this rule broken.")
@click.option("--most", type=click.IntRange(1, 50_000), default=5000, show_default=True,
              help="States that are looked for, the nearest first.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
@json_option
def explore(
    html: Path, slots: int, boot: int, guest: str, faults: int, reset: bool, migration: bool,
    pause: bool, power_off: bool, mutant: str | None, most: int, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a page to walk in: each state, and what may come next in it.

    \b
    hpcore explore --html walk.html
    hpcore explore --guest hostile --reset --html walk.html --force
    hpcore explore --mutant eject_was_requested --guest hostile --html broken.html

    The page starts where the guest boots. Take a move, go back, find what breaks and the
    shortest way there. Press ? in it for its keys.

    It is for small configurations. Of a large one the page has the states that are nearest to the
    boot, --most of them, and shows where it ends; `hpcore check` covers all.

    Exits with 0 once the page is written, whether or not something in it can break; `hpcore check`
    has the verdict. Exits with 2 if there is no such configuration, or a page would be too large.
    """
    out = Output(json=as_json)
    refuse_unwritable({"--html": html}, force=force)
    try:
        environment = Environment(
            slots=slots, boot=boot, guest=GUESTS[guest], faults=faults, reset=reset,
            migration=migration, pause=pause, power_off=power_off,
        )  # fmt: skip
        found = None if mutant is None else find_mutant(mutant)
    except (CheckError, EnvironmentRefused) as error:
        raise Problem(str(error)) from error
    if slots * most > MOST_ROWS:
        raise Problem(
            f"{most:,} states of {slots} vCPUs are too many for a page: {MOST_ROWS:,} rows are the "
            f"most. Give --most {MOST_ROWS // slots} or fewer --slots; `hpcore check --slots "
            f"{slots}` covers all states, without a page"
        )
    rules = RULES if found is None else found.rules
    if found is not None:
        environment = found.within(environment)
    out.say(describe(environment))
    with out.progress("looking for states") as tell:
        places = walkable(environment, rules, most, tell=lambda n: tell(f"{n:,} states"))
    from hpcore.show.explorer_page import explorer_page  # noqa: PLC0415 - takes Jinja along

    name = "hpcore's" if mutant is None else f"of the mutant {mutant}"
    write_file(html, explorer_page(environment, places, name).encode())
    cut = sum(place.moves is None for place in places)
    broken = sorted({
        move.broken.invariant for place in places for move in place.moves or ()
        if move.broken is not None
    })  # fmt: skip
    whole = whole_up_to(places)
    out.say(f"{len(places)} states in {html}; open it in a browser")
    if whole is not None:
        out.say(
            f"There are more: {cut} of these were not looked into, and every way of up to {whole} "
            f"moves from the boot is there. Fewer --slots make it smaller, --most takes more; "
            f"`hpcore check --slots {slots}` covers all states, without a page.", style="yellow",
        )  # fmt: skip
    if broken:
        out.say(f"What can break: {', '.join(broken)}", style="bold red")
    out.end(
        True, states=len(places), cut=cut, whole_up_to=whole, broken=broken, html=str(html)
    )
