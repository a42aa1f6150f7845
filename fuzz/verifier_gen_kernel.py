"""Programs with the kernel's types: arguments of what they attach to, walks over pointers, kernel functions.

The writer knows which struct each register points to, and from BTF what lies where in it and which function wants it.
What takes several steps in order (references, sections, iterators, lists, kptrs) is in `verifier_gen_scenes`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from verifier_gen import Label, number
from verifier_gen_calls import CallWriter
from verifier_gen_typed import CTX, HOMES, NUMBER, SIZES, Kind
from verifier_gen_world import World
from verifier_kernel_types import Function, KernelTypes, Place

from bombus.btf.types import FuncProto, Int, Param, Ptr, Struct, Union, Void
from bombus.spec.contexts import CONTEXT
from bombus.spec.helpers import HELPER, HELPERS, Helper, allowed, prototype_for
from bombus.spec.helpers.structs import ARGUMENT_STRUCTS, RESULT_STRUCTS
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID

STRUCT_OPS = PROG_TYPE["BPF_PROG_TYPE_STRUCT_OPS"].id
CURRENT_TASK = HELPER["get_current_task_btf"].id
_CONTEXTS = frozenset(row.ctx for row in PROG_TYPE_BY_ID.values() if row.ctx)
_TYPED = ("ARG_PTR_TO_BTF_ID", "ARG_KPTR_XCHG_DEST", "ARG_PTR_TO_PERCPU_BTF_ID")
# Kernel functions that scenes call in their order; alone they are hardly ever right.
GRAPH = ("bpf_list_push_front_impl", "bpf_list_push_back_impl", "bpf_list_pop_front", "bpf_list_pop_back",
         "bpf_list_front", "bpf_list_back", "bpf_rbtree_add_impl", "bpf_rbtree_first", "bpf_rbtree_remove",
         "bpf_rbtree_root", "bpf_rbtree_left", "bpf_rbtree_right")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pointer(Kind):
    """A typed pointer. struct: its BTF id; own: in the program's BTF, not the kernel's."""

    struct: int = 0
    own: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What a program is for. params: what its context holds, in order; results: what it may end with."""

    prog_type: int
    attach_type: int = 0
    btf_id: int = 0
    params: tuple[Param, ...] = ()
    flags: int = 0
    results: tuple[int, ...] = (0,)
    name: str = ""
    pointers: dict[int, int] = field(default_factory=dict)  # structs of a context's members, by offset


