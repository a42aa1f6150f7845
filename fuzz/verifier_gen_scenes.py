"""Steps that belong together in programs with the kernel's types: references, sections, locks, iterators, dynptrs,
exceptions, deferred work, arenas, functions with typed parameters. Objects are in `verifier_gen_objects`."""

from __future__ import annotations

from collections.abc import Callable

from verifier_gen import Label, weighted
from verifier_gen_kernel import Pointer
from verifier_gen_objects import RELEASE, ObjectWriter
from verifier_gen_typed import CTX, NUMBER, SIZES, Kind
from verifier_gen_world import Function
from verifier_kernel_types import Function as Kfunc

from bombus.btf.types import Ptr, Struct
from bombus.spec.helpers import HELPER

_SECTIONS = (
    ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
    ("bpf_preempt_disable", "bpf_preempt_enable"), ("bpf_local_irq_save", "bpf_local_irq_restore"),
)  # fmt: skip
_ITERATORS = ("num", "num", "bits", "task", "css", "css_task", "task_vma", "kmem_cache", "dmabuf")


class SceneWriter(ObjectWriter):
    longest = 6  # statements of a main program

    def main(self, length: int) -> None:
        """With a callback for exceptions now and then."""
        main, handler = self.world.types.exceptions
        if self.with_btf and main and self.chance(0.08):
            self.main_type = main
            write = self.inner_function({1: NUMBER}, self.rng.randint(0, 2), self.rng.choice((0, 0, 1)))
            self.todo.append((Label(), handler, write))
        super().main(length)

    # References.

    def reference(self) -> None:
        pool = [one for one in self.kfuncs if "acquire" in one.flags and self.types.pointed(one.result)
                and self.types.name(self.types.pointed(one.result)) in RELEASE]  # fmt: skip
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

    def shared_memory(self) -> None:
        """What user space shares with a task."""
        task = self.source(self.types.struct("task_struct"))
        if task is None:
            return
        self.map_pointer(1, "shared")
        if task != 2:
            self.put(0xBF, 2, task)
        self.put(0xB7, 3, 0, 0, 0)
        self.put(0xB7, 4, 0, 0, 1)
        self.put(0x85, 0, 0, 0, HELPER["task_storage_get"].id)
        self.called(None)
        self.set(0, Kind("value?", 24, map="shared", ident=self.new_ident()))
        value = self.keep(0)
        if not self.slip():
            self.check_null(value)
        if self.slip():
            self.write_through(value, self.rng.choice((0, 8, 12)), 8)
            return
        reg = self.home()
        self.put(0x79, reg, value, 8 if not self.slip() else self.rng.choice((4, 12)))
        self.set(reg, Kind("memory?", 24, ident=self.new_ident()))
        if not self.slip():
            self.check_null(reg)
        self.load()
        self.store()

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
                (0.25, self.task_work), (0.2, self.shared_memory),
            ]  # fmt: skip
        return rows
