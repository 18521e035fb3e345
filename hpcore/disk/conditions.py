"""`test` and `[` of GRUB's scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNARY = ("-d", "-e", "-f", "-s", "-n", "-z")
NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b, "-ne": lambda a, b: a != b, "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b, "-lt": lambda a, b: a < b, "-le": lambda a, b: a <= b,
}  # fmt: skip
TEXTS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b, ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b,
    "-nt": lambda _a, _b: False, "-ot": lambda _a, _b: False,  # times of files are not looked at
}  # fmt: skip

Look = Callable[[str, str], bool]
"""Whether a file is there, by one of -d -e -f -s and a path."""


def holds(arguments: Sequence[str], look: Look) -> bool:
    """Whether a condition holds: -o binds less than -a, and ! the most.

    What is no condition does not hold, as in GRUB.
    """
    return any(
        all(_one(part, look) for part in _split(alternative, "-a"))
        for alternative in _split(arguments, "-o")
    )


def _split(arguments: Sequence[str], at: str) -> list[list[str]]:
    out: list[list[str]] = [[]]
    for n, argument in enumerate(arguments):
        # `= -a` compares with the text -a
        compares = n > 0 and arguments[n - 1] in TEXTS
        if argument == at and out[-1] and not compares:
            out.append([])
        else:
            out[-1].append(argument)
    return out


def _one(arguments: Sequence[str], look: Look) -> bool:
    args = [a for a in arguments if a not in ("(", ")")] if len(arguments) > 3 else arguments
    negated = False
    while len(args) > 1 and args[0] == "!":
        negated, args = not negated, args[1:]
    return _plain(args, look) != negated


def _plain(args: Sequence[str], look: Look) -> bool:
    if len(args) == 1:
        return bool(args[0])
    if len(args) == 2 and args[0] in UNARY:
        if args[0] in ("-n", "-z"):
            return bool(args[1]) == (args[0] == "-n")
        return look(args[0], args[1])
    if len(args) == 3:
        left, operator, right = args
        if operator in TEXTS:
            return TEXTS[operator](left, right)
        if operator in NUMBERS:
            return NUMBERS[operator](_number(left), _number(right))
    return False


def _number(text: str) -> int:
    try:
        return int(text[:20])
    except ValueError:
        return 0
