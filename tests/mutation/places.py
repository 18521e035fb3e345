"""Where a change says nothing: annotations, docstrings, diagnostics, imports, assertions."""

from __future__ import annotations

import ast
from collections.abc import Iterator

TYPES_MADE_BY = frozenset({"TypeVar", "NewType", "ParamSpec", "get_logger", "assert_never"})


def skipped(node: ast.AST) -> bool:
    """Whether nothing in `node` is changed."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Global() | ast.Nonlocal():
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring, or the `...` of a protocol
            return True
        case ast.Expr(value=value):
            return skipped(value)
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]):
            return True
        case ast.Assign(value=value) if _is_alias(value):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"))):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in TYPES_MADE_BY
    return False


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of `node` that may be changed."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "type_comment"):
            continue
        if name == "bases" or (name == "slice" and _is_type(node)):
            continue
        if isinstance(node, ast.Call) and name == "args" and _called(node) == "cast":
            parts = node.args[1:]
        else:
            parts = value if isinstance(value, list) else [value]
        for part in parts:
            if isinstance(part, ast.AST) and not skipped(part) and not is_aside(node, part):
                yield part


def is_aside(node: ast.AST, part: ast.AST) -> bool:
    """Whether the argument `part` of the call `node` is for developers alone.

    The name of a task, which a debugger shows; `strict` of zip, which is an assertion.
    """
    match node, part:
        case ast.Call(func=ast.Attribute(attr="create_task")), ast.keyword(arg="name"):
            return True
        case ast.Call(func=ast.Name(id="zip")), ast.keyword(arg="strict"):
            return True
    return False


def _is_alias(value: ast.expr) -> bool:
    """Whether a name is given to a type, as in `Fields = dict[str, object]`."""
    match value:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_alias_part(left) and _is_alias_part(right)
        case ast.Subscript():
            return _is_type(value)
    return False


def _is_alias_part(value: ast.expr) -> bool:
    match value:
        case ast.Name(id=name):
            return not name.isupper()
        case ast.Constant(value=None):
            return True
    return _is_alias(value)


def _is_type(node: ast.AST) -> bool:
    """Whether `node` is a type with parameters, as `dict[str, int]`, and no element of a value."""
    known = ("dict", "list", "tuple", "set", "frozenset", "type", "defaultdict")
    match node:
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in known or (name[:1].isupper() and not name.isupper()
                                     and not _is_string(node.slice))
    return False


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""
