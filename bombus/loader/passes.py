"""The steps of a load, each `(State) -> None`, in the order of PASSES.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object_prepare, bpf_object__create_maps, bpf_object_load_prog).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from bombus.bits import ring_size
from bombus.btf.types import DataSec, Kind, Var
from bombus.errors import BombusError, KernelError, LoadError, NeedsKernel, ObjectError, UsageError
from bombus.isa.insn import Insn, encode
from bombus.isa.opcodes import CALL
from bombus.kernel.handles import Btf as BtfHandle
from bombus.kernel.handles import Map, Program
from bombus.kernel.handles.attaching import Origin
from bombus.kernel.handles.features import features
from bombus.kernel.handles.refused import explainer
from bombus.loader.extension import load_extension
from bombus.loader.state import State
from bombus.object.fixup import for_kernel
from bombus.object.model import MapSpec, ProgramSpec
from bombus.object.relocate import core, flatten, reachable, resolve
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.maptypes import BPF_F_MMAPABLE, BPF_F_VTYPE_BTF_OBJ_FD, FLAG, MAP_TYPE, MAP_TYPE_BY_ID

_STRUCT_OPS = "BPF_PROG_TYPE_STRUCT_OPS"
# Maps whose BTF the kernel does not take (libbpf: bpf_object__create_map).
_NO_MAP_BTF = frozenset(
    MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id
    for name in ("PERF_EVENT_ARRAY", "CGROUP_ARRAY", "STACK_TRACE", "ARRAY_OF_MAPS", "HASH_OF_MAPS", "DEVMAP",
                 "DEVMAP_HASH", "CPUMAP", "XSKMAP", "SOCKMAP", "SOCKHASH")
)  # fmt: skip
_OF_MAPS = frozenset(MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id for name in ("ARRAY_OF_MAPS", "HASH_OF_MAPS"))
_STRUCT_OPS_MAP = MAP_TYPE["BPF_MAP_TYPE_STRUCT_OPS"].id
_ARENA = MAP_TYPE["BPF_MAP_TYPE_ARENA"].id
_PROG_ARRAY = MAP_TYPE["BPF_MAP_TYPE_PROG_ARRAY"].id
_PERF = MAP_TYPE["BPF_MAP_TYPE_PERF_EVENT_ARRAY"].id
_RINGS = frozenset(MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id for name in ("RINGBUF", "USER_RINGBUF"))
_PROBE_READS = range(112, 116)  # bpf_probe_read_{user,kernel}{,_str}: include/uapi/linux/bpf.h
_XDP = "BPF_PROG_TYPE_XDP"
_DEV_BOUND = 1 << 6  # BPF_F_XDP_DEV_BOUND_ONLY
_PAGE = 4096
_PINNED = 1
_DEVMAPS = frozenset(MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id for name in ("DEVMAP", "DEVMAP_HASH"))
_DEVMAP_FLAGS = FLAG["BPF_F_RDONLY_PROG"].value
# How the BTF of the kernel names what a program attaches to (libbpf: btf_get_kernel_prefix_kind).
_ATTACH_PREFIX = {
    "BPF_TRACE_RAW_TP": ("btf_trace_", Kind.TYPEDEF),
    "BPF_LSM_MAC": ("bpf_lsm_", Kind.FUNC),
    "BPF_LSM_CGROUP": ("bpf_lsm_", Kind.FUNC),
    "BPF_TRACE_ITER": ("bpf_iter_", Kind.FUNC),
}


def choose(state: State) -> None:
    """Which programs to load."""
    obj, options = state.obj, state.options
    known = {program.name: program for program in obj.programs}
    maps = {spec.name for spec in obj.maps}
    for name in options.pins:
        if name not in maps:
            raise UsageError(f"no map {name!r} in {obj.name}; there are {', '.join(sorted(maps)) or 'none'}")
    own = (*options.autoload, *(n for n in options.autoattach if n not in maps), *options.targets, *options.fields)
    for name in own:
        if name not in known:
            raise UsageError(f"no program {name!r} in {obj.name}; there are {', '.join(known) or 'none'}")
    if obj.byteorder != sys.byteorder:
        raise ObjectError(f"{obj.name} is {obj.byteorder}-endian; kernels here are {sys.byteorder}-endian")
    if options.programs is None:
        state.chosen = [program for program in obj.programs if options.autoload.get(program.name, program.autoload)]
    else:
        for name in options.programs:
            if name not in known:
                raise UsageError(f"no program {name!r} in {obj.name}; there are {', '.join(known) or 'none'}")
            state.chosen.append(known[name])
    for i, program in enumerate(state.chosen):
        if program.prog_type:
            continue
        if not options.prog_type:
            raise ObjectError(
                f"section {program.section!r} does not say what kind of program {program.name!r} is",
                section=program.section, symbol=program.name,
            )
        state.chosen[i] = replace(program, prog_type=options.prog_type)


def relocate_core(state: State) -> None:
    """CO-RE relocations of every function that will be loaded."""
    state.functions = dict(state.obj.functions)
    needed = {name for program in state.chosen for name in reachable(program, state.functions)}
    with_core = [name for name in needed if state.functions[name].core]
    resolver = state.resolver() if with_core else None
    if resolver is None:
        return
    for name in sorted(with_core):
        state.functions[name], state.core[name] = core(state.functions[name], resolver)


def load_btf(state: State) -> None:
    """Hand the object's BTF to the kernel; a kernel that refuses it goes without, as with libbpf."""
    btf = state.obj.btf
    if btf is None or btf.byteorder != "little":
        return
    state.types = for_kernel(btf, state.obj.externs)
    try:
        state.btf = BtfHandle.load(state.kernel, state.types.raw)
        return
    except NeedsKernel:
        return
    except KernelError as error:
        refused = error
    from bombus.loader import sanitize

    lacks = sanitize.lacking(state.types, state.kernel)
    if lacks:
        with suppress(KernelError):
            ready = sanitize.without(state.types, lacks)
            state.func_info = "FUNC" not in lacks
            state.btf = BtfHandle.load(state.kernel, ready.raw)
    if state.btf is None and any(program.prog_type == _STRUCT_OPS for program in state.chosen):
        raise refused


