"""Properties and guests in files of one's own: asked, and refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcore.check import PROPERTIES, CheckError, Environment, prove
from hpcore.check.own import guest_in, properties_in
from hpcore.model.properties import Kind
from tests.support.command import hpcore

SMALL = Environment(slots=2, faults=0, reset=False, migration=False, power_off=False)

MINE = '''
from attrs import frozen
from hpcore.model.properties import always, eventually, sometimes
from hpcore.model.stimuli import EjectCalled


@always
def as_booted(index, slot, shared):
    """What was not there at boot
    is never enabled."""
    return slot.cold or not slot.enabled


@always(at_rest=True)
def quiet(change):
    return True


@sometimes
def lost(event):
    """The accelerator is gone."""
    return type(event).__name__ == "MachineLost"


@eventually
def looked(index, slot, shared):
    """The guest looks."""
    return slot.insert


@frozen
class Grabs:
    name: str = "grabs"
    reads_registered: bool = False
    leaves_out: frozenset[str] = frozenset({"the_guest_ejects", "cpu_on_is_denied"})

    def calls(self, index, slot, shared):
        yield EjectCalled(index)

    def machine_calls(self, shared):
        return ()


class Half:
    name = "half"


@frozen
class Fails(Grabs):
    def calls(self, index, slot, shared):
        raise RuntimeError("no idea")
        yield
'''


ALWAYS = "from hpcore.model.properties import always\n@always\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.py"
    file.write_text(text)
    return file


def test_a_decorated_function_is_a_property_by_its_name_and_sentence(tmp_path: Path) -> None:
    found = properties_in(written(tmp_path, MINE))
    assert [(p.name, p.kind) for p in found] == [
        ("as_booted", Kind.ALWAYS), ("quiet", Kind.ALWAYS), ("lost", Kind.SOMETIMES),
        ("looked", Kind.EVENTUALLY),
    ]  # fmt: skip
    assert found[0].says == "What was not there at boot is never enabled."
    assert found[0].on_state is not None and found[0].on_event is None
    assert found[1].on_event is not None and found[1].at_rest


def test_the_examples_are_such_files() -> None:
    folder = Path(__file__).parents[2] / "examples"
    found = properties_in(folder / "property_of_your_own.py")
    assert [p.name for p in found] == ["on_means_wired", "known_means_enabled", "taken_while_on"]
    assert guest_in(f"{folder / 'guest_of_your_own.py'}:Deaf").name == "deaf"


def test_properties_of_a_file_are_asked_by_the_engines(tmp_path: Path) -> None:
    as_booted, _quiet, lost, looked = properties_in(written(tmp_path, MINE))
    for engine in ("symbolic", "explicit"):
        asked = (*PROPERTIES, as_booted)
        assert prove(SMALL, engine=engine, properties=asked).violations == ("as_booted",)
    assert prove(SMALL, properties=(*PROPERTIES, lost)).missing == ("lost",)
    assert prove(SMALL, properties=(*PROPERTIES, looked)).endless == ("looked of vCPU 1",)


def test_a_guest_of_a_file_is_asked(tmp_path: Path) -> None:
    guest = guest_in(f"{written(tmp_path, MINE)}:Grabs")
    assert guest.name == "grabs"
    assert prove(Environment(slots=2, faults=0, reset=False, guest=guest)).proven


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_like_it", "line 1: ModuleNotFoundError: No module named"),
        ("x = 1\nraise SystemExit(3)", "line 2: SystemExit: 3"),
        ("def broken(:", "line 1: invalid syntax"),
        ("x = 1", "there is no property in it"),
        ("from hpcore.check import PROPERTIES\nx = PROPERTIES[0]", "there is no property in it"),
        (f"{ALWAYS}def two(one, other):\n  return 1",
         "two cannot be held: its on_state must take"),
        (f"{ALWAYS}def madt_fixed(i, s, m):\n  return 1",
         "two properties are called madt_fixed"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_told_in_words(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=says):
        properties_in(written(tmp_path, text))


def test_a_property_that_raises_says_in_which_line(tmp_path: Path) -> None:
    file = written(tmp_path, (
        "from hpcore.model.properties import always\n\n@always\ndef mine(index, slot, shared):\n"
        "    return slot.nothing_like_it\n"
    ))  # fmt: skip
    with pytest.raises(CheckError, match="mine cannot be asked: line 5: AttributeError"):
        prove(SMALL, properties=(*PROPERTIES, *properties_in(file)))


@pytest.mark.parametrize("asks", ["on_state", "on_event"])
def test_a_property_that_exits_is_no_proof(asks: str, tmp_path: Path) -> None:
    file = written(tmp_path, (
        "from hpcore.model.properties import always\n\ndef leave(*asked):\n"
        f"    raise SystemExit(0)\n\nmine = always('mine', 'Says.', {asks}=leave)\n"
    ))  # fmt: skip
    with pytest.raises(CheckError, match="mine cannot be asked: line 4: SystemExit: 0"):
        prove(SMALL, properties=(*PROPERTIES, *properties_in(file)))


def test_a_directory_is_no_file_of_properties(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="it is a directory"):
        properties_in(tmp_path)


@pytest.mark.parametrize(
    ("says", "why"),
    [("yield 'what'", "makes 'what', which is no call"), ("raise SystemExit(0)", "SystemExit: 0")],
)
def test_a_guest_that_answers_with_no_call_is_told_in_words(
    says: str, why: str, tmp_path: Path
) -> None:
    text = (
        "class Mine:\n"
        "    name, reads_registered, leaves_out = 'mine', False, frozenset()\n"
        f"    def calls(self, index, slot, shared):\n        {says}\n"
        "    def machine_calls(self, shared):\n        return ()\n"
    )
    guest = guest_in(f"{written(tmp_path, text)}:Mine")
    with pytest.raises(CheckError, match=why):
        prove(Environment(slots=2, guest=guest))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nobody", "no class Nobody in it; those that there are: Grabs, Half, Fails"),
        ("Half", "Half has no reads_registered, no leaves_out, no calls, no machine_calls"),
    ],
)
def test_a_guest_that_is_none_is_refused(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=says):
        guest_in(f"{written(tmp_path, MINE)}:{name}")


def test_a_guest_that_raises_says_so(tmp_path: Path) -> None:
    guest = guest_in(f"{written(tmp_path, MINE)}:Fails")
    with pytest.raises(CheckError, match="the guest grabs cannot be asked: line 51: RuntimeError"):
        prove(Environment(slots=2, guest=guest))


def test_the_command_takes_both_and_shows_no_traceback(tmp_path: Path) -> None:
    file = written(tmp_path, MINE)
    few = ("--slots", "2", "--faults", "0", "--no-reset", "--no-migration", "--json")
    mine = hpcore("check", *few, "--engine", "explicit", "--property", file)
    assert mine.code == 1
    assert mine.last["violations"] == ["as_booted"]
    assert "What was not there at boot is never enabled." in mine.err
    assert hpcore("check", *few, "--guest", f"{file}:Grabs").last["environment"]["guest"] == "grabs"
    for arguments, says in (
        (("--guest", "nobody"), "'nobody' is no guest"),
        (("--guest", f"{tmp_path / 'no.py'}:Grabs"), "there is no such file"),
        (("--property", tmp_path / "no.py"), "there is no such file"),
        (("--property", written(tmp_path, "import nothing_like_it")), "No module named"),
    ):
        done = hpcore("check", *few, *arguments)
        assert done.code == 2
        assert says in done.err and "Traceback" not in done.err
