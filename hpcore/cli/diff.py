"""`hpcore diff`: two logs side by side, around where they first differ."""

from __future__ import annotations

import click

from hpcore.cli.given_files import name_of, path_of
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.wrapping import say_wrapping
from hpcore.errors import printable
from hpcore.log import Header, Record
from hpcore.triage.diff import Diff, Difference
from hpcore.triage.diff import diff as diff_logs
from hpcore.triage.words import say


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--context", default=3, show_default=True, type=click.IntRange(0, 1000), metavar="N",
    help="Events to show before and after a difference.",
)  # fmt: skip
@json_option
def diff(a: str, b: str, context: int, as_json: bool) -> None:
    """Compare the logs A and B of one scenario, event by event.

    \b
    hpcore diff tcg.jsonl kvm.jsonl
    hpcore diff tcg.jsonl qtest.jsonl --json | jq .differences

    Compared are what was done to each vCPU, what the guest did about each, and the
    machine's own steps: three kinds of sequence, each in its order. Times, addresses and
    the interleaving of the sequences are not, nor what an accelerator says of itself that
    it does otherwise; see docs/diff.md.

    Exits with 1 if the logs differ, with 2 if one cannot be read.
    """
    out = Output(json=as_json)
    if a == b == "-":
        raise Problem("only one of the logs can come from standard input")
    found = diff_logs(path_of(a), path_of(b), context)
    for name, header, torn in zip((a, b), found.headers, found.torn, strict=True):
        versions = ", ".join(f"{k} {v}" for k, v in header.versions.items())
        out.say(f"{name_of(name)}: {header.accelerator}, {header.created}; {versions}")
        say_wrapping(out, name, header.wrapping)
        if torn is not None:
            out.say(f"It ends in a torn line ({torn}), which is left out.")
    if found.differences:
        _show(out, (a, b), found.headers, found.differences[0])
    _explain(out, (a, b), found)
    out.end(
        found.same,
        events=list(found.events),
        compared=found.compared,
        machines=list(found.machines),
        differences=[_plain(difference) for difference in found.differences],
        apart=dict(found.apart),
        cut=[str(track) for track in found.cut],
        torn=list(found.torn),
        wrapping=[list(header.wrapping) for header in found.headers],
        error=_verdict((a, b), found) if not found.same else None,
    )


def _show(
    out: Output, names: tuple[str, str], headers: tuple[Header, Header], difference: Difference
) -> None:
    out.say("")
    same = headers[0].accelerator == headers[1].accelerator
    titles = names if same else tuple(header.accelerator for header in headers)
    table = out.table("", "seq", titles[0], "seq", titles[1])
    for n in range(max(len(difference.a), len(difference.b))):
        one = difference.a[n] if n < len(difference.a) else None
        other = difference.b[n] if n < len(difference.b) else None
        style = "bold red" if n == difference.at else None
        mark = ">" if n == difference.at else ""
        ends = n == len(difference.a), n == len(difference.b)
        table.add_row(mark, *_cells(one, ends[0]), *_cells(other, ends[1]), style=style)
    out.show(table)


def _cells(record: Record | None, ends: bool) -> tuple[str, str]:
    if record is None:
        return "", "(nothing more)" if ends else ""
    return str(record.seq), printable(say(record.event))


def _explain(out: Output, names: tuple[str, str], found: Diff) -> None:
    if found.apart or found.cut or found.differences:
        out.say("")
    for name, why in found.apart.items():
        out.say(f"Not compared: {name}, for {why}.")
    for track in found.cut:
        out.say(f"One log ends before the last of {track}.")
    if found.differences[1:]:
        out.say("Where else they differ first:")
        for difference in found.differences[1:]:
            out.say(f"  {difference.track}: {_where(names, difference)}")
    out.say(_verdict(names, found), style="green" if found.same else "bold red")


def _where(names: tuple[str, str], difference: Difference) -> str:
    one, other = (
        f"event {record.seq} of {name}" if record else f"the end of {name}"
        for name, record in zip(names, difference.first, strict=True)
    )
    return f"{one} and {other}"


def _verdict(names: tuple[str, str], found: Diff) -> str:
    if found.same:
        return f"The same happened: {found.compared} events compared, none differs."
    what = []
    if found.machines:
        what.append(f"the machines are not the same, {', '.join(found.machines)}")
    if found.differences:
        first = found.differences[0]
        what.append(f"first at {_where(names, first)} ({first.track})")
    return f"The logs differ: {'; '.join(what)}."


def _plain(difference: Difference) -> dict[str, object]:
    one, other = difference.first
    return {
        "slot": difference.track.slot,
        "sequence": str(difference.track),
        **{
            name: None if r is None else {"seq": r.seq, "t": r.t, "says": say(r.event)}
            for name, r in (("a", one), ("b", other))
        },
    }
