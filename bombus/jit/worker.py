"""Runs LLVM in a process of its own: a failed assertion there ends this process, not the user's.

Started by path, without site packages: the first argument is the folder of llvmlite. A request on stdin is a line of
JSON (length, and the arguments of `compile_module`) and the module's text; the answer on stdout a line `ok length` or
`error length`, then object bytes or a message.

level 0: few passes and LLVM's fastest code generator. 1, 2, 3: as -O1, -O2, -O3.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_machines: dict[tuple[str, str, str, int, str], Any] = {}


def machine_of(llvm: Any, triple: str, cpu: str, features: str, level: int, relocation: str) -> Any:
    """The code generator, kept for the next module."""
    key = triple, cpu, features, level, relocation
    if key not in _machines:
        if cpu == "host":
            cpu = llvm.get_host_cpu_name()
        if features == "host":
            features = llvm.get_host_cpu_features().flatten()
        _machines[key] = llvm.Target.from_triple(triple).create_target_machine(
            cpu=cpu, features=features, opt=level, reloc=relocation, codemodel="small"
        )
    return _machines[key]


def compile_module(
    llvm: Any,
    text: str,
    *,
    triple: str,
    cpu: str,
    features: str,
    level: int,
    emit: str = "object",
    relocation: str = "pic",
) -> bytes:
    """Text of a module to an object, or to assembly or optimised IR (emit "assembly", "ir")."""
    machine = machine_of(llvm, triple, cpu, features, level, relocation)
    with llvm.parse_assembly(text) as module:
        module.triple = triple
        module.data_layout = str(machine.target_data)
        module.verify()
        with (
            llvm.create_pipeline_tuning_options(speed_level=level) as tuning,
            llvm.create_pass_builder(machine, tuning) as builder,
        ):
            if level:
                with builder.getModulePassManager() as manager:
                    manager.run(module, builder)
            else:
                # One run over the module: a run for each function would register all analyses again each time.
                with llvm.create_new_module_pass_manager() as manager:
                    manager.add_sroa_pass()
                    manager.add_simplify_cfg_pass()
                    manager.run(module, builder)
        if emit == "assembly":
            return bytes(machine.emit_assembly(module), "utf-8")
        if emit == "ir":
            return str(module).encode()
        data: bytes = machine.emit_object(module)
        return data


def serve() -> None:
    sys.path.insert(0, sys.argv[1])
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    ready: set[str] = set()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request: dict[str, Any] = json.loads(line)
        text = source.read(request.pop("length")).decode()
        try:
            if "all" not in ready:
                host = request["cpu"] == "host"
                if not host:
                    llvm.initialize_all_targets()
                    llvm.initialize_all_asmprinters()
                    ready.add("all")
                elif "host" not in ready:
                    llvm.initialize_native_target()
                    llvm.initialize_native_asmprinter()
                    ready.add("host")
            data, word = compile_module(llvm, text, **request), b"ok"
        except RuntimeError as error:
            data, word = str(error).encode(), b"error"
        sink.write(b"%s %d\n" % (word, len(data)) + data)
        sink.flush()


if __name__ == "__main__":
    serve()
