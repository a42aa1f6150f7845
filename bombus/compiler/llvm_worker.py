"""Runs LLVM in a process of its own: a failed assertion there ends this process, not the user's.

Started by path, without site packages: the first argument is the folder of llvmlite. Requests on stdin:
a line `length target cpu level`, then the module's text; answers on stdout: a line `ok length` or `error length`, then
object bytes or a message.
"""

from __future__ import annotations

import sys


def serve() -> None:
    sys.path.insert(0, sys.argv[1])
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.readline():
        length, target, cpu, level = header.split()
        text = source.read(int(length)).decode()
        try:
            module = llvm.parse_assembly(text)
            module.verify()
            machine = llvm.Target.from_triple(target.decode()).create_target_machine(
                cpu=cpu.decode(), opt=2, codemodel="small"
            )
            tuning = llvm.create_pipeline_tuning_options(speed_level=int(level))
            builder = llvm.create_pass_builder(machine, tuning)
            builder.getModulePassManager().run(module, builder)
            data, word = machine.emit_object(module), b"ok"
        except RuntimeError as error:
            data, word = str(error).encode(), b"error"
        sink.write(b"%s %d\n" % (word, len(data)) + data)
        sink.flush()


if __name__ == "__main__":
    serve()
