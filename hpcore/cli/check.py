"""`hpcore check`: every order of commands, calls, faults, resets and migrations."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import attrs
import click
from click.core import ParameterSource

from hpcore.check.collection import no_collection
from hpcore.check.graphs.drawing import check_suffix, draw
from hpcore.check.memory import human, peak
from hpcore.check.proof import ENGINES, prove
from hpcore.check.properties import PROPERTIES, Properties, of_kind
from hpcore.check.result import CheckError, Counterexample, Progress, Result, Tell
from hpcore.check.tabulated.schema import NotTabulable
from hpcore.check.tabulated.start import Start
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.variants.noticed import NOTICED, without
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.words import describe, say
from hpcore.cli.output import Output, Problem, json_option, many, steps
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable, write_file
from hpcore.cli.own import GuestType, properties_of, property_option
from hpcore.cli.protocols import Chosen, chosen_by, hunt_in, repeat
from hpcore.cli.sequence_options import refuse_without_scenario, sequence_options
from hpcore.cli.wrapping import say_wrapping
from hpcore.model.properties import Kind


@click.command()
@sequence_options
@property_option
@click.option("--slots", type=int, default=4, show_default=True, help="Possible vCPUs.")
@click.option("--boot", type=int, default=1, show_default=True, help="vCPUs at boot.")
@click.option("--guest", type=GuestType(), default="hostile", show_default=True,
              help="Who runs in the machine.")  # fmt: skip
@click.option("--faults", type=int, default=1, show_default=True, help="Effects that may fail.")
@click.option("--reset/--no-reset", default=True, show_default=True, help="Resets may come.")
@click.option("--migration/--no-migration", default=True, show_default=True,
              help="The machine may migrate.")  # fmt: skip
@click.option("--save/--no-save", default=False, show_default=True,
              help="It may be saved and restored.")  # fmt: skip
@click.option("--pause/--no-pause", default=False, show_default=True, help="It may be paused.")
@click.option("--power-off/--no-power-off", default=True, show_default=True, help="It may end.")
@click.option("--power-on/--no-power-on", default=False, show_default=True,
              help="What is off may be reset and resumed.")  # fmt: skip
@click.option("--plugged", type=int, default=0, show_default=True,
              help="vCPUs that are plugged before the boot.")  # fmt: skip
@click.option("--before-boot", is_flag=True,
              help="What may come before the boot comes in every order, too.")  # fmt: skip
@click.option("--commands", type=int,
              help="Plugs and unplugs in flight at most; any number if not given.")  # fmt: skip
@click.option("--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
              help="Decision diagrams, or a breadth-first search.")  # fmt: skip
@click.option("--rules", metavar="FILE",
              help="Check another protocol; see `hpcore model protocols`.")  # fmt: skip
@click.option("--mutant", metavar="NAME", help="Check the protocol with this rule broken.")
@click.option("--mutants", is_flag=True, help="Try every mutant, and say what catches it.")
@click.option("--ignore", "ignored", metavar="NAME", multiple=True,
              help="Leave this property out, and see what breaks after it.")  # fmt: skip
@click.option("--from", "origin", metavar="LOG[@SEQ]",
              help="Start from the state after an event of a log.")  # fmt: skip
@click.option("--log", type=OUTPUT_FILE, help="Write the counterexample here.")
@click.option("--graph", type=OUTPUT_FILE,
              help="Draw a small configuration: .mmd, .md, .dot or .gv.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a log or a drawing that exists.")
@click.option("--sweep", "sweep_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Make all the checks of this file.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Sweep on this Dask scheduler.")
@json_option
@click.pass_context
def check(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Prove the invariants, or print the shortest way to break one.

    \b
    hpcore check                                  a hostile guest, resets, migrations, a fault
    hpcore check --slots 16 --guest linux
    hpcore check --mutant eject_powered_off --log broken.jsonl; hpcore replay broken.jsonl
    hpcore check --mutants                        is every rule needed?
    hpcore check --mutant enable_before_wire --ignore built_in_order
                                                  and who would notice?
    hpcore check --from run.jsonl@57              what can happen from there
    hpcore check --rules v6 --mutant lost_at_reset   another protocol, and a bug of it
    hpcore check --rules v6 --mutant lost_at_reset --scenario lost.yaml
    hpcore run lost.yaml --accel qtest --rules v6 --mutant lost_at_reset   on a real GIC
    hpcore check --sweep sweep.yaml               many checks, on all cores
    hpcore check --property mine.py --guest mine.py:MyGuest

    \b
    SCENARIO is a file that `hpcore run` takes. Its steps are taken in their order, in every
    interleaving with the guest, the clock, and what the accelerator may do:
    hpcore check mine.yaml                        does every run go as it says?
    hpcore check mine.yaml --race                 and where commands overlap?
    hpcore check mine.yaml --faults 1             and where an effect fails?
    hpcore check mine.yaml --log found.jsonl --scenario again.yaml
    hpcore run again.yaml --accel qtest           the finding, on a real QEMU

    The model is the code that runs machines: `decide` and `evolve`. Exits with 1 if an
    invariant can be broken, or if something that must be possible never happens; of a
    scenario, if a run does not go as it says.
    """
    out = Output(json=as_json)
    try:
        if options["scenario"] is not None:
            from hpcore.cli.sequence import check_sequence  # noqa: PLC0415 - needs YAML

            check_sequence(ctx, out, options)
        refuse_without_scenario(ctx)
        _refuse_contradictions(ctx, options)
        if options["sweep_file"] is not None:
            from hpcore.cli.sweep import sweep  # noqa: PLC0415 - needs Dask and YAML

            sweep(out, options["sweep_file"], options["scheduler"])
        if options["graph"] is not None:
            check_suffix(options["graph"])
        files = {f"--{_FLAGS.get(x, x)}": options[x] for x in ("log", "graph", "repeat_in")}
        refuse_unwritable(files, force=options["force"])
        start = _start(out, options["origin"])
        environment = _environment(options, start)
        chosen = chosen_by(options["rules"], options["mutant"], options["mutants"], start)
        if options["mutants"] and options["rules"] is not None:
            hunt_in(out, chosen.revision)
        if options["mutants"]:
            from hpcore.cli.mutants import hunt_all  # noqa: PLC0415 - as above

            hunt_all(out, environment, options["engine"])
        own = properties_of(options["property_files"])[len(PROPERTIES) :]
        rules = chosen.rules
        properties = without((*chosen.properties, *own), options["ignored"])
        environment = chosen.within(environment)
        out.say(describe(environment))
        chosen.introduce(out)
        graph = options["graph"]
        if graph is not None:  # before the search: a machine may have too many states to draw
            drawing = draw(tabulate(environment, rules, start, properties), graph)
        with no_collection(), out.progress("starting") as say_now:
            result = prove(
                environment, rules, options["engine"], start, _teller(say_now), properties
            )
        if graph is not None:
            write_file(graph, drawing.text.encode())
            out.say(f"{drawing.states} states drawn in {graph}")
        _report(out, environment, chosen, properties, result, options)
    except (CheckError, EnvironmentRefused, NotTabulable) as error:
        raise Problem(str(error)) from error


