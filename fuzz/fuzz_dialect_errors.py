"""Broken programs: pieces of the examples in wrong places. The checker says what is wrong, or the program is right;
LLVM takes what the checker let through.

    python fuzz/fuzz_dialect_errors.py --count 2000 [--seed 1] [--compile]

Prints every exception that is no DialectError, with the program. Exit code 1 when there was one.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import sys
import time
import traceback
import warnings
from pathlib import Path

from bombus.bpf.core import GLOBALS
from bombus.compiler.build import module_text
from bombus.compiler.codegen import CODEGEN
from bombus.compiler.importing import import_source
from bombus.errors import BombusError, CodegenError, DialectError, NotSupported, UsageError

EXAMPLES = Path(__file__).parent.parent / "examples" / "bpf"


class Swap(ast.NodeTransformer):
    """Puts one expression in the place of another."""

    def __init__(self, target: ast.AST, other: ast.AST) -> None:
        self.target = target
        self.other = other

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if node is self.target:
            return copy.deepcopy(self.other)
        return super().generic_visit(node)


def expressions(tree: ast.AST) -> list[ast.expr]:
    """Expressions inside of function bodies, those of f-strings left out: not every tree of them can be written."""
    texts = {id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in ast.walk(text)}
    return [
        part
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        for part in ast.walk(statement)
        if isinstance(part, ast.expr) and id(part) not in texts
        if not isinstance(getattr(part, "ctx", None), ast.Store)
    ]


def broken(rng: random.Random, sources: list[str]) -> str:
    """An example with one to three expressions exchanged, some for those of other examples."""
    tree = ast.parse(rng.choice(sources))
    donor = ast.parse(rng.choice(sources)) if rng.random() < 0.3 else tree
    for _ in range(rng.randrange(1, 4)):
        mine, others = expressions(tree), expressions(donor)
        if not mine or not others:
            break
        tree = Swap(rng.choice(mine), rng.choice(others)).visit(tree)
    return ast.unparse(ast.fix_missing_locations(tree))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="give what is right to LLVM")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sources = [path.read_text() for path in sorted(EXAMPLES.glob("*.py"))]
    counts = {"wrong": 0, "right": 0, "crash": 0}
    start = time.monotonic()
    for seed in range(options.seed, options.seed + options.count):
        rng = random.Random(seed)
        text = broken(rng, sources)
        try:
            module = import_source(text, f"seed-{seed}.py")
            made = module_text(module)
            if options.compile:
                CODEGEN.compile(made)
            counts["right"] += 1
        except (DialectError, NotSupported, UsageError):
            counts["wrong"] += 1
        except CodegenError as error:
            if "BPF stack limit" in error.log:
                counts["wrong"] += 1
                continue
            counts["crash"] += 1
            print(f"seed {seed}: {str(error)[:500]}", flush=True)
        except (Exception, BombusError):
            counts["crash"] += 1
            print(f"seed {seed}:\n{traceback.format_exc(limit=-3)}", flush=True)
        finally:
            GLOBALS.clear()
    print(f"{counts}, {time.monotonic() - start:.0f} s")
    return 1 if counts["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
