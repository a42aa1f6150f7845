"""Objects that programs allocate, the lists and trees that own them, kptrs in map values, and references that are given
back. Within a scene, paths that would leave go to its end; `slip()` says where they do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from verifier_gen import Label, weighted
from verifier_gen_kernel import KernelWriter, Pointer, Target
from verifier_gen_typed import NUMBER, SIZES, Kind
from verifier_gen_world import World
from verifier_kernel_types import Function as Kfunc
from verifier_kernel_types import KernelTypes

from bombus.btf.types import Ptr
from bombus.spec.helpers import HELPER

# What gives a reference back, by the struct that it is to.
RELEASE = {
    "task_struct": "bpf_task_release", "cgroup": "bpf_cgroup_release", "bpf_cpumask": "bpf_cpumask_release",
    "file": "bpf_put_file", "bpf_key": "bpf_key_put", "bpf_crypto_ctx": "bpf_crypto_ctx_release",
    "nf_conn": "bpf_ct_release", "nf_conn___init": "bpf_ct_release", "xfrm_state": "bpf_xdp_xfrm_state_release",
}  # fmt: skip
_LOCK, _HEAD, _ROOT = 8, 16, 32  # in the map values called "graph"
_NODE_L, _NODE_R = 8, 32  # in own_node
_KPTRS = (("kptrs", 8, "task_struct"), ("kptrs", 16, "task_struct"), ("kptrs_hash", 8, "cgroup"),
          ("kptrs_hash", 16, "bpf_cpumask"), ("kptrs_hash", 24, "node"), ("kptrs_hash", 32, "record"),
          ("kptrs_hash", 40, "percpu"))  # fmt: skip


class ObjectWriter(KernelWriter):
    def __init__(self, rng: random.Random, world: World, types: KernelTypes, target: Target, slip: float) -> None:
        super().__init__(rng, world, types, target, slip)
        self.ends: list[Label] = []

    def leave(self) -> None:
        if self.ends and not self.slip():
            self.jump(0x05, 0, 0, 0, self.ends[-1])
        else:
            super().leave()

    def check_null(self, reg: int) -> None:
        if not self.ends:
            super().check_null(reg)
            return
        kind = self.regs.get(reg, NUMBER)
        self.jump(0x15, reg, 0, 0, self.ends[-1])
        self.not_null(kind)

    def not_null(self, kind: Kind) -> None:
        for r, other in list(self.regs.items()):
            if other.ident == kind.ident and other.name == kind.name and kind.ident:
                self.set(r, replace(other, name=other.name.rstrip("?")))

    def within(self, length: int, *held: int) -> None:
        """A body whose paths all come to its end, where these registers still hold what they held."""
        end = Label()
        self.ends.append(end)
        fresh = [r for r in held if r not in self.reserved]
        self.reserved.update(fresh)
        regs, slots = dict(self.regs), dict(self.slots)
        self.depth += 1
        self.body(length)
        self.depth -= 1
        self.reserved.difference_update(fresh)
        self.ends.pop()
        self.place(end)
        self.join(regs, slots)

    def named(self, name: str) -> Kfunc | None:
        found = self.types.functions.get(name)
        if found is None or (not found.allowed(self.prog_type) and not self.slip()):
            return None
        return found

    def call_named(self, name: str, *arguments: int | str) -> bool:
        """Call a kernel function with registers: "7" copies r7, "fp-16" points to the stack, "7+8" adds, a number is
        a constant. False when there is no such function for the program."""
        function = self.named(name)
        if function is None:
            return False
        for reg, what in enumerate(arguments, 1):
            if isinstance(what, int):
                self.put(0xB7, reg, 0, 0, what)
                continue
            base, plus, add = what.partition("+")
            if not plus:
                base, plus, add = what.partition("-")
            source = 10 if base == "fp" else int(base)
            if source != reg:
                self.put(0xBF, reg, source)
            if add:
                step = int(add) if plus == "+" else -int(add)
                self.put(0x07, reg, 0, 0, step + (self.rng.choice((8, -8, 1, 16)) if self.slip() else 0))
        self.put(0x85, 0, 2, 0, function.type_id)
        self.called(NUMBER if not isinstance(self.types.btf.resolved(function.result), Ptr) else None)
        return True

    def given_back(self, reg: int, give: Callable[[], None]) -> None:
        """What follows an acquisition: a test for null, a body, and the end of the reference."""
        out = Label()
        kind = self.regs[reg]
        regs, slots = dict(self.regs), dict(self.slots)
        if kind.name.endswith("?") and not self.slip():
            self.jump(0x15, reg, 0, 0, out)
            self.not_null(kind)
        self.within(self.rng.randint(0, 2), reg)
        if not self.slip():
            give()
        if not self.slip():
            self.regs = {r: one for r, one in self.regs.items() if one.ident != kind.ident}
        self.place(out)
        self.join(regs, slots)

    def release(self, struct: int, reg: int) -> None:
        name = RELEASE.get(self.types.name(struct), "bpf_task_release")
        if self.slip():
            name = self.rng.choice(list(RELEASE.values()))
        self.call_named(name, str(reg))

    def locked(self) -> None:
        """A map's value with lists and trees, locked."""
        reg = self.graph_value()
        self.lock_call("spin_lock", reg)
        for _ in range(self.rng.randint(0, 2)):
            weighted(self.rng, ((2, lambda: self.take_out(reg)), (1, lambda: self.peek(reg)), (0.3, self.walk)))
        if not self.slip():
            self.lock_call("spin_unlock", reg)
        self.after_unlock()

    def after_unlock(self) -> None:
        if not self.slip():
            self.regs = {r: kind for r, kind in self.regs.items() if kind.name != "seen"}

    def graph_value(self) -> int:
        name = "graph" if self.chance(0.8) else "graph_hash"
        reg = self.home()
        if name == "graph" and self.chance(0.4):  # as a variable of the program
            self.wide(reg, self.world.maps[name], 2)
            self.set(reg, Kind("value", 48, map=name))
            return reg
        self.lookup(name)
        self.put(0xBF, reg, 0)
        kind = Kind("value?", 48, map=name, ident=self.new_ident())
        self.set(reg, kind)
        self.set(0, kind)
        if not self.slip():
            self.check_null(reg)
        self.reserved.discard(reg)
        return reg

    def lock_call(self, name: str, reg: int) -> None:
        self.put(0xBF, 1, reg)
        self.put(0x07, 1, 0, 0, _LOCK if not self.slip() else self.rng.choice((0, 16)))
        self.put(0x85, 0, 0, 0, HELPER[name].id)
        self.called(None)

    def new_object(self, which: str = "") -> tuple[int, int] | None:
        """Allocate: (register, struct)."""
        rng = self.rng
        which = which or rng.choice(("node", "node", "single", "record", "holder"))
        struct = self.world.types.objects[which]
        percpu = which == "record" and self.chance(0.4)
        if not self.call_named("bpf_percpu_obj_new_impl" if percpu else "bpf_obj_new_impl", struct, 0):
            return None
        reg = self.hold(struct, nullable=True, own=True)
        return reg, struct

    def drop(self, reg: int, *, percpu: bool = False) -> None:
        name = "bpf_percpu_obj_drop_impl" if percpu != self.slip() else "bpf_obj_drop_impl"
        self.call_named(name, str(reg), 0)

    def owned(self) -> None:
        """An object of the program's own, and what becomes of it."""
        rng = self.rng
        before = len(self.code)
        made = self.new_object()
        if made is None:
            return
        reg, struct = made
        percpu = any(insn.opcode == 0x85 and insn.src == 2
                     and insn.imm == getattr(self.types.functions.get("bpf_percpu_obj_new_impl"), "type_id", 0)
                     for insn in self.code[before:])  # fmt: skip
        is_node = struct == self.world.types.objects["node"]
        pick = rng.random()
        if is_node and pick < 0.55:
            self.given_back(reg, lambda: self.put_in(reg))
        elif pick < 0.75 and (is_node or struct == self.world.types.objects["record"] or self.slip()):
            self.given_back(reg, lambda: self.exchange(reg, struct, percpu=percpu))
        else:
            if is_node and self.chance(0.5):
                self.given_back(reg, lambda: self.counted(reg))
            else:
                self.given_back(reg, lambda: self.drop(reg, percpu=percpu))

    def counted(self, reg: int) -> None:
        """One more reference to a node, then both dropped."""
        if not self.call_named("bpf_refcount_acquire_impl", str(reg), 0):
            return
        other = self.hold(self.world.types.objects["node"], own=True)
        if other == reg:
            return
        self.within(self.rng.randint(0, 1), reg, other)
        self.drop(reg)
        self.drop(other)

    def put_in(self, reg: int) -> None:
        """A node goes into a list or tree."""
        rng = self.rng
        self.reserved.add(reg)
        self.ends.append(Label())
        value = self.graph_value()
        self.reserved.add(value)
        self.lock_call("spin_lock", value)
        pick = rng.random()
        if pick < 0.5:
            name = rng.choice(("bpf_list_push_front_impl", "bpf_list_push_back_impl"))
            self.call_named(name, f"{value}+{_HEAD}", f"{reg}+{_NODE_L}", 0, 0)
        else:
            function = self.named("bpf_rbtree_add_impl")
            if function is not None:
                self.put(0xBF, 1, value)
                self.put(0x07, 1, 0, 0, _ROOT if not self.slip() else _HEAD)
                self.put(0xBF, 2, reg)
                self.put(0x07, 2, 0, 0, _NODE_R if not self.slip() else _NODE_L)
                self.function_address(3, self.less())
                self.put(0xB7, 4, 0, 0, 0)
                self.put(0xB7, 5, 0, 0, 0)
                self.put(0x85, 0, 2, 0, function.type_id)
                self.called(NUMBER)
        kind = Pointer("seen", struct=self.world.types.objects["node"], own=True)
        if self.chance(0.4):
            self.set(reg, kind)
            self.touch_object(reg, kind)
        if self.chance(0.3):
            self.peek(value)
        if self.chance(0.2) and self.named("bpf_rbtree_remove"):
            self.call_named("bpf_rbtree_remove", f"{value}+{_ROOT}", f"{reg}+{_NODE_R}")
            self.taken_out(value, _NODE_R)
        else:
            self.lock_call("spin_unlock", value)
        if self.slip():
            self.touch_object(reg, kind)
        self.reserved.difference_update((reg, value))
        # Where the map had no value, the node is dropped.
        out = Label()
        self.jump(0x05, 0, 0, 0, out)
        self.place(self.ends.pop())
        self.drop(reg)
        self.place(out)
        self.forget(0, 1, 2, 3, 4, 5)

    def less(self) -> Label:
        label = Label()
        node = Pointer("seen", struct=self.world.types.objects["node"], own=True, at=_NODE_R)
        write = self.inner_function({1: node, 2: node}, self.rng.randint(0, 1), self.rng.choice((0, 1)))
        self.todo.append((label, self.static_type(2), write))
        return label

    def take_out(self, value: int) -> None:
        """A node comes out of a list or tree, and the lock is given back for dropping it."""
        if self.chance(0.6):
            name = self.rng.choice(("bpf_list_pop_front", "bpf_list_pop_back"))
            if self.call_named(name, f"{value}+{_HEAD}"):
                self.taken_out(value, _NODE_L)
                self.lock_call("spin_lock", value)
        elif self.call_named("bpf_rbtree_first", f"{value}+{_ROOT}"):
            self.put(0xBF, 2, 0)
            over = Label()
            self.jump(0x15, 2, 0, 0, over)
            self.put(0xBF, 1, value)
            self.put(0x07, 1, 0, 0, _ROOT)
            self.put(0x85, 0, 2, 0, self.types.functions["bpf_rbtree_remove"].type_id)
            self.called(None)
            self.taken_out(value, _NODE_R)
            self.lock_call("spin_lock", value)
            self.place(over)

    def taken_out(self, value: int, at: int) -> None:
        """r0 is a node that was taken out: unlock, and drop it."""
        rest = [r for r in (7, 8, 9) if r != value and r not in self.reserved]
        reg = self.rng.choice(rest or [9])
        self.put(0xBF, reg, 0)
        self.called(None)
        self.lock_call("spin_unlock", value)
        over = Label()
        if not self.slip():
            self.jump(0x15, reg, 0, 0, over)
        if at and not self.slip():
            self.put(0x07 if self.chance(0.7) else 0x17, reg, 0, 0, -at)
            if self.code[-1].opcode == 0x17:
                self.code[-1] = self.code[-1]._replace(imm=at)
        self.set(reg, Pointer("typed", struct=self.world.types.objects["node"], own=True))
        if self.chance(0.3):
            self.touch_object(reg, Pointer("typed", struct=self.world.types.objects["node"], own=True))
        if not self.slip():
            self.drop(reg)
        self.place(over)
        self.forget(reg)

    def peek(self, value: int) -> None:
        """Look at a node that stays where it is."""
        name, root, at = self.rng.choice((
            ("bpf_list_front", _HEAD, _NODE_L), ("bpf_list_back", _HEAD, _NODE_L), ("bpf_rbtree_root", _ROOT, _NODE_R),
            ("bpf_rbtree_first", _ROOT, _NODE_R),
        ))  # fmt: skip
        if not self.call_named(name, f"{value}+{root}"):
            return
        rest = [r for r in (7, 8, 9) if r != value and r not in self.reserved]
        reg = self.rng.choice(rest or [5])
        self.put(0xBF, reg, 0)
        over = Label()
        if not self.slip():
            self.jump(0x15, reg, 0, 0, over)
        kind = Pointer("seen", at=at, struct=self.world.types.objects["node"], own=True)
        self.set(reg, kind)
        self.touch_object(reg, kind)
        if "rbtree" in name and self.chance(0.5):
            self.call_named(self.rng.choice(("bpf_rbtree_left", "bpf_rbtree_right")), f"{value}+{root}", str(reg))
        elif self.chance(0.3) and self.call_named("bpf_refcount_acquire_impl", str(reg), 0):
            self.taken_out(value, 0)
            self.lock_call("spin_lock", value)
        self.place(over)
        if not self.slip():
            self.forget(reg, 0, 1, 2, 3, 4, 5)

    def kptr_value(self, name: str) -> int:
        reg = self.home()
        if name == "kptrs_hash" and self.chance(0.4):  # a variable of the program
            self.wide(reg, self.world.maps["kptrs_one"], 2)
            self.set(reg, Kind("value", 48, map="kptrs_one"))
            return reg
        self.lookup(name)
        self.put(0xBF, reg, 0)
        kind = Kind("value?", self.world.infos[self.world.maps[name]].value_size, map=name, ident=self.new_ident())
        self.set(reg, kind)
        self.set(0, kind)
        if not self.slip():
            self.check_null(reg)
        return reg

    def exchange(self, reg: int, struct: int, *, percpu: bool = False) -> None:
        """Move an object into a kptr; what was there before is given back."""
        objects = self.world.types.objects
        off = 40 if percpu else 24 if struct == objects["node"] else 32
        if self.slip():
            off = self.rng.choice((0, 8, 16, 24, 32, 40))
        self.reserved.add(reg)
        end = Label()
        self.ends.append(end)
        value = self.kptr_value("kptrs_hash")
        self.ends.pop()
        self.reserved.discard(reg)
        self.swap(value, off, reg)
        old = self.hold(struct, nullable=True, own=True)
        out = Label()
        self.jump(0x15, old, 0, 0, out)
        self.drop(old, percpu=percpu)
        self.jump(0x05, 0, 0, 0, out)
        self.place(end)
        self.drop(reg, percpu=percpu)
        self.place(out)
        self.forget(old, 0, 1, 2, 3, 4, 5)

    def swap(self, value: int, off: int, reg: int) -> None:
        """bpf_kptr_xchg. reg: -1 for null."""
        self.put(0xBF, 1, value)
        self.put(0x07, 1, 0, 0, off + (self.rng.choice((8, -8, 4)) if self.slip() else 0))
        if reg < 0:
            self.put(0xB7, 2, 0, 0, 0)
        else:
            self.put(0xBF, 2, reg)
        self.put(0x85, 0, 0, 0, HELPER["kptr_xchg"].id)
        self.called(None)

    def kptr(self) -> None:
        """Load, store, or take out a kptr of a map's value."""
        rng = self.rng
        name, off, what = rng.choice(_KPTRS)
        value = self.kptr_value(name)
        objects = self.world.types.objects
        own = what in ("node", "record", "percpu")
        struct = objects.get("record" if what == "percpu" else what, 0) if own else self.types.struct(what)
        pick = rng.random()
        if pick < 0.45:
            size = 8 if not self.slip() else rng.choice((1, 4))
            reg = self.home()
            self.put(0x61 | SIZES[size], reg, value, off + (4 if self.slip() else 0))
            kind = Pointer("typed?", struct=struct, own=own, ident=self.new_ident())
            self.set(reg, kind)
            if not self.slip():
                self.check_null(reg)
            self.body(rng.randint(0, 2))
        elif pick < 0.6:
            if self.chance(0.5):
                self.put(0x7A, value, 0, off, 0 if not self.slip() else 1)
            else:
                source = self.typed(struct, own=own)
                self.put(0x7B, value, source if source is not None else self.some(), off)
        else:
            self.swap(value, off, -1)
            reg = self.hold(struct, nullable=True, own=own)
            if own:
                self.given_back(reg, lambda: self.drop(reg, percpu=what == "percpu"))
            else:
                self.given_back(reg, lambda: self.release(struct, reg))
