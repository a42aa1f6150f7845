"""Imports go only downwards through the layers of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "bombus"

# Same row: no edge between the rooms of it.
LAYERS = [
    {"errors", "bits", "kept"},
    {"spec"},
    {"isa"},
    {"asm", "classic", "btf", "elf", "capture"},
    {"kernel.sites", "kernel.printk"},
    {"kernel.api"},
    {"object", "verifier", "vm", "symbols"},
    {"rewrite", "jit", "bpf"},
    {"kernel.handles", "runtime"},
    {"compiler"},
    {"loader", "kernel.user", "kernel.linux"},
    {"kernels", "replay", "plain", "trace", "profile", "native"},
    {"skeleton"},
    {"cli", ""},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts:
        return ""
    if parts[0] == "kernel" and len(parts) > 1:
        return f"kernel.{parts[1]}"
    return parts[0]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            if node.module in ("bombus", "bombus.kernel"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
                found.discard(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add(f"relative import in {path}")
    return {name for name in found if name.startswith(("bombus.", "relative"))}


def test_imports_go_down() -> None:
    wrong: list[str] = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT.parent).with_suffix("")
        module = ".".join(relative.parts).removesuffix(".__init__")
        room = room_of(module)
        if room == "kernel":  # the bare package holds nothing
            continue
        if room not in RANK:
            wrong.append(f"{module}: room {room!r} is not in the plan")
            continue
        for name in imports_of(path):
            target = room_of(name)
            if target == room:
                continue
            if target not in RANK or RANK[target] >= RANK[room]:
                wrong.append(f"{module} imports {name}")
    assert not wrong, "\n".join(wrong)
