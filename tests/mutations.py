"""Breaks a module one line at a time and says which breaks the everyday tests of its room do not notice.

    python tests/mutations.py evaluator/measures/global_sdr.py --number 10
    python tests/mutations.py my_submission/ensemble/combine.py --tests tests/my_submission/ensemble --all

Each break is small: a comparison or an operator turned around, a number one more, a condition negated, a call left
out, nothing returned. It is made in a copy of the working tree. A break that no test notices is either a hole in the
tests or changes nothing (such are printed, too: a person decides). The exit code is 1 if more than one in twenty
survived.
"""

import argparse
import ast
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.working_copy import ROOT, copy_working_tree

OTHERS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
EVERYDAY = "not slow and not thorough and not container and not isolation"
PATIENCE = 5.0  # times what the tests take, for a break that runs without end
SPARE_SECONDS = 60.0
MOST_SURVIVORS = 1 / 20


@dataclass(frozen=True)
class Break:
    """A piece of the source, by its place, and what stands there instead."""

    line: int
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def breaks(source: bytes) -> Iterator[Break]:
    """Every break of a module, in the order of its syntax tree; annotations and docstrings are left alone."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def replaced(node: ast.expr | ast.stmt, by: ast.AST | str) -> Break:
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        # In parentheses, since what is around it may bind closer.
        text = by if isinstance(by, str) else f"({ast.unparse(by)})"
        return Break(node.lineno, start, end, text)

    for node in _running(ast.parse(source)):
        match node:
            case ast.Compare(ops=[operator]) if type(operator) in OTHERS:
                yield replaced(node, ast.Compare(node.left, [OTHERS[type(operator)]()], node.comparators))  # type: ignore[list-item]
            case ast.BinOp(op=operator) if type(operator) in OTHERS:
                yield replaced(node, ast.BinOp(node.left, OTHERS[type(operator)](), node.right))  # type: ignore[arg-type]
            case ast.BoolOp(op=operator):
                yield replaced(node, ast.BoolOp(OTHERS[type(operator)](), node.values))  # type: ignore[arg-type]
            case ast.UnaryOp(op=ast.Not()):
                yield replaced(node, node.operand)
            case ast.Constant(value=bool(value)):
                yield replaced(node, str(not value))
            case ast.Constant(value=int(value)):
                yield replaced(node, str(value + 1))
            case ast.If() | ast.IfExp():
                yield replaced(node.test, ast.UnaryOp(ast.Not(), node.test))
            case ast.Return(value=ast.expr()):
                yield replaced(node, "return None")
            case ast.Expr(value=ast.Call()):
                yield replaced(node, "pass")


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that compute something when the module runs."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            yield child
            yield from _running(child)


def room_of(module: Path) -> Path:
    """The folder of tests that mirrors the module's."""
    folder = Path("tests") / module.parent
    while not (ROOT / folder).is_dir():
        folder = folder.parent
    return folder


def passes(folder: Path, tests: list[str], most_seconds: float | None = None) -> bool:
    """Whether the everyday tests pass there; what takes longer than allowed does not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", EVERYDAY, *tests]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=most_seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("module", type=Path, help="a file, from the top of the repository")
    parser.add_argument(
        "--tests", nargs="+", help="files or folders; default: the tests of the module's room"
    )
    parser.add_argument("--number", type=int, default=10, help="how many lines to break; default: 10")
    parser.add_argument("--all", action="store_true", help="break everything that can be broken")
    parser.add_argument("--seed", type=int, default=0, help="which lines")
    options = parser.parse_args()
    tests = options.tests or [str(room_of(options.module))]
    source = (ROOT / options.module).read_bytes()
    chosen = list(breaks(source))
    if not options.all:
        random.Random(options.seed).shuffle(chosen)
        chosen = list({each.line: each for each in chosen}.values())[: options.number]
    with tempfile.TemporaryDirectory() as scratch:
        folder = copy_working_tree(Path(scratch))
        began = time.monotonic()
        if not passes(folder, tests):
            print(f"{' '.join(tests)}: these tests do not pass as it is")
            return 2
        patience = PATIENCE * (time.monotonic() - began) + SPARE_SECONDS
        survivors = 0
        for each in sorted(chosen, key=lambda one: one.start):
            (folder / options.module).write_bytes(each.apply(source))
            if survived := passes(folder, tests, patience):
                survivors += 1
            was = source[each.start : each.end].decode().splitlines()[0]
            print(
                f"{'SURVIVED' if survived else 'noticed '} line {each.line}: {was} -> {each.text}", flush=True
            )
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return int(survivors > MOST_SURVIVORS * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
