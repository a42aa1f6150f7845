"""Steps that belong together in programs with the kernel's types: references, sections, iterators, objects, lists and
trees, kptrs, dynptrs, exceptions, arenas. Within a scene, paths that would leave go to its end, so that what was taken
is given back; `slip()` says where they do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from verifier_gen import Label, weighted
from verifier_gen_kernel import KernelWriter, Pointer, Target
from verifier_gen_typed import CTX, NUMBER, SIZES, Kind
from verifier_gen_world import Function, World
from verifier_kernel_types import Function as Kfunc
from verifier_kernel_types import KernelTypes

from bombus.btf.types import Ptr, Struct
from bombus.spec.helpers import HELPER

# What gives a reference back, by the struct that it is to.
_RELEASE = {
    "task_struct": "bpf_task_release", "cgroup": "bpf_cgroup_release", "bpf_cpumask": "bpf_cpumask_release",
    "file": "bpf_put_file", "bpf_key": "bpf_key_put", "bpf_crypto_ctx": "bpf_crypto_ctx_release",
    "nf_conn": "bpf_ct_release", "nf_conn___init": "bpf_ct_release", "xfrm_state": "bpf_xdp_xfrm_state_release",
}  # fmt: skip
_SECTIONS = (
    ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
    ("bpf_preempt_disable", "bpf_preempt_enable"), ("bpf_local_irq_save", "bpf_local_irq_restore"),
)  # fmt: skip
_ITERATORS = ("num", "num", "bits", "task", "css", "css_task", "task_vma", "kmem_cache", "dmabuf")
_LOCK, _HEAD, _ROOT = 8, 16, 32  # in the map values called "graph"
_NODE_L, _NODE_R = 8, 32  # in own_node
_KPTRS = (("kptrs", 8, "task_struct"), ("kptrs", 16, "task_struct"), ("kptrs_hash", 8, "cgroup"),
          ("kptrs_hash", 16, "bpf_cpumask"), ("kptrs_hash", 24, "node"), ("kptrs_hash", 32, "record"),
          ("kptrs_hash", 40, "percpu"))  # fmt: skip


class SceneWriter(KernelWriter):
    def __init__(self, rng: random.Random, world: World, types: KernelTypes, target: Target, slip: float) -> None:
        super().__init__(rng, world, types, target, slip)
        self.ends: list[Label] = []

    # Paths that leave.

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

    # References.

    def reference(self) -> None:
        pool = [one for one in self.kfuncs if "acquire" in one.flags and self.types.pointed(one.result)
                and self.types.name(self.types.pointed(one.result)) in _RELEASE]  # fmt: skip
        if not pool:
            return
        function = self.rng.choice(pool)
        before = len(self.code)
        self.call_without_result(function)
        if len(self.code) == before:
            return
        struct = self.types.pointed(function.result)
        reg = self.hold(struct, nullable="ret_null" in function.flags)
        self.given_back(reg, lambda: self.release(struct, reg))

    def call_without_result(self, function: Kfunc) -> None:
        result, self.kfunc_result = self.kfunc_result, lambda _function: None  # type: ignore[method-assign]
        try:
            self.call_kfunc(function)
        finally:
            self.kfunc_result = result  # type: ignore[method-assign]

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
        name = _RELEASE.get(self.types.name(struct), "bpf_task_release")
        if self.slip():
            name = self.rng.choice(list(_RELEASE.values()))
        self.call_named(name, str(reg))

    # Sections.

    def section(self) -> None:
        begin, end = self.rng.choice(_SECTIONS)
        flags = -8 * self.rng.randint(1, 8)
        arguments = (f"fp{flags}",) if "irq" in begin else ()
        if self.slip():
            begin, end = self.rng.choice(((begin, begin), (end, end), (end, begin)))
        if not self.call_named(begin, *arguments):
            return
        if arguments:
            self.slots[flags] = Kind("flags")
        self.within(self.rng.randint(0, 3))
        if not self.slip():
            self.call_named(end, *arguments)
            self.slots.pop(flags, None)

    def locked(self) -> None:
        """A map's value with lists and trees, locked."""
        reg = self.graph_value()
        self.lock_call("spin_lock", reg)
        for _ in range(self.rng.randint(0, 2)):
            weighted(self.rng, ((2, lambda: self.take_out(reg)), (1, lambda: self.peek(reg)), (0.3, self.walk)))
        if not self.slip():
            self.lock_call("spin_unlock", reg)
        self.after_unlock()

    def resilient(self) -> None:
        """A lock that may not be got, with or without interrupts."""
        rng = self.rng
        value = self.kptr_value("resilient")
        irq = self.chance(0.5)
        flags = -8 * rng.randint(1, 6)
        arguments = (f"{value}+8", f"fp{flags}") if irq else (f"{value}+8",)
        take, give = ("bpf_res_spin_lock_irqsave", "bpf_res_spin_unlock_irqrestore") if irq else (
            "bpf_res_spin_lock", "bpf_res_spin_unlock"
        )
        if not self.call_named(take, *arguments):
            return
        out = Label()
        if not self.slip():
            self.jump(rng.choice((0x55, 0x55, 0xC5)), 0, 0, 0, out)
        if irq:
            self.slots[flags] = Kind("flags")
        for _ in range(rng.randint(0, 2)):
            weighted(rng, (
                (1, self.load), (1, self.store), (0.5, self.branch),
                (0.6, self.resilient if self.depth < 2 else self.load),
                (0.4, lambda: self.touch_value(value)), (0.1, self.walk),
            ))  # fmt: skip
        if self.slip():
            give = rng.choice(("bpf_local_irq_restore", "bpf_res_spin_unlock", "bpf_res_spin_unlock_irqrestore"))
        if not self.slip():
            self.call_named(give, *arguments)
        self.slots.pop(flags, None)
        self.place(out)
        self.forget(0, 1, 2, 3, 4, 5)

    def touch_value(self, value: int) -> None:
        size = self.rng.choice((1, 4, 8))
        off = self.rng.choice((0, 0, 4, 12)) if not self.slip() else self.rng.choice((8, 9, 11))
        self.put(0x62 | SIZES[size], value, 0, off, 1)

    def after_unlock(self) -> None:
        if not self.slip():
            self.regs = {r: kind for r, kind in self.regs.items() if kind.name != "seen"}

    def graph_value(self) -> int:
        name = "graph" if self.chance(0.8) else "graph_hash"
        self.lookup(name)
        reg = self.home()
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

    # Objects, lists and trees.

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

    # Kptrs.

    def kptr_value(self, name: str) -> int:
        self.lookup(name)
        reg = self.home()
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

    # Iterators.

    def iterator(self) -> None:
        rng = self.rng
        name = rng.choice(_ITERATORS)
        new, following, destroy = (self.named(f"bpf_iter_{name}_{step}") for step in ("new", "next", "destroy"))
        if new is None or following is None or destroy is None:
            return
        struct = self.types.btf.type(self.types.pointed(new.params[0].type))
        words = struct.size // 8 if isinstance(struct, Struct) else 1
        at = -8 * (words + rng.randint(0, 4))
        guarded = name in ("task", "css") and self.sleepable and not self.slip()
        if guarded:
            self.call_named("bpf_rcu_read_lock")
        if name == "task_vma" or name.startswith("css"):
            for param in new.params[1:]:
                wanted = self.types.pointed(param.type)
                if wanted:
                    self.source(wanted)
        given = self.iterator_arguments(new)
        self.put(0xBF, 1, 10)
        self.put(0x07, 1, 0, 0, at)
        for reg, what in given.items():
            self.put(0xBF if what >= 0 else 0xB7, reg, max(what, 0), 0, 0 if what >= 0 else rng.choice((0, 3, 10, 1)))
        self.put(0x85, 0, 2, 0, new.type_id)
        self.called(NUMBER)
        for word in range(words):
            self.slots[at + 8 * word] = Kind("iter")
        regs, slots = dict(self.regs), dict(self.slots)
        out = Label()
        top = self.here()
        self.put(0xBF, 1, 10)
        self.put(0x07, 1, 0, 0, at if not self.slip() else at + rng.choice((8, -8, 4)))
        self.put(0x85, 0, 2, 0, following.type_id if not self.slip() else destroy.type_id)
        self.called(None)
        element = self.types.pointed(following.result)
        if not self.slip():
            self.jump(0x15, 0, 0, 0, out)
        if element:
            self.hold(element)
        else:
            self.set(0, Kind("memory", 4))
            self.keep(0)
        self.within(rng.randint(0, 2))
        if rng.random() < 0.85:
            self.jump(0x05, 0, 0, 0, top)
        self.place(out)
        self.join(regs, slots)
        if not self.slip():
            self.put(0xBF, 1, 10)
            self.put(0x07, 1, 0, 0, at)
            self.put(0x85, 0, 2, 0, destroy.type_id)
            self.called(None)
        if guarded and not self.slip():
            self.call_named("bpf_rcu_read_unlock")
        for word in range(words):
            self.slots.pop(at + 8 * word, None)

    def iterator_arguments(self, new: Kfunc) -> dict[int, int]:
        """Registers for the arguments after the iterator; -1 for a constant."""
        given = {}
        for reg, param in enumerate(new.params[1:5], 2):
            struct = self.types.pointed(param.type)
            found = self.typed(struct) if struct else None
            given[reg] = found if found is not None and found >= 6 else -1 if not struct or self.chance(0.3) else 6
            if not struct and isinstance(self.types.btf.resolved(param.type), Ptr):
                given[reg] = 10
        return given

    # The rest.

    def packet_dynptr(self) -> None:
        at = -16 - 8 * self.rng.randint(0, 5)
        name = "bpf_dynptr_from_xdp" if self.prog_type == 6 else "bpf_dynptr_from_skb"
        if self.chance(0.2):
            name = "bpf_dynptr_from_skb_meta"
        if self.regs.get(6) != CTX or not self.call_named(name, "6", 0, f"fp-{-at}"):
            self.dynptr()
            return
        self.slots[at] = Kind("dynptr")
        self.slots[at + 8] = Kind("dynptr", at=8)
        for _ in range(self.rng.randint(1, 3)):
            if self.chance(0.4):
                size = self.rng.choice((1, 4, 14, 20))
                buffer = self.stack_bytes(24)
                slice_ = self.rng.choice(("bpf_dynptr_slice", "bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"))
                where = f"fp-{-buffer}" if self.chance(0.8) else 0
                if not self.call_named(slice_, f"fp-{-at}", 0, where, size):
                    continue
                self.set(0, Kind("memory?", size, ident=self.new_ident()))
                reg = self.keep(0)
                if not self.slip():
                    self.check_null(reg)
                self.put(0x61 | SIZES[self.rng.choice((1, 2, 4))], 0, reg, self.rng.choice((0, size - 1, size - 4, 1)))
                self.forget(0)
            else:
                names = [one for one in self.kfuncs if "dynptr" in one.name and "from" not in one.name]
                if names:
                    self.call_kfunc(self.rng.choice(names))

    def throw(self) -> None:
        over = Label()
        if self.chance(0.7):
            self.jump(0x15, self.get_number(), 0, 0, over)
        if self.chance(0.8):
            self.call_named("bpf_throw", self.rng.choice((0, 0, 1, 7)))
        else:
            self.call_named("bpf_throw", str(self.some()))
        self.place(over)

    def work_queue(self) -> None:
        value = self.kptr_value("work")
        if self.chance(0.8) and self.named("bpf_wq_init"):
            self.put(0xBF, 1, value)
            self.put(0x07, 1, 0, 0, 8 if not self.slip() else 0)
            self.map_pointer(2, "work" if not self.slip() else "timer")
            self.put(0xB7, 3, 0, 0, 0)
            self.put(0x85, 0, 2, 0, self.types.functions["bpf_wq_init"].type_id)
            self.called(NUMBER)
        function = self.named("bpf_wq_set_callback_impl")
        if function is not None and self.chance(0.7):
            label = Label()
            regs = {1: Kind("map", map="work"), 2: Kind("memory", 4), 3: Kind("value", 24, map="work")}
            self.todo.append((label, self.static_type(3), self.inner_function(regs, self.rng.randint(0, 2), 0)))
            self.put(0xBF, 1, value)
            self.put(0x07, 1, 0, 0, 8)
            self.function_address(2, label)
            self.put(0xB7, 3, 0, 0, 0)
            self.put(0xB7, 4, 0, 0, 0)
            self.put(0x85, 0, 2, 0, function.type_id)
            self.called(NUMBER)
        if self.chance(0.5):
            self.call_named("bpf_wq_start", f"{value}+8", 0)

    def task_work(self) -> None:
        function = self.named(self.rng.choice(
            ("bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl")
        ))  # fmt: skip
        if function is None:
            return
        value = self.kptr_value("task_work")
        self.reserved.add(value)
        task = self.source(self.types.struct("task_struct"))
        self.reserved.discard(value)
        if task is None:
            return
        label = Label()
        regs = {1: Kind("map", map="task_work"), 2: Kind("memory", 4), 3: Kind("value", 16, map="task_work")}
        self.todo.append((label, self.static_type(3), self.inner_function(regs, self.rng.randint(0, 2), 0)))
        self.put(0xBF, 1, task)
        self.put(0xBF, 2, value)
        self.put(0x07, 2, 0, 0, 8 if not self.slip() else 0)
        self.map_pointer(3, "task_work" if not self.slip() else "work")
        self.function_address(4, label)
        self.put(0xB7, 5, 0, 0, 0)
        self.put(0x85, 0, 2, 0, function.type_id)
        self.called(NUMBER)

    def arena(self) -> None:
        rng = self.rng
        reg = self.home()
        function = self.named("bpf_arena_alloc_pages")
        self.map_pointer(1, "arena" if not self.slip() else "array")
        if function is not None and self.sleepable and self.chance(0.7):
            for r, value in ((2, 0), (3, rng.choice((1, 2))), (4, -1), (5, 0)):
                self.put(0xB7, r, 0, 0, value)
            self.put(0x85, 0, 2, 0, function.type_id)
            self.called(None)
            self.put(0xBF, reg, 0)
        else:
            self.put(0xB7, reg, 0, 0, rng.choice((0, 8, 4096)))
        if self.chance(0.85):
            self.put(0xBF, reg, reg, 1, 1)  # addr_space_cast(0, 1)
        if self.slip():
            self.put(0xBF, reg, reg, 1, rng.choice((0, 2, 1 << 16)))
        size = rng.choice((1, 2, 4, 8))
        for _ in range(rng.randint(1, 3)):
            pick = rng.random()
            if pick < 0.4:
                self.put(0x61 | SIZES[size], 0, reg, rng.choice((0, 8, -8, 32000)))
            elif pick < 0.7:
                self.put(0x62 | SIZES[size], reg, 0, rng.choice((0, 8, 1)), 1)
            elif pick < 0.85:
                self.put(0x07, reg, 0, 0, rng.choice((8, -8, 4096)))
            else:
                self.put(0xDB, reg, self.get_number(), 0, rng.choice((0, 1, 0xE1)))
        self.forget(reg, 0)

    def subprogram(self) -> None:
        """Also functions with parameters of the kernel's types."""
        pool = self.world.types.typed
        if not (self.with_btf and pool and self.chance(0.5)):
            super().subprogram()
            return
        function: Function = self.rng.choice(pool)
        inside: dict[int, Kind] = {}
        for reg, text in enumerate(function.args, 1):
            struct = self.types.struct({"task*": "task_struct", "cgroup*": "cgroup"}.get(text.split(":")[0], ""))
            held = self.source(struct) if struct and self.chance(0.9) else self.typed()
            if held is None or "*" not in text:
                self.put(0xB7, reg, 0, 0, 0)
            elif held != reg:
                self.put(0xBF, reg, held)
            nullable = "nullable" in text
            inside[reg] = Pointer("typed?" if nullable else "typed", struct=struct) if struct else NUMBER
        label = Label()
        self.call(label)
        self.todo.append((label, function.type_id, self.inner_function(inside, self.rng.randint(0, 4))))
        self.called(NUMBER if function.result != "void" else None)

    def end(self) -> None:
        """The program's end, with a result that it may have."""
        if hasattr(self, "exit_label"):
            self.place(self.exit_label)
            del self.exit_label
        if self.chance(0.9):
            self.put(0xB7, 0, 0, 0, self.rng.choice(self.target.results))
            self.put(0x95)
        else:
            super().end()

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        rows = super().statements()
        if self.depth < 3 and len(self.code) < 160:
            rows += [
                (1.2, self.reference), (1.2, self.section), (0.8, self.iterator), (1, self.owned), (0.6, self.locked),
                (1, self.kptr), (0.6, self.packet_dynptr), (0.25, self.throw), (0.25, self.work_queue),
                (0.25, self.arena), (0.3, self.object), (0.5, self.resilient),
                (0.25, self.task_work),
            ]  # fmt: skip
        return rows
