"""Runs LLVM in a process of its own: a failed assertion there ends this process, not the user's.

Started by path, without site packages: the first argument is the folder of llvmlite. Requests on stdin:
a line `length target cpu level`, then the module's text; answers on stdout: a line `ok length` or `error length`, then
object bytes or a message.
"""

from __future__ import annotations

import sys
from typing import Any


def compile_module(llvm: Any, text: str, target: str, cpu: str, level: int) -> bytes:
    """Text of a module to an object. What is made last ends first: they point to each other inside of LLVM."""
    with (
        llvm.parse_assembly(text) as module,
        llvm.Target.from_triple(target).create_target_machine(cpu=cpu, opt=2, codemodel="small") as machine,
        llvm.create_pipeline_tuning_options(speed_level=level) as tuning,
        llvm.create_pass_builder(machine, tuning) as builder,
    ):
        module.verify()
        with builder.getModulePassManager() as manager:
            manager.run(module, builder)
        data: bytes = machine.emit_object(module)
    return data


def serve() -> None:
    sys.path.insert(0, sys.argv[1])
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    # Exit tests of loops stay on the program's own counters, which verifiers can follow.
    llvm.set_option("bombus", "-disable-lftr")
    llvm.set_option("bombus", "-disable-lsr")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.readline():
        length, target, cpu, level = header.split()
        text = source.read(int(length)).decode()
        try:
            data, word = compile_module(llvm, text, target.decode(), cpu.decode(), int(level)), b"ok"
        except RuntimeError as error:
            data, word = str(error).encode(), b"error"
        sink.write(b"%s %d\n" % (word, len(data)) + data)
        sink.flush()


if __name__ == "__main__":
    serve()