def resolve_externs(state: State) -> None:
    """Values of kconfig externs, places of kernel symbols."""
    if not state.obj.externs:
        return
    from bombus.loader import externs

    typed = any(extern.kind == "kfunc" or (extern.kind == "ksym" and extern.type) for extern in state.obj.externs)
    vmlinux = state.vmlinux() if typed else None
    state.symbols, state.kconfig = externs.resolve(state.obj, state.kernel, vmlinux, state)


def _map_name(spec: MapSpec) -> str:
    return _kernel_name(spec.name)


def _size(state: State, spec: MapSpec) -> MapSpec:
    """Sizes that depend on the machine, or that the caller chose."""
    if spec.section and spec.flags & BPF_F_MMAPABLE and not features(state.kernel).has("array_mmap"):
        spec = replace(spec, flags=spec.flags & ~BPF_F_MMAPABLE)  # as libbpf does; user space then copies
    entries = state.options.max_entries.get(spec.name, spec.max_entries)
    if spec.type == _PERF and not entries:
        entries = state.kernel.possible_cpus
    if spec.type in _RINGS and entries:
        entries = ring_size(entries, _PAGE)
    return replace(spec, max_entries=entries) if entries != spec.max_entries else spec


def create_maps(state: State) -> None:
    """Make, reuse or open every map."""
    for spec in state.obj.maps:
        if spec.type == _STRUCT_OPS_MAP:
            if spec.name in state.struct_ops:
                _create_struct_ops(state, spec)
            continue
        spec = _size(state, spec)
        state.specs[spec.name] = spec
        given = state.options.reuse.get(spec.name)
        if given is not None:
            state.maps[spec.name] = given
            continue
        path = _pin_path(state, spec)
        found = _open_pinned(state, spec, path) if path else None
        if found is None:
            found = _create(state, spec)
            if path:
                found = _pin_new(state, spec, found, path)
        state.maps[spec.name] = found


def _create_struct_ops(state: State, spec: MapSpec) -> None:
    ops = state.struct_ops[spec.name]
    if state.btf is None:
        raise ObjectError("struct_ops need BTF that the kernel takes", symbol=spec.name)
    fields: dict[str, Any] = {"btf_vmlinux_value_type_id": ops.value_type, "btf_fd": state.btf.fd}
    flags = spec.flags
    if ops.module:
        fields["value_type_btf_obj_fd"] = state.module_fd(ops.module)
        flags |= BPF_F_VTYPE_BTF_OBJ_FD
    ops.map = state.maps[spec.name] = Map.create(
        state.kernel, MAP_TYPE_BY_ID[spec.type], 4, len(ops.data), 1, flags=flags, name=_map_name(spec), **fields
    )
    state.specs[spec.name] = spec


