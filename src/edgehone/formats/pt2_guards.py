"""Tell whether a guard of a .pt2 archive only compares the sizes of inputs.

torch.export (torch 2.13) writes a guard for every relation between dynamic sizes that the program relies on, such as
two inputs that share a batch: `L['a'].size()[0] == L['b'].size()[0]`, `(2*L['x'].size()[1]) % 6 == 0`. A guard is
parsed here and never executed.
"""

from __future__ import annotations

import ast
import re
from typing import Any

# Longer guards are refused unread: the parser's time and depth grow with the text.
_LIMIT = 2000
_KEY = re.compile(r"[\w.\-]*")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_FUNCTIONS = ("max", "min")


def is_size_guard(guard: Any) -> bool:
    """Return True for a comparison of integer arithmetic over sizes of inputs, False for anything else."""
    if not isinstance(guard, str) or len(guard) > _LIMIT:
        return False
    try:
        return _is_comparison(ast.parse(guard, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_comparison(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Compare)
        and all(isinstance(operator, _COMPARISONS) for operator in node.ops)
        and all(map(_is_number, [node.left, *node.comparators]))
    )


def _is_number(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int() as value):
            return not isinstance(value, bool)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_number(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return isinstance(operator, _OPERATORS) and _is_number(left) and _is_number(right)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name in _FUNCTIONS and all(map(_is_number, arguments))
        case ast.Subscript(
            value=ast.Call(func=ast.Attribute(value=source, attr="size"), args=[], keywords=[]),
            slice=ast.Constant(value=int()),
        ):
            return _is_input(source)
    return False


def _is_input(node: ast.expr) -> bool:
    """Return True for `L['name']`, and for an entry of an input that is a list or dict: `L['name'][0]['key']`."""
    match node:
        case ast.Subscript(value=container, slice=ast.Constant(value=key)):
            named = isinstance(key, str) and _KEY.fullmatch(key) is not None
            if isinstance(container, ast.Name):
                return container.id == "L" and named
            return (named or isinstance(key, int)) and _is_input(container)
    return False
