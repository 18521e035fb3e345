"""What is changed: one small change of one place, under the operator's name.

A change replaces a stretch of the source by a text. An element is dropped by putting `*()` or
`**{}` in its place, which adds nothing; so all that stands around it can stay as it is.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen

from tests.mutation.places import is_aside

Members = Mapping[str, Sequence[str]]
"""The members of each enumeration of the project, by its name."""

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip
BUILTINS = {"any": "all", "all": "any", "min": "max", "max": "min"}


@frozen
class Change:
    """`text` in the place of what stands from `start` to `end`, each a (line, column)."""

    operator: str
    start: tuple[int, int]
    end: tuple[int, int]
    text: str


def changes(node: ast.AST, parent: ast.AST | None, members: Members) -> Iterator[Change]:
    """Every change of `node` itself; those of its parts are theirs."""
    for operator in _BY_KIND.get(type(node), ()):
        yield from operator(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield from _other_member(node, node.value.id, members)
    if isinstance(node, ast.expr) and _decides(node, parent) and not _has_opposite(node):
        yield _at(node, "negated", f"not ({ast.unparse(node)})")


def _at(node: ast.AST, operator: str, text: str, last: ast.AST | None = None) -> Change:
    first, last = node, last or node
    assert isinstance(first, _PLACED) and isinstance(last, _PLACED)
    return Change(operator, (first.lineno, first.col_offset),
                  (last.end_lineno or 0, last.end_col_offset or 0), text)


_PLACED = (ast.expr, ast.stmt, ast.keyword, ast.excepthandler, ast.pattern, ast.arg)


def _text(node: ast.expr) -> str:
    """The source of `node`, so that it may stand in the place of what it is a part of."""
    safe = (ast.Name, ast.Attribute, ast.Call, ast.Constant, ast.Subscript, ast.Compare)
    return ast.unparse(node) if isinstance(node, safe) else f"({ast.unparse(node)})"


# ------------------------------------------------------------------- expressions


def _compare(node: ast.Compare) -> Iterator[Change]:
    for i, op in enumerate(node.ops):
        for other in COMPARISONS[type(op)]:
            changed = copy.copy(node)
            changed.ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
            yield _at(node, "compare", ast.unparse(changed))


def _bool(node: ast.BoolOp) -> Iterator[Change]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield _at(node, "and-or", f"({ast.unparse(ast.BoolOp(other, node.values))})")
    for i in range(len(node.values)):
        left = [*node.values[:i], *node.values[i + 1 :]]
        text = _text(left[0]) if len(left) == 1 else ast.unparse(ast.BoolOp(node.op, left))
        yield _at(node, "condition dropped", text)


def _unary(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        yield _at(node, "not dropped", _text(node.operand))
    else:
        yield _at(node, "sign dropped", _text(node.operand))


def _arithmetic(node: ast.BinOp) -> Iterator[Change]:
    if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str | bytes):
        return
    yield _at(node, "arithmetic",
              f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})")


def _constant(node: ast.Constant) -> Iterator[Change]:
    match node.value:
        case bool(value):
            yield _at(node, "constant", repr(not value))
        case int(value) | float(value):
            yield _at(node, "constant", repr(value + 1))
        case str(value) if " " in value.strip():
            yield _at(node, "text", '""')
        case str(value):
            yield _at(node, "constant", repr(f"XX{value}"))
        case bytes(value):
            yield _at(node, "constant", repr(b"XX" + value))


def _text_made(node: ast.JoinedStr) -> Iterator[Change]:
    yield _at(node, "text", '""')


def _elements(node: ast.Tuple | ast.List | ast.Set) -> Iterator[Change]:
    if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        yield from (_at(element, "element dropped", "*()") for element in node.elts)


def _items(node: ast.Dict) -> Iterator[Change]:
    for key, value in zip(node.keys, node.values, strict=True):
        if key is not None:
            yield _at(key, "element dropped", "**{}", value)


def _call(node: ast.Call) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and (other := BUILTINS.get(node.func.id)):
        yield _at(node.func, "builtin", other)
    for keyword in node.keywords:
        if keyword.arg is not None and not is_aside(node, keyword):
            yield _at(keyword, "argument dropped", "**{}")


def _other_member(node: ast.Attribute, name: str, members: Members) -> Iterator[Change]:
    """Another member of the same enumeration: the next one."""
    names = members.get(name, ())
    if node.attr in names and len(names) > 1:
        other = names[(names.index(node.attr) + 1) % len(names)]
        yield _at(node, "member", f"{name}.{other}")


def _decides(node: ast.expr, parent: ast.AST | None) -> bool:
    """Whether `node` decides which way the program goes."""
    match parent:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            return node is test
        case ast.comprehension(ifs=ifs):
            return node in ifs
        case ast.match_case(guard=guard):
            return node is guard
    return False


def _has_opposite(node: ast.expr) -> bool:
    """Whether another operator makes the opposite of `node` already, or it is a constant."""
    match node:
        case ast.Compare(ops=[_]) | ast.Constant():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return True
    return False


# -------------------------------------------------------------------- statements


def _dropped(node: ast.stmt) -> Iterator[Change]:
    yield _at(node, "statement dropped", "pass")


def _expression(node: ast.Expr) -> Iterator[Change]:
    yield from _dropped(node)


def _assignment(node: ast.Assign) -> Iterator[Change]:
    if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
        yield from _dropped(node)


def _return(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not isinstance(node.value, ast.Constant):
        yield _at(node, "return", "return None")


def _continue(node: ast.Continue) -> Iterator[Change]:
    yield _at(node, "break-continue", "break")


def _break(node: ast.Break) -> Iterator[Change]:
    yield _at(node, "break-continue", "continue")


def _loop(node: ast.For | ast.AsyncFor) -> Iterator[Change]:
    yield _at(node.iter, "loop", "()")


def _handler(node: ast.ExceptHandler) -> Iterator[Change]:
    """The error is caught no more."""
    if not isinstance(node.body[0], ast.Raise) or node.body[0].exc is not None:
        yield _at(node.body[0], "handler", "raise", node.body[-1])


def _case(node: ast.match_case) -> Iterator[Change]:
    """The case is never taken."""
    if node.guard is None:
        yield _at(node.pattern, "case", f"{ast.unparse(node.pattern)} if False")


_BY_KIND: dict[type[ast.AST], tuple[Callable[..., Iterator[Change]], ...]] = {
    ast.Compare: (_compare,), ast.BoolOp: (_bool,), ast.UnaryOp: (_unary,),
    ast.BinOp: (_arithmetic,), ast.Constant: (_constant,), ast.JoinedStr: (_text_made,),
    ast.Tuple: (_elements,), ast.List: (_elements,), ast.Set: (_elements,), ast.Dict: (_items,),
    ast.Call: (_call,), ast.Expr: (_expression,), ast.Assign: (_assignment,),
    ast.AugAssign: (_dropped,), ast.Delete: (_dropped,), ast.Raise: (_dropped,),
    ast.Return: (_return,), ast.Continue: (_continue,), ast.Break: (_break,),
    ast.For: (_loop,), ast.AsyncFor: (_loop,), ast.ExceptHandler: (_handler,),
    ast.match_case: (_case,),
}  # fmt: skip