def plan_struct_ops(state: State) -> None:
    """Which struct_ops maps there will be: those whose programs are all chosen; and what their programs are for."""
    chosen = {program.name for program in state.chosen}
    for spec in state.obj.maps:
        if spec.type != _STRUCT_OPS_MAP:
            continue
        members = {name for _, name in spec.values}
        if not members <= chosen if members else state.options.programs is not None:
            continue
        vmlinux = state.vmlinux()
        if vmlinux is None or state.obj.btf is None:
            raise ObjectError("struct_ops need the kernel's BTF, and there is none", symbol=spec.name)
        from bombus.loader import structops

        ops = state.struct_ops[spec.name] = structops.plan(spec, state.obj.btf, vmlinux, state.modules())
        ops.autoattach = state.options.autoattach.get(spec.name, True)
        for name, _, member in ops.functions:
            before = state.members.setdefault(name, (ops, member))
            if before[0].type_id != ops.type_id or before[1] != member:
                raise ObjectError(f"program {name!r} stands for different members of struct_ops", symbol=spec.name)
    for program in state.chosen:
        if program.prog_type == _STRUCT_OPS and program.name not in state.members:
            raise ObjectError(f"no struct_ops map that is made uses the program {program.name!r}", symbol=program.name)


def fill_struct_ops(state: State) -> None:
    """Put descriptors of programs in the place of their pointers."""
    for ops in state.struct_ops.values():
        for name, at, _ in ops.functions:
            ops.data[at : at + 8] = state.programs[name].fd.to_bytes(8, "little")


def _pin_path(state: State, spec: MapSpec) -> str:
    """Where a map is, or will be pinned; "" for one that is not."""
    given = state.options.pins.get(spec.name)
    if given is not None:
        return given
    if spec.pinning != _PINNED or not state.options.pin_root:
        return ""
    return os.path.join(state.options.pin_root, spec.name.replace(".", "_"))


def _pin_new(state: State, spec: MapSpec, made: Map, path: str) -> Map:
    """Pin a map that was just made; when another process was faster, its map is used."""
    try:
        made.pin(path)
    except KernelError as error:
        made_first = _open_pinned(state, spec, path) if error.errno == 17 else None  # EEXIST
        made.close()
        if made_first is None:
            raise
        return made_first
    return made


def _open_pinned(state: State, spec: MapSpec, path: str) -> Map | None:
    try:
        found = Map.pinned(state.kernel, path)
    except KernelError as error:
        if error.errno == 2:
            return None
        raise
    info = found.info()
    wanted = {
        "type": spec.type, "key_size": spec.key_size, "value_size": spec.value_size, "max_entries": spec.max_entries,
        "map_flags": spec.flags, "map_extra": spec.map_extra,
    }  # fmt: skip
    # The kernel adds BPF_F_RDONLY_PROG to devmaps by itself (libbpf: map_is_reuse_compat does the same).
    there = {name: int(info[name]) for name in wanted}
    if spec.type in _DEVMAPS:
        there["map_flags"] &= ~_DEVMAP_FLAGS
    wrong = [f"{name} {there[name]} instead of {value}" for name, value in wanted.items() if there[name] != value]
    if wrong:
        found.close()
        raise ObjectError(f"the map pinned at {path} is another one: {', '.join(wrong)}", symbol=spec.name)
    return _typed(state, spec, found)


def _typed(state: State, spec: MapSpec, made: Map) -> Map:
    btf = state.types or state.obj.btf
    if btf is None or not (spec.key_type or spec.value_type):
        return made
    try:
        return made.with_types(btf, spec.key_type, spec.value_type)
    except BombusError:
        made.close()
        raise