def _refuse_contradictions(ctx: click.Context, options: dict[str, Any]) -> None:
    given = {
        name for name in options
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }  # fmt: skip
    for one, other, why in (
        ("mutant", "mutants", "give one mutant, or try all"),
        ("mutants", "ignored", "a mutant is found by whatever it breaks; give --mutant NAME"),
        ("mutants", "log", "a log holds one counterexample; give --mutant NAME"),
        ("mutants", "repeat_in", "a scenario repeats one counterexample; give --mutant NAME"),
        ("mutants", "graph", "a graph shows one protocol; give --mutant NAME"),
        ("mutants", "origin", "mutants are looked for from the start"),
        ("origin", "slots", "the log says how many slots there are"),
        ("origin", "boot", "the log says how many vCPUs boot"),
        ("origin", "before_boot", "the log's machine was booted"),
        ("origin", "repeat_in", "the scenario begins with the machine's boot"),
        ("before_boot", "repeat_in", "the scenario begins with the machine's boot"),
        ("graph", "before_boot", "a graph begins with a machine that starts"),
    ):
        if {one, other} <= given:
            flags = " and ".join(f"--{_FLAGS.get(x, x)}" for x in (one, other))
            raise CheckError(f"{flags} contradict each other: {why}")
    beside = given - {"sweep_file", "scheduler", "as_json"}
    if "sweep_file" in given and beside:
        raise CheckError(f"--sweep takes its options from the file; leave out --{min(beside)}")
    if "scheduler" in given and "sweep_file" not in given:
        raise CheckError("--scheduler is for a sweep; give --sweep FILE as well")


_FLAGS = {"origin": "from", "ignored": "ignore", "before_boot": "before-boot",
          "repeat_in": "scenario"}  # fmt: skip
"""Options that are called otherwise than their values."""


def _start(out: Output, origin: str | None) -> Start | None:
    if origin is None:
        return None
    path, seq = origin, None
    found = re.fullmatch(r"(.+)@(\d+)", origin)
    if found is not None and not Path(origin).exists():
        path, seq = found[1], int(found[2])
    from hpcore.check.evidence import start_from  # noqa: PLC0415 - reads logs

    start = start_from(path, seq)
    say_wrapping(out, path, start.wrapping)
    reached = sum(len(decision.events) for decision in start.decisions)
    if seq is not None and reached > seq:
        out.say(f"Event {seq} was decided together with those up to {reached}: starting after them")
    return start