class KernelWriter(CallWriter):
    def __init__(self, rng: random.Random, world: World, types: KernelTypes, target: Target, slip: float) -> None:
        super().__init__(rng, world, target.prog_type, target.attach_type, slip)
        self.types = types
        self.target = target
        self.with_btf = rng.random() < 0.9
        self.callbacks = self.with_btf
        self.reserved: set[int] = set()
        self.sleepable = bool(target.flags & 16)
        version = world.kernel.version
        self.typed_helpers = [
            row for row in HELPERS
            if any(arg.startswith(_TYPED) for arg in row.args) or row.name in RESULT_STRUCTS
            if allowed(row.name, target.prog_type, target.attach_type, version, target=target.name) or self.chance(0.05)
        ]  # fmt: skip
        self.kfuncs = [one for one in types.functions.values() if one.allowed(target.prog_type)]

    # Registers.

    def home(self) -> int:
        free = [r for r in HOMES if r not in self.regs and r not in self.reserved]
        if free:
            return self.rng.choice(free)
        rest = [r for r in HOMES[1:] if r not in self.reserved]
        return self.rng.choice(rest) if rest else self.rng.choice((0, 1, 2, 3, 4, 5))

    def any_reg(self) -> int:
        rest = [r for r in (*HOMES[1:], 0, 1, 2, 3, 4, 5) if r not in self.reserved or self.slip()]
        return self.rng.choice(rest)

    def typed(self, struct: int = 0, *, own: bool = False) -> int | None:
        """A register with a typed pointer, to a struct when one is named."""
        if self.slip() and self.slip():
            return self.rng.randint(0, 10)
        found = [
            r for r, kind in self.regs.items()
            if isinstance(kind, Pointer) and (not struct or (kind.struct == struct and kind.own == own))
        ]  # fmt: skip
        return self.rng.choice(found) if found else None

    def hold(self, struct: int, *, nullable: bool = False, own: bool = False, at: int = 0) -> int:
        """r0 is a typed pointer: keep it."""
        reg = self.home()
        kind = Pointer("typed?" if nullable else "typed", 0, at, -1, "", self.new_ident(), struct, own)
        self.put(0xBF, reg)
        self.set(0, kind)
        self.set(reg, kind)
        return reg

    # Where pointers come from.

    def argument_of_target(self, wanted: int = 0) -> int | None:
        """Load an argument of what the program attaches to."""
        params, known = self.target.params, self.target.pointers
        if self.regs.get(6) != CTX or not (params or known):
            return None
        rng = self.rng
        places = [(8 * i, self.types.pointed(param.type)) for i, param in enumerate(params)]
        places = [(at, known.get(at, struct)) for at, struct in places] or list(known.items())
        if wanted:
            places = [place for place in places if place[1] == wanted]
            if not places:
                return None
        elif self.chance(0.7):
            places = [place for place in places if place[1]] or places
        at, struct = rng.choice(places)
        size = 8
        if self.slip():
            at += rng.choice((8, -8, 4, 1))
        if self.slip():
            size = rng.choice((1, 2, 4))
        reg = self.home()
        self.put(0x61 | SIZES[size], reg, 6, at)
        self.set(reg, Pointer("typed", struct=struct, ident=self.new_ident()) if struct else NUMBER)
        if self.chance(0.2):
            self.check_null(reg)
        return reg

    def source(self, struct: int) -> int | None:
        """A register with a pointer to that struct, made if need be."""
        reg = self.typed(struct)
        if reg is not None and self.chance(0.8):
            return reg
        name = self.types.name(struct)
        reg = self.argument_of_target(struct)
        if reg is not None:
            return reg
        if name == "task_struct" and self.chance(0.8):
            self.put(0x85, 0, 0, 0, CURRENT_TASK)
            self.called(None)
            return self.hold(struct)
        return self.walk_to(struct) or self.cast_context(struct) or self.made_by(struct)

    def walk_to(self, struct: int) -> int | None:
        """Follow a member of some pointer that is held."""
        found = [
            (r, place) for r, kind in self.regs.items() if isinstance(kind, Pointer) and kind.struct and not kind.own
            for place in self.types.members(kind.struct) if place.target == struct
        ]  # fmt: skip
        if not found:
            return None
        r, place = self.rng.choice(found)
        return self.follow(r, place)

    def cast_context(self, struct: int) -> int | None:
        row = PROG_TYPE_BY_ID[self.prog_type]
        cast = self.types.functions.get("bpf_cast_to_kern_ctx")
        if cast is None or not row.kernel_ctx or self.types.struct(row.kernel_ctx) != struct or 6 not in self.regs:
            return None
        self.put(0xBF, 1, 6)
        self.put(0x85, 0, 2, 0, cast.type_id)
        self.called(None)
        return self.hold(struct)

    def made_by(self, struct: int) -> int | None:
        """Now and then a number that is cast, so that it may be read at least."""
        return self.cast(struct) if self.chance(0.3) else None

    def cast(self, struct: int) -> int | None:
        cast = self.types.functions.get("bpf_rdonly_cast")
        if cast is None:
            return None
        self.put(0xBF, 1, self.some())
        self.put(0xB7, 2, 0, 0, struct)
        self.put(0x85, 0, 2, 0, cast.type_id)
        self.called(None)
        return self.hold(struct)

    # Walks.

    def follow(self, reg: int, place: Place) -> int:
        """Load a pointer, or step into a nested struct."""
        to = self.home()
        if place.kind == "struct":
            self.put(0xBF, to, reg)
            self.put(0x07, to, 0, 0, place.offset)
        else:
            self.put(0x79, to, reg, place.offset)
        self.set(to, Pointer("typed", struct=place.target, ident=self.new_ident()))
        if place.kind == "pointer" and self.chance(0.5):
            self.check_null(to)
        return to

    def walk(self) -> None:
        """One access through a typed pointer."""
        rng = self.rng
        reg = self.typed()
        if reg is None or self.chance(0.15):
            reg = self.argument_of_target() or self.source(self.types.struct("task_struct"))
        kind = self.regs.get(reg, NUMBER) if reg is not None else NUMBER
        if reg is None or not isinstance(kind, Pointer) or not kind.struct:
            return
        if kind.own:
            self.touch_object(reg, kind)
            return
        places = self.types.members(kind.struct)
        if not places:
            return
        if self.chance(0.5):
            places = tuple(place for place in places if place.target) or places
        place = rng.choice(places)
        if place.target and self.chance(0.85) and not self.slip():
            self.follow(reg, place)
            return
        size = place.size if place.size in SIZES and self.chance(0.8) else rng.choice((1, 2, 4, 8))
        off = place.offset
        if place.kind == "array":
            off += rng.choice((0, size, -size, place.size - size, place.size, 1))
        if self.chance(0.1):
            off += rng.choice((1, 2, 4, -1, -4, 8, size))
        if self.slip():
            off = rng.choice((-8, 0, 1 << 14, 32000, off + 0x1000, self.end_of(kind.struct)))
        if self.slip() or self.chance(0.25 if self.prog_type == STRUCT_OPS else 0.04):
            self.write_through(reg, off, size)
            return
        to = self.any_reg()
        self.put((0x81 if self.chance(0.08) and size < 8 else 0x61) | SIZES[size], to, reg, off)
        self.regs.pop(to, None)
        if place.kind == "scalar":
            self.set(to, NUMBER)

    def end_of(self, struct: int) -> int:
        """An offset at or near the struct's end."""
        type_ = self.types.btf.type(struct)
        size = type_.size if isinstance(type_, (Struct, Union)) else 0
        return min(size + self.rng.choice((-8, -1, 0, 8)), 32000)

    def write_through(self, reg: int, off: int, size: int) -> None:
        rng = self.rng
        pick = rng.random()
        if pick < 0.4:
            self.put(0x62 | SIZES[size], reg, 0, off, number(rng))
        elif pick < 0.8:
            self.put(0x63 | SIZES[size], reg, self.some(), off)
        else:
            self.put(0xC3 | SIZES[rng.choice((4, 8))], reg, self.some(), off, rng.choice((0, 1, 0xE1, 0x100, 0x110)))

    def touch_object(self, reg: int, kind: Pointer) -> None:
        """Read or write a field of an object of the program's own."""
        rng = self.rng
        type_ = self.world.types.btf.type(kind.struct)
        assert isinstance(type_, Struct)
        member = rng.choice(type_.members)
        plain = [one for one in type_.members if isinstance(self.world.types.btf.resolved(one.type), Int)]
        if plain and not self.slip():
            member = rng.choice(plain)
        size = 8 if self.chance(0.7) else rng.choice((1, 2, 4))
        off = member.offset // 8 - kind.at + (rng.choice((1, 4, 8, -8)) if self.slip() else 0)
        if self.chance(0.5):
            to = self.any_reg()
            self.put(0x61 | SIZES[size], to, reg, off)
            self.set(to, NUMBER)
        else:
            self.write_through(reg, off, size)

    def move_typed(self) -> None:
        """Arithmetic on a typed pointer, and an access there."""
        rng = self.rng
        reg = self.typed()
        if reg is None or reg not in self.regs:
            return
        kind = self.regs[reg]
        to = self.any_reg()
        self.put(0xBF, to, reg)
        pick = rng.random()
        if pick < 0.6:
            self.put(0x07, to, 0, 0, rng.choice((0, 8, 16, 4, -8, 1, 200)))
        elif pick < 0.88:
            self.put(0x0F, to, self.get_number(rng.choice((7, 64))))
        else:
            self.put(rng.choice((0x17, 0x27, 0x04, 0x57, 0x0F)), to, 0, 0, 8)
        self.regs.pop(to, None)
        if self.chance(0.6):
            self.put(0x61 | SIZES[rng.choice((1, 4, 8))], rng.choice((0, 1, 2)), to, rng.choice((0, 0, 8, -8)))
            self.forget(0, 1, 2)
        elif isinstance(kind, Pointer):
            self.set(to, kind)

    def forget(self, *regs: int) -> None:
        for r in regs:
            self.regs.pop(r, None)

    def variable(self) -> None:
        """A variable of the kernel, of this CPU or of any."""
        rng = self.rng
        if not self.types.variables:
            return
        variable = rng.choice(self.types.variables) if not self.slip() else rng.randint(1, len(self.types.btf))
        self.wide(1, variable, 3)
        if self.slip():
            self.put(0x61, 2, 1, 0)
            self.forget(1, 2)
            return
        if self.chance(0.5):
            self.put(0xB7, 2, 0, 0, 0)
            self.put(0x85, 0, 0, 0, HELPER["per_cpu_ptr"].id)
            null = True
        else:
            self.put(0x85, 0, 0, 0, HELPER["this_cpu_ptr"].id)
            null = False
        self.called(None)
        struct = self.types.btf.resolve(getattr(self.types.btf.type(variable), "type", 0) or variable)
        known = isinstance(self.types.btf.type(struct), (Struct, Union))
        reg = self.hold(struct if known else 0, nullable=null)
        if null and not self.slip():
            self.check_null(reg)
        if known:
            self.walk()
        else:
            self.put(0x61 | SIZES[rng.choice((1, 2, 4, 8))], 0, reg, rng.choice((0, 0, 4, 8)))
            self.forget(0)

    # Calls.

    def call_typed_helper(self) -> None:
        if self.typed_helpers:
            row = self.rng.choice(self.typed_helpers)
            if not self.prepare(row):
                return
            self.call_helper(row)
            proto = prototype_for(row, self.prog_type, self.sleepable, self.attach_type)
            if row.name in RESULT_STRUCTS:
                self.hold(self.types.struct(RESULT_STRUCTS[row.name]), nullable="MAYBE_NULL" in proto.ret)
                if "MAYBE_NULL" in proto.ret and not self.slip():
                    self.check_null(0)

    def prepare(self, row: Helper) -> bool:
        """Have the typed pointers that a helper wants."""
        structs = list(ARGUMENT_STRUCTS.get(row.name, {}).values())
        if not structs and any(arg.startswith(_TYPED) for arg in row.args):
            if any(arg.startswith(_TYPED[2]) for arg in row.args) and not self.slip():
                return False
            structs = [self.rng.choice(("sock_common", "sock", "tcp_sock"))]
        return all(self.source(self.types.struct(struct)) is not None or self.slip() for struct in structs)

    def argument(self, place: int, text: str, fixed: int, name: str, state: dict[str, int], chosen: str) -> None:
        if not text.startswith("ARG_PTR_TO_BTF_ID") or (self.slip() and self.slip()):
            super().argument(place, text, fixed, name, state, chosen)
            return
        struct = ARGUMENT_STRUCTS.get(name, {}).get(place)
        reg = self.typed(self.types.struct(struct)) if struct else self.typed()
        if reg is None or self.slip():
            reg = self.typed() or 6
        if reg != place + 1:
            self.put(0xBF, place + 1, reg)

    def any_kfunc(self) -> None:
        if self.kfuncs:
            one = self.rng.choice(self.kfuncs)
            if self.slip():
                one = self.rng.choice(list(self.types.functions.values()))
            if (one.name in GRAPH or one.name == "bpf_throw") and self.chance(0.8):
                return
            self.call_kfunc(one)

    def call_kfunc(self, function: Function) -> None:
        """Fill the arguments by BTF, call, and note the result; not where no pointer to a struct can be had."""
        if "sleepable" in function.flags and not self.sleepable and not self.slip():
            return
        params = function.params[:5]
        ready: dict[int, int] = {}
        for i, param in enumerate(params):  # pointers first: getting one may call
            struct = self.types.pointed(param.type)
            if i not in ready and struct and not self.special(param, struct):
                reg = self.source(struct)
                if reg is not None:
                    ready[i] = reg
                elif not self.slip() and not param.name.endswith("__nullable"):
                    return
        if any(reg < 6 for reg in ready.values()):  # where a later call may have put something else
            ready = {i: reg if reg >= 6 or self.slip() else self.typed() or 6 for i, reg in ready.items()}
        size = 8
        for i, param in enumerate(params):
            size = self.kfunc_argument(function, i, param, ready.get(i), size)
        type_id = function.type_id if not (self.slip() and self.slip()) else self.rng.randint(0, len(self.types.btf))
        self.put(0x85, 0, 2, 0, type_id)
        self.called(None)
        self.kfunc_result(function)

    def special(self, param: Param, struct: int) -> bool:
        """Whether a parameter wants something else than a pointer to a kernel's object."""
        name = self.types.name(struct)
        return name in _CONTEXTS or name.startswith(("bpf_iter_", "bpf_list_", "bpf_rb_")) or name in (
            "bpf_dynptr", "bpf_wq", "bpf_map", "bpf_res_spin_lock",
        ) or param.name.endswith(("__ign", "__alloc", "__map", "__str"))

    def kfunc_argument(self, function: Function, i: int, param: Param, given: int | None, size: int) -> int:
        """Put one argument into its register. Returns the bytes behind a pointer, for the size that follows."""
        rng = self.rng
        reg = i + 1
        name = param.name
        if self.slip() and self.slip():
            if self.regs:
                self.put(0xBF, reg, self.some())
            return size
        if name.endswith(("__nullable", "__opt")) and self.chance(0.3):
            self.put(0xB7, reg, 0, 0, 0)
            return size
        if given is not None:
            if given != reg:
                self.put(0xBF, reg, given)
            return size
        type_ = self.types.btf.resolved(param.type)
        if name.endswith("__ign"):
            self.put(0xB7, reg, 0, 0, 0)
        elif not isinstance(type_, Ptr):
            self.scalar_argument(function, reg, name, size)
        else:
            target = self.types.btf.type(self.types.btf.resolve(type_.type))
            struct = target.name if isinstance(target, (Struct, Union)) else ""
            if struct in _CONTEXTS and struct in CONTEXT:
                self.put(0xBF, reg, 6)
            elif struct == "bpf_dynptr":
                self.dynptr_argument(reg, fresh=name.endswith("__uninit"))
            elif struct.startswith("bpf_iter_"):
                self.put(0xBF, reg, 10)
                self.put(0x07, reg, 0, 0, -8 * rng.randint(1, 6))
            elif struct == "bpf_map" or name.endswith("__map"):
                self.map_pointer(reg, rng.choice(tuple(self.world.maps)))
            elif name.endswith("__str"):
                self.wide(reg, self.world.maps["rodata"] | rng.choice((0, 40, 44, 47)) << 32, 2)
            elif isinstance(target, FuncProto):
                self.function_address(reg, self.some_function())
            elif isinstance(target, (Struct, Union)) and self.chance(0.5):
                self.put(0xBF, reg, self.typed() or 6)
            else:
                fixed = 0 if isinstance(target, Void) else self.size_of(type_)
                size = self.memory_argument(reg, self.chance(0.3), fixed)
        return size

    def size_of(self, pointer: Ptr) -> int:
        type_ = self.types.btf.resolved(pointer.type)
        return min(getattr(type_, "size", 8) or 8, 64)

    def some_function(self) -> Label:
        label = Label()
        regs = {1: Kind("map"), 2: NUMBER, 3: NUMBER}
        self.todo.append((label, self.static_type(3), self.inner_function(dict(regs), 1, 0)))
        return label

    def scalar_argument(self, function: Function, reg: int, name: str, size: int) -> None:
        rng = self.rng
        if name.endswith(("__sz", "__szk")):
            self.size_argument(reg, size, True)
        elif function.name == "bpf_rdonly_cast":
            self.put(0xB7, reg, 0, 0, rng.randint(1, len(self.types.btf)))
        elif name.endswith(("__k", "_size")) or self.chance(0.6):
            pool = (0, 0, 1, 2, 4, 8, 16, rng.randint(-3, 64), *self.world.types.objects.values())
            self.put(0xB7, reg, 0, 0, rng.choice(pool))
        else:
            self.put(0xBF, reg, self.get_number() if not self.slip() else self.some())

    def dynptr_argument(self, reg: int, *, fresh: bool) -> None:
        found = [at for at, kind in self.slots.items() if kind.name == "dynptr" and kind.at == 0]
        at = self.rng.choice(found) if found and (not fresh or self.slip()) else -16 - 8 * self.rng.randint(0, 5)
        self.dynptr_at(reg, at)
        if fresh:
            self.slots[at] = self.slots[at + 8] = Kind("dynptr")

    def kfunc_result(self, function: Function) -> None:
        type_ = self.types.btf.resolved(function.result)
        if isinstance(type_, Ptr):
            null = "ret_null" in function.flags
            struct = self.types.pointed(function.result)
            if struct:
                reg = self.hold(struct, nullable=null)
                if null and not self.slip():
                    self.check_null(reg)
                return
            self.set(0, Kind("memory?" if null else "memory", 8, ident=self.new_ident()))
            reg = self.keep(0)
            if null and not self.slip():
                self.check_null(reg)
        elif not isinstance(type_, Void):
            self.set(0, NUMBER)

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        deep = self.level >= 3
        return [
            (4, self.walk), (1, self.argument_of_target), (0.6, self.move_typed), (1.2, self.call_typed_helper),
            (2, self.any_kfunc), (0.5, self.variable), (0.4, self.helper),
            (0.7 if not deep else 0, self.subprogram), (0.4 if not deep else 0, self.callback),
            (0.5, self.load), (0.5, self.store), (0.4, self.spill), (0.4, self.fill), (0.2, self.compare_pointers),
            (0.3, self.copy), (0.8 if self.depth < 2 else 0, self.branch), (0.1 if self.depth < 1 else 0, self.loop),
        ]  # fmt: skip