def _create(state: State, spec: MapSpec) -> Map:
    fields: dict[str, Any] = {}
    if spec.numa_node:
        fields["numa_node"] = spec.numa_node
    if spec.map_extra:
        fields["map_extra"] = spec.map_extra
    if spec.type != _PERF:  # an offloaded program's events come out here
        fields |= _of_device(state, "map_ifindex")
    inner = None
    if spec.type in _OF_MAPS and spec.inner is not None:
        inner = _create(state, _size(state, replace(spec.inner, name=f"{spec.name}.inner")))
    described = state.btf is not None and (spec.key_type or spec.value_type) and spec.type not in _NO_MAP_BTF
    if described and state.btf is not None:
        fields |= {
            "btf_fd": state.btf.fd, "btf_key_type_id": spec.key_type, "btf_value_type_id": spec.value_type,
        }  # fmt: skip
    type_ = MAP_TYPE_BY_ID.get(spec.type)
    if type_ is None:
        raise ObjectError(f"map type {spec.type} is not known", symbol=spec.name)

    def make(more: dict[str, Any]) -> Map:
        return Map.create(
            state.kernel, type_, spec.key_size, spec.value_size, spec.max_entries, flags=spec.flags,
            name=_map_name(spec), inner=inner, **more,
        )  # fmt: skip

    try:
        made = make(fields)
    except NeedsKernel:
        raise
    except KernelError:
        if not described:
            raise
        # Old kernels, and some kinds of maps, take no BTF.
        made = make({k: v for k, v in fields.items() if not k.startswith("btf_")})
    finally:
        if inner is not None:
            inner.close()
    return _typed(state, spec, made)


def _of_device(state: State, field: str) -> dict[str, Any]:
    """The field that says which interface is to have a map or program."""
    return _interface(state, field, state.options.device)


def _interface(state: State, field: str, device: str | int) -> dict[str, Any]:
    if not device:
        return {}
    return {field: device if isinstance(device, int) else state.kernel.sites.ifindex(device)}


def _is_bound(state: State, program: ProgramSpec) -> bool:
    return bool(state.options.bound) and program.prog_type == _XDP


def _contents(state: State, spec: MapSpec) -> bytes | None:
    """The first value of a data map, with what the caller chose put in."""
    if spec.section == ".kconfig":
        return state.kconfig
    if not spec.section or spec.data is None:
        return None
    chosen = state.options.data
    whole = chosen.get(spec.section)
    data = bytearray(spec.data)
    if whole is not None:
        if not isinstance(whole, (bytes, bytearray, memoryview)) or len(whole) != len(data):
            raise UsageError(f"{spec.section} takes {len(data)} bytes")
        data[:] = whole
    btf = state.obj.btf
    described = btf.type(spec.value_type) if btf is not None and spec.value_type else None
    if btf is not None and isinstance(described, DataSec):
        for place in described.vars:
            var = btf.type(place.type)
            if isinstance(var, Var) and var.name in chosen:
                from bombus.btf.data import layout_of, to_bytes

                data[place.offset : place.offset + place.size] = to_bytes(
                    layout_of(btf, var.type), chosen[var.name]
                )
    return bytes(data)


def fill_maps(state: State) -> None:
    """Contents of data maps; read-only ones are then frozen."""
    known = {
        var.name
        for spec in state.obj.maps
        for var in _variables(state, spec)
    } | {spec.section for spec in state.obj.maps}
    for name in state.options.data:
        if name not in known:
            raise UsageError(f"no variable or section {name!r} in {state.obj.name}")
    for spec in state.specs.values():
        target = state.maps[spec.name]
        if spec.type == _ARENA:
            # Programs load only once the arena has its address, which the first mmap chooses.
            view = state.arenas[spec.name] = target.kernel.mmap(target.fd, spec.max_entries * _PAGE)
            view[: len(spec.data or b"")] = spec.data or b""
            continue
        data = _contents(state, spec)
        if data is None:
            continue
        target.raw[(0).to_bytes(4, "little")] = data
        if spec.frozen:
            with suppress(NeedsKernel):  # before 5.2 nothing can be frozen, and nothing needs it
                target.freeze()


def _variables(state: State, spec: MapSpec) -> list[Var]:
    btf = state.obj.btf
    described = btf.type(spec.value_type) if btf is not None and spec.value_type and spec.section else None
    if btf is None or not isinstance(described, DataSec):
        return []
    found = [btf.type(place.type) for place in described.vars]
    return [var for var in found if isinstance(var, Var)]