def _environment(options: dict[str, Any], start: Start | None) -> Environment:
    wanted = {f.name: options[f.name] for f in attrs.fields(Environment)}
    if start is not None:
        topology = start.state.config.topology
        wanted |= {"slots": topology.maxcpus, "boot": topology.cpus}
    return Environment(**wanted)


def _teller(say_now: Callable[[str], None]) -> Tell:
    """Says how far a check is."""
    began = time.monotonic()

    def tell(progress: Progress) -> None:
        taken = time.monotonic() - began
        words = [f"{progress.engine}: {progress.doing}"]
        if progress.states is not None:
            rate = progress.states / max(taken, 0.1)
            words.append(f"{progress.states:,} states, {rate:,.0f} a second")
        if progress.nodes is not None:
            words.append(f"{progress.nodes:,} nodes")
        say_now("; ".join([*words, human(peak()), f"{taken:.0f} s"]))

    return tell


def _report(
    out: Output,
    environment: Environment,
    chosen: Chosen,
    properties: Properties,
    result: Result,
    options: dict[str, Any],
) -> NoReturn:
    counts = [f"{many(result.states)} states"]
    if result.transitions is not None:
        counts.append(f"{result.transitions:,} transitions")
    if result.depth is not None:
        counts.append(f"depth {result.depth}")
    out.say(f"{result.engine}: {', '.join(counts)}, {result.seconds:.1f} s, {human(result.memory)}")
    found = result.counterexample
    told: dict[str, object] = {}
    if found is not None:
        _show(out, found, result)
        _write(out, found, chosen, properties, options)
        told = repeat(out, found, chosen, options)
    for rule in of_kind(properties, Kind.SOMETIMES):
        if rule.name in result.missing:
            out.say(f"Never happens: {rule.name}: {rule.says}", style="bold red")
    for what in result.endless or ():
        out.say(f"Need never end: {what}", style="bold red")
    if result.proven:
        liveness = "; every command ends" if result.endless is not None else ""
        held = len(of_kind(properties, Kind.ALWAYS))
        out.say(
            f"Proven: {held} invariants hold in every state and at every event"
            f"{liveness}.", style="green",
        )  # fmt: skip
        chosen.say_more(out)
    out.end(
        result.proven,
        engine=result.engine,
        states=result.states if result.states < 1 << 63 else many(result.states),
        seconds=round(result.seconds, 3),
        memory=result.memory,
        depth=result.depth,
        transitions=result.transitions,
        violations=list(result.violations),
        missing=list(result.missing),
        endless=None if result.endless is None else list(result.endless),
        environment=environment.plain,
        **({} if chosen.written_down is None else {"rules": chosen.written_down.plain}),
        counterexample=_plain(found),
        **told,
    )


def _show(out: Output, found: Counterexample, result: Result) -> None:
    out.say(
        f"Broken: {found.invariant}, for vCPU {found.slot}, in {steps(found.length)}: {found.says}",
        style="bold red",
    )
    others = [name for name in result.violations if name != found.invariant]
    if others:
        out.say(f"Further from the start also: {', '.join(others)}")
    if found.invariant in NOTICED:
        out.say(f"Who notices: {NOTICED[found.invariant]}")
    for n, stimulus in enumerate(found.stimuli, 1):
        out.say(f"{n:>4}  {say(stimulus)}")


def _write(
    out: Output,
    found: Counterexample,
    chosen: Chosen,
    properties: Properties,
    options: dict[str, Any],
) -> None:
    path: Path | None = options["log"]
    if path is None:
        return
    from hpcore.check.evidence import write_log  # noqa: PLC0415 - writes logs
    from hpcore.triage.replay import replay  # noqa: PLC0415 - reads logs

    written = write_log(
        path, found, chosen.rules, chosen.name, overwrite=options["force"],
        properties=properties, protocol=chosen.written_down,
    )  # fmt: skip
    out.say(f"{written} events in {path}; see `hpcore replay {path}`")
    if replay(path).ok and found.invariant in {p.name for p in PROPERTIES}:
        by = chosen.written_down
        whose = "hpcore's own rules" if by is None else f"the rules of {by.name}"
        out.say(
            f"A replay is by {whose}, by which no event of this log is wrong: it shows the way, "
            "and finds nothing."
        )


def _plain(found: Counterexample | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "invariant": found.invariant, "slot": found.slot, "length": found.length,
        "noticed": NOTICED.get(found.invariant),
        "stimuli": [say(s) for s in found.stimuli],
    }  # fmt: skip
