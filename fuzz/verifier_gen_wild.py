"""Functions for objects, lists, trees, locks and saved flags in any order, with any of what a program holds.

Where `verifier_gen_objects` keeps to the rules and breaks one now and then, here hardly any is kept: each refusal of
the kernel has its turn. A prelude makes a map's value, objects and a dynptr for the calls to choose from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from verifier_gen import Label, weighted
from verifier_gen_kernel import GRAPH, Pointer
from verifier_gen_scenes import SceneWriter
from verifier_gen_typed import NUMBER, Kind

from bombus.btf.types import FuncProto, Ptr
from bombus.spec.helpers import HELPER

_OTHERS = (
    "bpf_obj_drop_impl", "bpf_percpu_obj_drop_impl", "bpf_refcount_acquire_impl", "bpf_obj_new_impl",
    "bpf_percpu_obj_new_impl", "bpf_res_spin_lock", "bpf_res_spin_unlock", "bpf_res_spin_lock_irqsave",
    "bpf_res_spin_unlock_irqrestore", "bpf_local_irq_save", "bpf_local_irq_restore", "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock", "bpf_wq_init", "bpf_wq_start", "bpf_wq_set_callback_impl", "bpf_throw", "bpf_task_release",
    "bpf_cpumask_create", "bpf_cpumask_release", "bpf_dynptr_clone", "bpf_dynptr_slice", "bpf_dynptr_adjust",
    "bpf_task_work_schedule_signal_impl",
)  # fmt: skip
_VALUES = ("graph", "graph", "graph", "kptrs_one", "resilient", "work", "task_work", "array")
_OFFSETS = (0, 0, 8, 8, 16, 24, 32, 32, 40, 64)


class WildWriter(SceneWriter):
    def main(self, length: int) -> None:
        """What there is to choose from, then calls."""
        self.with_btf = self.with_btf or self.chance(0.9)
        self.put(0xBF, 6, 1)
        self.set(6, Kind("ctx"))
        name = self.rng.choice(_VALUES)
        info = self.world.infos[self.world.maps[name]]
        if info.max_entries == 1 and self.chance(0.6):
            self.wide(7, self.world.maps[name], 2)
        else:
            self.lookup(name)
            self.put(0xBF, 7, 0)
            self.check_null(0)
        self.set(7, Kind("value", info.value_size, map=name))
        for reg in (8, 9):
            if self.chance(0.75):
                self.object_in(reg)
        if self.chance(0.3):
            self.dynptr_at_bottom()
        if name == "graph" and self.chance(0.6):
            self.lock_call("spin_lock", 7)
        self.body(length)
        self.end()
        while self.todo:
            label, type_id, write = self.todo.pop(0)
            self.place(label)
            self.functions.append((label, type_id))
            write()

    def object_in(self, reg: int) -> None:
        which = self.rng.choice(("node", "node", "single", "record", "holder"))
        struct = self.world.types.objects[which]
        percpu = which == "record" and self.chance(0.3)
        if not self.call_named("bpf_percpu_obj_new_impl" if percpu else "bpf_obj_new_impl", struct, 0):
            return
        self.put(0xBF, reg, 0)
        if self.chance(0.9):
            over = Label()
            self.jump(0x55, reg, 0, 0, over)
            self.leave()
            self.place(over)
        self.set(reg, Pointer("typed", struct=struct, own=True))

    def dynptr_at_bottom(self) -> None:
        self.wide(1, self.world.maps["one"], 2)
        self.put(0xB7, 2, 0, 0, 20)
        self.put(0xB7, 3, 0, 0, 0)
        self.dynptr_at(4, -64)
        self.put(0x85, 0, 0, 0, HELPER["dynptr_from_mem"].id)
        self.called(NUMBER)
        self.slots[-64] = Kind("dynptr")

    def wild(self) -> None:
        name = self.rng.choice(GRAPH if self.chance(0.5) else _OTHERS)
        function = self.types.functions.get(name)
        if function is None:
            return
        for reg, param in enumerate(function.params[:5], 1):
            self.any_argument(reg, param.type, param.name)
        self.put(0x85, 0, 2, 0, function.type_id)
        self.called(NUMBER)
        if isinstance(self.types.btf.resolved(function.result), Ptr):
            self.keep_or_not()

    def any_argument(self, reg: int, type_id: int, name: str) -> None:
        rng = self.rng
        type_ = self.types.btf.resolved(type_id)
        if not isinstance(type_, Ptr):
            self.put(0xB7, reg, 0, 0, rng.choice((0, 0, 1, 8, *self.world.types.objects.values())))
            return
        target = self.types.btf.resolved(type_.type)
        if isinstance(target, FuncProto):
            self.function_address(reg, self.less() if self.chance(0.7) else self.some_function())
            return
        if name.endswith(("__ign", "__prog")):
            self.put(0xB7, reg, 0, 0, 0)
            return
        pick = rng.random()
        if pick < 0.12 or name.endswith("__irq_flag") or getattr(target, "name", "") == "bpf_dynptr":
            self.put(0xBF, reg, 10)
            self.put(0x07, reg, 0, 0, rng.choice((-8, -8, -16, -64, -64, -48)))
        elif pick < 0.16:
            self.map_pointer(reg, rng.choice(("work", "timer", "task_work", "array")))
        elif pick < 0.2:
            self.put(0xB7, reg, 0, 0, 0)
        else:
            held = [r for r, kind in self.regs.items() if kind.name in ("value", "typed", "seen") and r != reg]
            self.put(0xBF, reg, rng.choice(held) if held and self.chance(0.95) else rng.randint(6, 9))
            offset = rng.choice(_OFFSETS)
            if offset:
                self.put(0x07, reg, 0, 0, offset)
            if self.chance(0.04):
                self.put(0x0F, reg, 6 if self.chance(0.2) else self.masked(reg))

    def masked(self, reg: int) -> int:
        """A register with a small unknown number."""
        other = 0 if reg != 0 else 1
        self.put(0x61, other, 7, 0)
        self.put(0x57, other, 0, 0, 7)
        return other

    def keep_or_not(self) -> None:
        rng = self.rng
        if self.chance(0.85):
            over = Label()
            self.jump(0x55, 0, 0, 0, over)
            if self.chance(0.5):
                self.lock_call("spin_unlock", 7)
            self.leave()
            self.place(over)
        reg = rng.choice((8, 9))
        self.put(0xBF, reg, 0)
        kind = Pointer("typed", struct=self.world.types.objects["node"], own=True)
        self.set(reg, kind if self.chance(0.7) else replace(kind, name="seen"))
        if self.chance(0.3):
            self.put(0x07, reg, 0, 0, rng.choice((-8, -32)))

    def lock_or_unlock(self) -> None:
        name = self.rng.choice(("spin_lock", "spin_unlock", "spin_unlock"))
        held = [r for r, kind in self.regs.items() if kind.name in ("value", "typed") and r >= 6]
        self.lock_call(name, self.rng.choice(held) if held and self.chance(0.4) else 7)

    def touch(self) -> None:
        reg = self.rng.choice((8, 9))
        kind = self.regs.get(reg)
        if isinstance(kind, Pointer) and kind.own:
            self.touch_object(reg, kind)

    def spoil(self) -> None:
        """Write over what may be something special on the stack."""
        self.put(self.rng.choice((0x7A, 0x72)), 10, 0, self.rng.choice((-8, -16, -64, -61, -48)), 0)

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        return [(6, self.wild), (1.5, self.lock_or_unlock), (1, self.touch), (0.2, self.spoil), (0.3, self.any_swap)]

    def any_swap(self) -> None:
        self.swap(7, self.rng.choice(_OFFSETS), self.rng.choice((-1, 8, 9)))
        self.keep_or_not()

    def less(self) -> Label:
        """A comparison of nodes that may do what comparisons may not."""
        label = Label()
        node = Pointer("seen", struct=self.world.types.objects["node"], own=True, at=32)

        def write() -> None:
            self.regs, self.slots = {1: node, 2: node}, {}
            if self.chance(0.5):
                self.put(0xBF, 8, 1)
                self.set(8, node)
                weighted(self.rng, ((3, self.wild), (1, self.lock_or_unlock), (2, self.touch)))
            self.put(0xB7, 0, 0, 0, self.rng.choice((0, 1, 1, 2)))
            self.put(0x95)

        self.todo.append((label, self.static_type(2), write))
        return label