def _map_fd(state: State, name: str) -> int:
    if name in state.maps:
        return state.maps[name].fd
    for spec in state.specs.values():
        if spec.section == name:
            return state.maps[spec.name].fd
    raise ObjectError(f"no map {name!r}", symbol=name)


def load_programs(state: State) -> None:
    """Put every program together and hand it to the kernel."""
    for program in state.chosen:
        load_program(state, program, put_together(state, program))


class Ready(NamedTuple):
    """A program put together. fields: more of BPF_PROG_LOAD's attr."""

    insns: list[Insn]
    attach_type: str | int
    fields: dict[str, Any]


def put_together(state: State, program: ProgramSpec) -> Ready:
    """Everything of one program but the load; may ask the kernel what it can do."""
    flat = flatten(program, state.functions)
    state.flat[program.name] = flat
    insns = _for_old_kernels(state, resolve(flat, state.obj, lambda name: _map_fd(state, name), state.symbols))
    bound = _is_bound(state, program)
    fields = _interface(state, "prog_ifindex", state.options.bound) if bound else _of_device(state, "prog_ifindex")
    if state.btf is not None and state.func_info and flat.func_info:
        fields["prog_btf_fd"] = state.btf.fd
        records = flat.func_info_bytes()
        fields |= {
            "func_info": records, "func_info_rec_size": 8, "func_info_cnt": len(flat.func_info),
        }  # fmt: skip
        if flat.line_info:
            fields |= {
                "line_info": flat.line_info_bytes(), "line_info_rec_size": 16,
                "line_info_cnt": len(flat.line_info),
            }  # fmt: skip
    if state.fd_array:
        fields["fd_array"] = b"".join(fd.to_bytes(4, "little") for fd in (0, *state.fd_array.values()))
    attach_type = _attach_type(state, program)
    if program.name in state.members and program.prog_type == _STRUCT_OPS:
        ops, attach_type = state.members[program.name]
        fields["attach_btf_id"] = ops.type_id
        if ops.module:
            fields["attach_btf_obj_fd"] = state.module_fd(ops.module)
    elif program.attach_btf:
        fields |= _attach_target(state, program)
    if state.options.sign is not None:
        from bombus.loader.signing import signed

        fields |= signed(encode(insns), state.options.sign, state.options.keyring)
    # Kernels before 5.0 compare it for kprobes; libbpf sends it always.
    fields |= state.options.fields.get(program.name, {})
    fields["kern_version"] = state.obj.version or state.kernel.version.code
    return Ready(insns, attach_type, fields)


def load_program(state: State, program: ProgramSpec, ready: Ready) -> None:
    """Hand one program to the kernel."""
    try:
        loaded = state.programs[program.name] = Program.load(
            state.kernel, program.prog_type, ready.insns, license=state.obj.license, name=prog_name(program),
            attach_type=ready.attach_type,
            flags=program.flags | (_DEV_BOUND if _is_bound(state, program) else 0), log_level=state.options.log_level,
            **ready.fields,
        )  # fmt: skip
    except LoadError as error:
        _check_global_data(state, error)
        flat = state.flat[program.name]
        error.explainer = explainer(encode(ready.insns), state.types or state.obj.btf, flat.line_info)
        error.add_note(f"program {program.name!r} of {state.obj.name}")
        raise
    _bind_rodata(state, loaded)
    loaded.origin = Origin(
        program.section, program.attach_type,
        state.options.autoattach.get(program.name, program.autoattach), state.maps, state.shared, state.obj.btf,
        partial(load_extension, state, program), program.flags,
    )


def _check_global_data(state: State, error: LoadError) -> None:
    """NeedsKernel when the kernel refuses programs because they use variables."""
    if any(spec.section for spec in state.specs.values()) and not features(state.kernel).has("global_data"):
        raise NeedsKernel(
            error.errno or 0, error.call, feature=f"global data ({state.obj.name} has variables)", since="5.2",
            version=str(state.kernel.version),
        ) from error  # fmt: skip


def _bind_rodata(state: State, program: Program) -> None:
    """Read-only data lives as long as each program, also those that do not use it: tools find settings there.

    libbpf: bpf_object_load_prog. Kernels before 5.10 have no such command, and nobody needs it.
    """
    for spec in state.specs.values():
        if spec.section.startswith(".rodata"):
            with suppress(KernelError):
                program.bind_map(state.maps[spec.name].fd)


def _for_old_kernels(state: State, insns: list[Insn]) -> list[Insn]:
    """Kernels before 5.5 have one bpf_probe_read for user and kernel memory (libbpf: bpf_object__sanitize_prog)."""
    if not any(insn.opcode == CALL and not insn.src and insn.imm in _PROBE_READS for insn in insns):
        return insns
    if features(state.kernel).has("probe_read_kernel"):
        return insns
    from bombus.spec.helpers import HELPER  # many rows, which only old kernels need here

    one = {
        HELPER[f"probe_read_{memory}{kind}"].id: HELPER[f"probe_read{kind}"].id
        for memory in ("kernel", "user")
        for kind in ("", "_str")
    }
    return [
        insn._replace(imm=one[insn.imm])
        if insn.opcode == CALL and not insn.src and insn.imm in one
        else insn
        for insn in insns
    ]


def prog_name(program: ProgramSpec) -> str:
    return _kernel_name(program.name)


def _kernel_name(name: str) -> str:
    """What a kernel takes as a name (bpf_obj_name_cpy): letters, digits, `_` and `.`, up to 15."""
    return "".join(letter if (letter.isascii() and letter.isalnum()) or letter in "_." else "_" for letter in name[:15])


def _attach_type(state: State, program: ProgramSpec) -> str | int:
    name = program.attach_type
    if not name:
        return 0
    row = ATTACH_TYPE.get(name)
    if row is None:
        raise ObjectError(f"attach type {name} is not known", symbol=program.name)
    if program.attach == "optional" and not features(state.kernel).has("exp_attach_type"):
        return 0
    return name


def _attach_target(state: State, program: ProgramSpec) -> dict[str, int]:
    """Fields for what a program attaches to: a kernel (or module's) function or type, or a program's function."""
    given = state.options.targets.get(program.name)
    if given is not None:
        from bombus.kernel.handles.attach.tracing import function_id

        item, function = given if isinstance(given, tuple) else (given, program.target)
        return {"attach_prog_fd": item.fd, "attach_btf_id": function_id(item, function)}
    if program.prog_type == "BPF_PROG_TYPE_EXT":
        raise UsageError(
            f"{program.name!r} replaces a function of another program: give targets={{{program.name!r}: program}}"
        )
    prefix, kind = _ATTACH_PREFIX.get(program.attach_type, ("", Kind.FUNC))
    vmlinux = state.vmlinux()
    if vmlinux is None:
        raise ObjectError(f"{program.name!r} attaches by kernel BTF, and there is none", symbol=program.name)
    module, colon, target = program.target.rpartition(":")
    if not module or module == "vmlinux":
        found = vmlinux.find(prefix + target, kind)
        if found is not None:
            return {"attach_btf_id": found}
    for name, btf in state.modules().items() if not colon or module != "vmlinux" else ():
        if module in ("", name):
            found = next((i for i in btf.find_all(prefix + target, kind) if i >= btf.first_id), None)
            if found is not None:
                return {"attach_btf_id": found, "attach_btf_obj_fd": state.module_fd(name)}
    watches = program.attach_type in ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT")
    hint = f"; if it is a program's: targets={{{program.name!r}: program}}" if watches else ""
    text = f"{program.name!r} attaches to {program.target!r}, which is not in the kernel's BTF{hint}"
    raise ObjectError(text, symbol=program.name)


def fill_fd_arrays(state: State) -> None:
    """Initial values of prog arrays and of maps of maps."""
    for spec in state.specs.values():
        for index, name in spec.values if spec.type != _STRUCT_OPS_MAP else ():
            target = state.maps[spec.name]
            if spec.type == _PROG_ARRAY:
                program = state.programs.get(name)
                if program is not None:
                    target[index] = program
            elif name in state.maps:
                target[index] = state.maps[name]
            else:
                raise ObjectError(f"{spec.name}[{index}] names {name!r}, which is not there", symbol=spec.name)


PASSES: tuple[Callable[[State], None], ...] = (
    choose, relocate_core, plan_struct_ops, load_btf, resolve_externs, create_maps, fill_maps, load_programs,
    fill_fd_arrays, fill_struct_ops,
)  # fmt: skip
