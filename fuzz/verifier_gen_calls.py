"""Programs that call: helpers with every kind of argument, subprograms with and without BTF, callbacks, and objects
that must be acquired and released in order (ring buffer records, sockets, locks, dynptrs, timers)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from verifier_gen import Case, Label, weighted
from verifier_gen_memory import MemoryWriter
from verifier_gen_typed import CTX, NUMBER, PROG_TYPES, Kind, choose_type, finish
from verifier_gen_world import Function, World

from bombus.spec.helpers import HELPER, HELPERS, Helper, allowed, prototype_for

LOOKUP, UPDATE, DELETE, TAIL_CALL, LOOP, FOR_EACH = 1, 2, 3, 12, 181, 164
_SPECIAL = frozenset((
    "loop", "for_each_map_elem", "timer_set_callback", "user_ringbuf_drain", "find_vma", "tail_call", "spin_lock",
    "spin_unlock",
    # whether these are allowed depends on the kernel's configuration
    "probe_write_user", "override_return",
))  # fmt: skip
_BTF_ARGS = ("ARG_PTR_TO_BTF_ID", "ARG_KPTR_XCHG_DEST", "ARG_PTR_TO_PERCPU_BTF_ID")
# Which maps a helper is meant for, by its name; others take any.
_MAPS_OF = {
    "redirect_map": ("devmap", "devmap_hash", "cpumap", "xskmap"), "perf_event_output": ("events",),
    "perf_event_read": ("events",), "perf_event_read_value": ("events",), "get_stackid": ("stacks",),
    "skb_under_cgroup": ("cgroups",), "current_task_under_cgroup": ("cgroups",), "skb_output": ("events",),
    "xdp_output": ("events",), "sk_redirect_map": ("sockmap",), "msg_redirect_map": ("sockmap",),
    "sk_redirect_hash": ("sockhash",), "msg_redirect_hash": ("sockhash",), "sock_map_update": ("sockmap",),
    "sock_hash_update": ("sockhash",), "sk_select_reuseport": ("reuseport", "sockmap", "sockhash"),
    "get_local_storage": ("cgroup_storage", "percpu_cgroup_storage"), "map_push_elem": ("stack", "queue", "bloom"),
    "map_pop_elem": ("stack", "queue"), "map_peek_elem": ("stack", "queue", "bloom"), "sk_storage_get": ("sk_storage",),
    "sk_storage_delete": ("sk_storage",), "ringbuf_output": ("ringbuf",), "ringbuf_reserve": ("ringbuf",),
    "ringbuf_query": ("ringbuf",), "ringbuf_reserve_dynptr": ("ringbuf",),
    "map_lookup_percpu_elem": ("percpu", "percpu_hash"),
    "timer_init": ("timer", "timer_hash"), "task_storage_get": ("task_storage",),
    "task_storage_delete": ("task_storage",), "cgrp_storage_get": ("cgrp_storage",),
    "cgrp_storage_delete": ("cgrp_storage",), "inode_storage_get": ("inode_storage",), "map_lookup_elem": (
        "array", "hash", "one", "rodata", "lru", "percpu", "array_of_maps", "hash_of_maps", "trie", "lock", "timer",
        "sockmap", "sockhash", "xskmap", "devmap", "cpumap", "wide_key", "lru_percpu", "big", "percpu_one",
    ),
    "map_update_elem": ("wide_key", "array", "hash", "lru", "lock_hash", "timer", "percpu", "trie", "rdonly", "wronly"),
    "map_delete_elem": ("hash", "lru", "array", "trie", "timer_hash"),
}  # fmt: skip


class CallWriter(MemoryWriter):
    def __init__(self, rng: random.Random, world: World, prog_type: int, attach_type: int, slip: float) -> None:
        super().__init__(rng, world, prog_type, attach_type, slip)
        self.with_btf = rng.random() < 0.6
        self.callbacks = self.with_btf or rng.random() < 0.05
        self.level = 0
        self.helpers = [
            row for row in HELPERS
            if allowed(row.name, prog_type, attach_type, world.kernel.version) and row.name not in _SPECIAL
            and not any(arg.startswith(_BTF_ARGS) for arg in row.args)
        ]  # fmt: skip

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        deep = self.level >= 3
        return [
            (6, self.helper), (0.05, self.any_helper), (1.5, self.subprogram if not deep else self.helper),
            (1.0 if not deep else 0, self.callback), (1.6, self.object), (0.25, self.tail_call),
            (1, self.load), (1, self.store), (0.5, self.spill), (0.5, self.fill), (0.4, self.move_pointer),
            (0.8 if self.depth < 2 else 0, self.branch), (0.12 if self.depth < 1 else 0, self.loop),
        ]  # fmt: skip

    # Arguments.

    def memory_argument(self, reg: int, written: bool, size: int = 0) -> int:
        """Put a pointer to memory into a register; returns the bytes behind it."""
        rng = self.rng
        found = [(r, kind) for r, kind in self.regs.items() if kind.name in ("value", "packet", "memory") and r >= 6]
        if found and self.chance(0.4):
            r, kind = rng.choice(found)
            self.put(0xBF, reg, r)
            left = kind.size - kind.at
            if self.chance(0.3) and left > 1:
                step = rng.randint(0, left - 1)
                self.put(0x07, reg, 0, 0, step)
                left -= step
            return left
        if self.chance(0.04):
            self.put(0xBF, reg, 6)
            return rng.choice((8, 16, 64))
        size = size or rng.choice((1, 4, 8, 8, 12, 16, 24, 32, 64))
        at = self.stack_bytes(size, not written or self.chance(0.3))
        self.put(0xBF, reg, 10)
        self.put(0x07, reg, 0, 0, at)
        return min(size, -at)

    def size_argument(self, reg: int, size: int, zero: bool) -> None:
        rng = self.rng
        if self.slip():
            size += rng.choice((1, -1, 8))
        pick = rng.random()
        bounded = [r for r, kind in self.regs.items() if kind.name == "number" and 0 < kind.top <= size and r >= 6]
        if bounded and pick < 0.4:
            r = rng.choice(bounded)
            self.put(0xBF, reg, r)
            if not zero and not self.slip():
                over = Label()
                self.jump(0x55, reg, 0, 0, over)
                self.put(0xB7, reg, 0, 0, 1)
                self.place(over)
        elif pick < 0.5:
            self.put(0xB7, reg, 0, 0, 0 if zero or self.slip() else 1)
        else:
            self.put(0xB7, reg, 0, 0, size if self.chance(0.7) else rng.randint(1, max(size, 1)))

    def argument(self, place: int, text: str, fixed: int, name: str, state: dict[str, int], chosen: str) -> None:
        """Fill r1 to r5 for one argument."""
        rng = self.rng
        reg = place + 1
        kind = text.split("|")[0]
        null_ok = "PTR_MAYBE_NULL" in text
        if self.slip() and self.slip():
            if self.regs and self.chance(0.7):
                self.put(0xBF, reg, self.some())
            else:
                self.put(0xB7, reg, 0, 0, rng.choice((0, 1)))
            return
        if null_ok and self.chance(0.25):
            self.put(0xB7, reg, 0, 0, 0)
            state["size"] = 0
            return
        if kind == "ARG_CONST_MAP_PTR":
            self.map_pointer(reg, chosen)
        elif kind in ("ARG_PTR_TO_MAP_KEY", "ARG_PTR_TO_MAP_VALUE"):
            info = self.world.infos[self.world.maps[chosen]]
            size = info.key_size if kind.endswith("KEY") else info.value_size
            self.memory_argument(reg, "UNINIT" in text, size)
        elif kind == "ARG_PTR_TO_MEM":
            state["size"] = self.memory_argument(reg, "MEM_UNINIT" in text, fixed)
        elif kind in ("ARG_CONST_SIZE", "ARG_CONST_SIZE_OR_ZERO"):
            self.size_argument(reg, state.get("size", 8), kind.endswith("ZERO"))
        elif kind == "ARG_CONST_ALLOC_SIZE_OR_ZERO":
            state["alloc"] = rng.choice((8, 16, 24, 32))
            self.put(0xB7, reg, 0, 0, state["alloc"])
        elif kind == "ARG_PTR_TO_CTX":
            self.put(0xBF, reg, 6)
        elif kind == "ARG_PTR_TO_CONST_STR":
            self.wide(reg, self.world.maps["rodata"] | rng.choice((0, 40, 44, 47)) << 32, 2)
        elif kind in ("ARG_PTR_TO_STACK",):
            self.put(0xBF, reg, 10)
            self.put(0x07, reg, 0, 0, -8 * rng.randint(1, 4))
        elif kind in ("ARG_PTR_TO_TIMER", "ARG_PTR_TO_SPIN_LOCK"):
            self.put(0xBF, reg, self.holding("value") or 7)
            self.put(0x07, reg, 0, 0, 8)
        elif kind == "ARG_PTR_TO_DYNPTR":
            found = [at for at, k in self.slots.items() if k.name == "dynptr"]
            self.put(0xBF, reg, 10)
            self.put(0x07, reg, 0, 0, rng.choice(found) if found and "UNINIT" not in text else -8 * rng.randint(2, 6))
        elif kind in ("ARG_PTR_TO_SOCK_COMMON", "ARG_PTR_TO_BTF_ID_SOCK_COMMON"):
            sock = self.holding("sock")
            self.put(0xBF, reg, sock if sock is not None else 6)
        elif kind == "ARG_PTR_TO_RINGBUF_MEM":
            record = self.holding("memory")
            self.put(0xBF, reg, record if record is not None else 6)
        else:
            numbers = [r for r, k in self.regs.items() if k.name == "number" and (r >= 6 or r > place + 1)]
            if numbers and self.chance(0.4):
                self.put(0xBF, reg, rng.choice(numbers))
            else:
                self.put(0xB7, reg, 0, 0, rng.choice((0, 0, 1, 2, 4, 256, rng.randint(-5, 20))))

    def call_helper(self, row: Helper, chosen: str = "") -> dict[str, int]:
        state: dict[str, int] = {}
        proto = prototype_for(row, self.prog_type, False, self.attach_type)
        if not chosen:
            names = _MAPS_OF.get(row.name, ())
            everything = tuple(self.world.maps)
            chosen = self.rng.choice(names if names and not self.slip() else everything)
        if any(kind.startswith(("ARG_PTR_TO_TIMER",)) for kind in proto.args) and self.holding("value") is None:
            self.get_map_value("timer")
        order = list(range(len(proto.args)))
        for place in order:
            self.argument(place, proto.args[place], proto.sizes[place], row.name, state, chosen)
        self.put(0x85, 0, 0, 0, row.id)
        self.called(None)
        self.result(row, proto.ret, chosen, state)
        return state

    def result(self, row: Helper, ret: str, chosen: str, state: dict[str, int]) -> None:
        base = ret.split("|")[0]
        null = "?" if "MAYBE_NULL" in ret else ""
        if base == "RET_INTEGER":
            self.set(0, NUMBER)
            if self.chance(0.3):
                self.keep(0)
            return
        if base == "RET_VOID":
            return
        info = self.world.infos[self.world.maps[chosen]]
        ident = self.new_ident()
        if base == "RET_PTR_TO_MAP_VALUE":
            kind = Kind("map_of" if info.type in (12, 13) else "value", info.value_size, map=chosen, ident=ident)
            if info.type in (15, 18):
                kind = Kind("sock", ident=ident)
        elif base in ("RET_PTR_TO_SOCKET", "RET_PTR_TO_TCP_SOCK", "RET_PTR_TO_SOCK_COMMON"):
            kind = Kind("sock", 40, ident=ident)
        elif base == "RET_PTR_TO_MEM":
            kind = Kind("memory", state.get("alloc", 8), ident=ident)
        else:
            return
        kind = Kind(kind.name + null, kind.size, 0, -1, kind.map, ident)
        self.set(0, kind)
        reg = self.keep(0)
        if null and not self.slip():
            self.check_null(reg)

    def keep(self, reg: int) -> int:
        to = self.home()
        self.put(0xBF, to, reg)
        self.set(to, self.regs[reg])
        return to

    # Statements.

    def helper(self) -> None:
        if self.helpers:
            self.call_helper(self.rng.choice(self.helpers))

    def any_helper(self) -> None:
        """A helper that may not be allowed here."""
        row = self.rng.choice(HELPERS)
        if not any(arg.startswith(_BTF_ARGS) for arg in row.args) and row.name not in _SPECIAL:
            self.call_helper(row)

    def tail_call(self) -> None:
        if self.regs.get(6) != CTX:
            return
        self.put(0xBF, 1, 6)
        self.map_pointer(2, "progs" if not self.slip() else self.rng.choice(tuple(self.world.maps)))
        if self.chance(0.7):
            self.put(0xB7, 3, 0, 0, self.rng.choice((0, 1, 3, 4)))
        else:
            self.put(0xBF, 3, self.get_number())
        self.put(0x85, 0, 0, 0, TAIL_CALL)
        self.called(NUMBER)

    def inner_function(self, regs: dict[int, Kind], length: int, result: int = -1) -> Callable[[], None]:
        """What writes a function that starts with these registers. result: what it returns, -1 for anything."""
        level = self.level + 1

        def write() -> None:
            self.regs, self.slots = dict(regs), {}
            self.level = level
            self.depth = 0
            for r in (1, 2, 3):
                if r in regs and self.chance(0.6):
                    to = {1: 6, 2: 7, 3: 8}[r]
                    self.put(0xBF, to, r)
                    self.set(to, regs[r])
            self.body(length)
            if hasattr(self, "exit_label"):
                self.place(self.exit_label)
                del self.exit_label
            pick = self.rng.random()
            numbers = [r for r, kind in self.regs.items() if kind.name == "number"]
            if result >= 0 and not self.slip():
                self.put(0xB7, 0, 0, 0, result)
            elif pick < 0.3 and numbers:
                self.put(0xBF, 0, self.rng.choice(numbers))
            elif pick < 0.4 and self.regs:
                self.put(0xBF, 0, self.some())
            else:
                self.put(0xB7, 0, 0, 0, self.rng.choice((0, 1, 2, -1)))
            self.put(0x95)

        return write

    def subprogram(self) -> None:
        rng = self.rng
        functions = self.world.types.functions
        function = rng.choice(functions)
        if self.with_btf:
            pool = [f for f in functions if self.fits(f)]
            if pool and not self.slip():
                function = rng.choice(pool)
        label = Label()
        known = [(entry, type_id) for entry, type_id, _ in self.todo]
        if known and self.chance(0.2):
            label, type_id = rng.choice(known)
            function = next((f for f in functions if f.type_id == type_id), function)
        inside: dict[int, Kind] = {}
        for place, text in enumerate(function.args[:5]):
            kind = self.pass_argument(place + 1, text, function.is_global and self.with_btf)
            inside[place + 1] = kind
        if function.is_global and self.with_btf:
            inside = {r: self.seen_by_global(text) for r, text in enumerate(function.args[:5], 1)}
        self.call(label)
        if label.at < 0 and not any(entry is label for entry, _, _ in self.todo):
            self.todo.append((label, function.type_id, self.inner_function(inside, rng.randint(0, 4))))
        self.called(NUMBER if function.result != "void" or not self.with_btf else None)
        if 0 in self.regs and self.chance(0.3):
            self.keep(0)

    def fits(self, function: Function) -> bool:
        """Whether the function is meant for this program's context."""
        wanted = {1: "__sk_buff", 3: "__sk_buff", 6: "xdp_md", 18: "bpf_sock_addr", 13: "bpf_sock_ops",
                  25: "bpf_sockopt", 17: "bpf_raw_tracepoint_args"}.get(self.prog_type)  # fmt: skip
        return all(not text.startswith("ctx:") or text == f"ctx:{wanted}" for text in function.args)

    def pass_argument(self, reg: int, text: str, checked: bool) -> Kind:
        rng = self.rng
        if text.startswith("ctx:") or text.endswith(":ctx"):
            self.put(0xBF, reg, 6)
            return self.regs.get(6, CTX)
        if "*" in text:
            if "nonnull" not in text and self.chance(0.2):
                self.put(0xB7, reg, 0, 0, 0)
                return NUMBER
            if text == "dynptr*":
                found = [at for at, k in self.slots.items() if k.name == "dynptr"]
                self.put(0xBF, reg, 10)
                self.put(0x07, reg, 0, 0, rng.choice(found) if found else -16)
                return Kind("dynptr_arg")
            size = {"int*": 4, "struct*": 16, "const struct*": 16, "long*": 8, "char*": 1}.get(text.split(":")[0], 8)
            size = self.memory_argument(reg, False, size if checked or self.chance(0.5) else 0)
            return Kind("memory", size)
        if not checked and self.chance(0.4) and any(r >= 6 for r in self.regs):
            r = rng.choice([r for r in self.regs if r >= 6])
            self.put(0xBF, reg, r)
            return self.regs[r]
        if not checked and self.chance(0.2):
            at = self.stack_bytes(8)
            self.put(0xBF, reg, 10)
            self.put(0x07, reg, 0, 0, at)
            return Kind("memory", 8)
        self.put(0xB7, reg, 0, 0, rng.randint(0, 9))
        return NUMBER

    @staticmethod
    def seen_by_global(text: str) -> Kind:
        if text.startswith("ctx:") or text.endswith(":ctx"):
            return CTX
        if "*" in text and text != "dynptr*":
            size = {"int*": 4, "struct*": 16, "const struct*": 16, "long*": 8, "char*": 1}.get(text.split(":")[0], 0)
            return Kind("memory" if "nonnull" in text else "memory?", size, ident=1)
        return NUMBER if "*" not in text else Kind("dynptr_arg")

    def static_type(self, arguments: int) -> int:
        functions = self.world.types.functions
        pool = [f for f in functions if not f.is_global and len(f.args) == arguments and f.result == "int"]
        return self.rng.choice(pool or functions).type_id

    def callback(self) -> None:
        if not self.callbacks:
            return
        rng = self.rng
        label = Label()
        pick = rng.random()
        at = self.stack_bytes(8)
        with_stack = self.chance(0.6)
        context = Kind("memory", 8) if with_stack else NUMBER
        if pick < 0.5:
            if self.chance(0.7):
                self.put(0xB7, 1, 0, 0, rng.choice((0, 1, 2, 5, 100)))
            else:
                self.put(0xBF, 1, self.get_number())
            self.function_address(2, label)
            self.context_argument(3, at, with_stack)
            self.put(0xB7, 4, 0, 0, 0 if not self.slip() else 1)
            self.put(0x85, 0, 0, 0, LOOP)
            regs = {1: NUMBER, 2: context}
        elif pick < 0.8:
            name = rng.choice(("array", "hash", "percpu", "lru", "one", "lock", "timer"))
            if self.slip():
                name = rng.choice(tuple(self.world.maps))
            info = self.world.infos[self.world.maps[name]]
            self.map_pointer(1, name)
            self.function_address(2, label)
            self.context_argument(3, at, with_stack)
            self.put(0xB7, 4, 0, 0, 0)
            self.put(0x85, 0, 0, 0, FOR_EACH)
            regs = {1: Kind("map", map=name), 2: Kind("memory", info.key_size),
                    3: Kind("value", info.value_size, map=name), 4: context}  # fmt: skip
        elif pick < 0.9:
            r = self.get_map_value("timer")
            if r is None:
                return
            self.put(0xBF, 1, r)
            self.put(0x07, 1, 0, 0, 8)
            self.function_address(2, label)
            self.put(0x85, 0, 0, 0, HELPER["timer_set_callback"].id)
            regs = {1: Kind("map", map="timer"), 2: Kind("memory", 4), 3: Kind("value", 40, map="timer")}
        else:
            self.map_pointer(1, "user_ringbuf")
            self.function_address(2, label)
            self.context_argument(3, at, with_stack)
            self.put(0xB7, 4, 0, 0, 0)
            self.put(0x85, 0, 0, 0, HELPER["user_ringbuf_drain"].id)
            regs = {1: Kind("dynptr_arg"), 2: context}
        self.called(NUMBER)
        self.todo.append(
            (label, self.static_type(len(regs)), self.inner_function(regs, rng.randint(0, 3), rng.choice((0, 0, 1))))
        )

    def context_argument(self, reg: int, at: int, with_stack: bool) -> None:
        if with_stack:
            self.put(0xBF, reg, 10)
            self.put(0x07, reg, 0, 0, at)
        else:
            self.put(0xB7, reg, 0, 0, 0)

    # Objects with a life.

    def object(self) -> None:
        weighted(self.rng, (
            (1, self.ring_record), (0.8, self.socket), (1, self.lock), (1, self.dynptr), (0.5, self.timer),
            (0.5, self.inner_map),
        ))  # fmt: skip

    def middle(self) -> None:
        if self.chance(0.6):
            self.body_of_object()
        if self.slip():
            self.leave()

    def body_of_object(self) -> None:
        weighted(self.rng, (
            (1, self.load), (1, self.store), (0.5, self.branch), (0.5, self.spill), (0.5, self.fill),
            (0.4, self.helper), (0.3, self.move_pointer), (0.15, self.subprogram), (0.1, self.callback),
        ))  # fmt: skip

    def ring_record(self) -> None:
        rng = self.rng
        size = rng.choice((1, 8, 24, 40))
        self.map_pointer(1, "ringbuf")
        self.put(0xB7, 2, 0, 0, size)
        self.put(0xB7, 3, 0, 0, 0)
        self.put(0x85, 0, 0, 0, HELPER["ringbuf_reserve"].id)
        self.called(None)
        reg = rng.choice((7, 8, 9))
        self.put(0xBF, reg, 0)
        self.set(reg, Kind("memory?", size, ident=self.new_ident()))
        self.set(0, self.regs[reg])
        if not self.slip():
            self.check_null(reg)
        self.middle()
        if self.slip():
            return
        self.put(0xBF, 1, reg)
        if self.slip():
            self.put(0x07, 1, 0, 0, rng.choice((0, 1, 8)))
        self.put(0xB7, 2, 0, 0, 0)
        self.put(0x85, 0, 0, 0, HELPER[rng.choice(("ringbuf_submit", "ringbuf_discard"))].id)
        self.called(None)
        if not self.slip():
            self.regs.pop(reg, None)

    def socket(self) -> None:
        rng = self.rng
        names = [n for n in ("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp")
                 if allowed(n, self.prog_type, self.attach_type, self.world.kernel.version)]  # fmt: skip
        if not names or self.regs.get(6) != CTX:
            self.ring_record()
            return
        at = self.stack_bytes(12)
        self.put(0xBF, 1, 6)
        self.put(0xBF, 2, 10)
        self.put(0x07, 2, 0, 0, at)
        self.put(0xB7, 3, 0, 0, rng.choice((12, 12, 36)))
        self.put(0xB7, 4, 0, 0, -1)
        self.put(0xB7, 5, 0, 0, 0)
        self.put(0x85, 0, 0, 0, HELPER[rng.choice(names)].id)
        self.called(None)
        reg = rng.choice((7, 8, 9))
        self.put(0xBF, reg, 0)
        self.set(reg, Kind("sock?", 48, ident=self.new_ident()))
        self.set(0, self.regs[reg])
        if not self.slip():
            self.check_null(reg)
        for _ in range(rng.randint(0, 2)):
            pick = rng.random()
            if pick < 0.5:
                size = rng.choice((0, 0, 0x08, 0x10, 0x18))
                self.put(0x61 | size, rng.choice((0, 1, 2)), reg, rng.choice((0, 4, 8, 24, 44, 48, 52, 76, 80)))
            elif pick < 0.8:
                name = rng.choice(("tcp_sock", "sk_fullsock", "get_listener_sock", "skc_to_tcp_sock", "sk_cgroup_id"))
                if allowed(name, self.prog_type, self.attach_type, self.world.kernel.version):
                    self.put(0xBF, 1, reg)
                    self.put(0x85, 0, 0, 0, HELPER[name].id)
                    self.called(None)
                    if name in ("tcp_sock", "sk_fullsock", "get_listener_sock") and self.chance(0.7):
                        to = rng.choice([r for r in (7, 8, 9) if r != reg])
                        self.put(0xBF, to, 0)
                        self.set(to, Kind("sock?", 40, ident=self.new_ident()))
                        over = Label()
                        self.jump(0x15, to, 0, 0, over)
                        self.put(0x61, 1, to, rng.choice((0, 4, 8, 12)))
                        self.place(over)
                        if self.slip():
                            self.put(0x61, 1, to, 0)
            else:
                self.middle()
        if self.slip():
            return
        self.put(0xBF, 1, reg)
        self.put(0x85, 0, 0, 0, HELPER["sk_release"].id)
        self.called(NUMBER)
        if not self.slip():
            self.regs.pop(reg, None)
            for r in [r for r, kind in self.regs.items() if kind.name.startswith("sock")]:
                del self.regs[r]

    def lock(self) -> None:
        if not allowed("spin_lock", self.prog_type, self.attach_type, self.world.kernel.version) and not self.slip():
            return
        reg = self.get_map_value(self.rng.choice(("lock", "lock", "lock_hash")))
        if reg is None:
            return
        for name in ("spin_lock", "spin_unlock"):
            self.put(0xBF, 1, reg)
            self.put(0x07, 1, 0, 0, 8 if not self.slip() else self.rng.choice((0, 4, 12)))
            self.put(0x85, 0, 0, 0, HELPER[name].id)
            self.called(None)
            if name == "spin_lock":
                for _ in range(self.rng.randint(0, 2)):
                    off = self.rng.choice((0, 16, 24, 12)) if not self.slip() else self.rng.choice((8, 9, 4))
                    if self.chance(0.5):
                        self.put(0x62, reg, 0, off, 1)
                    else:
                        self.put(0x61, 1, reg, off)
                if self.slip():
                    self.middle()
                if self.slip() and self.slip():
                    return

    def dynptr(self) -> None:
        rng = self.rng
        at = -16 - 8 * rng.randint(0, 3)
        if self.chance(0.5):
            r = self.get_map_value(rng.choice(("array", "one", "hash")))
            if r is None:
                return
            kind = self.regs[r]
            self.put(0xBF, 1, r)
            self.put(0xB7, 2, 0, 0, max(kind.size - kind.at, 1) if self.chance(0.7) else 8)
            self.put(0xB7, 3, 0, 0, 0)
            self.dynptr_at(4, at)
            self.put(0x85, 0, 0, 0, HELPER["dynptr_from_mem"].id)
            ring = False
        else:
            self.map_pointer(1, "ringbuf")
            self.put(0xB7, 2, 0, 0, rng.choice((8, 32)))
            self.put(0xB7, 3, 0, 0, 0)
            self.dynptr_at(4, at)
            self.put(0x85, 0, 0, 0, HELPER["ringbuf_reserve_dynptr"].id)
            ring = True
        self.called(NUMBER)
        self.slots[at] = self.slots[at + 8] = Kind("dynptr")
        for _ in range(rng.randint(0, 2)):
            pick = rng.random()
            if pick < 0.35:
                self.dynptr_at(1, at)
                self.put(0xB7, 2, 0, 0, 0)
                self.put(0xB7, 3, 0, 0, rng.choice((4, 8)))
                self.put(0x85, 0, 0, 0, HELPER["dynptr_data"].id)
                self.called(None)
                to = rng.choice((7, 8, 9))
                self.put(0xBF, to, 0)
                self.set(to, Kind("memory?", 4, ident=self.new_ident()))
                self.set(0, self.regs[to])
                over = Label()
                self.jump(0x15, to, 0, 0, over)
                self.put(rng.choice((0x62, 0x72)), to, 0, rng.choice((0, 0, 4)), 1)
                self.place(over)
                self.regs.pop(to, None)
                self.regs.pop(0, None)
            elif pick < 0.6:
                other = -64
                self.put(0x7A, 10, 0, other)
                self.put(0xBF, 1, 10)
                self.put(0x07, 1, 0, 0, other)
                self.put(0xB7, 2, 0, 0, 8)
                self.dynptr_at(3, at)
                self.put(0xB7, 4, 0, 0, 0)
                self.put(0xB7, 5, 0, 0, 0)
                self.put(0x85, 0, 0, 0, HELPER["dynptr_read"].id)
                self.called(NUMBER)
            elif pick < 0.8:
                self.dynptr_at(1, at)
                self.put(0xB7, 2, 0, 0, 0)
                self.put(0xBF, 3, 10)
                self.put(0x07, 3, 0, 0, -64)
                self.put(0x7A, 10, 0, -64)
                self.put(0xB7, 4, 0, 0, 8)
                self.put(0xB7, 5, 0, 0, 0)
                self.put(0x85, 0, 0, 0, HELPER["dynptr_write"].id)
                self.called(NUMBER)
            else:
                self.middle()
        if self.slip():
            self.put(rng.choice((0x7A, 0x72)), 10, 0, at + rng.choice((0, 8)))
        if ring and not self.slip():
            self.dynptr_at(1, at)
            self.put(0xB7, 2, 0, 0, 0)
            self.put(0x85, 0, 0, 0, HELPER[rng.choice(("ringbuf_submit_dynptr", "ringbuf_discard_dynptr"))].id)
            self.called(None)
        if not self.slip():
            self.slots.pop(at, None)
            self.slots.pop(at + 8, None)

    def dynptr_at(self, reg: int, at: int) -> None:
        self.put(0xBF, reg, 10)
        self.put(0x07, reg, 0, 0, at if not self.slip() else at + self.rng.choice((8, -8, 1)))

    def timer(self) -> None:
        reg = self.get_map_value("timer")
        if reg is None:
            return
        for name in ("timer_init", "timer_start", "timer_cancel"):
            if self.chance(0.5):
                continue
            self.put(0xBF, 1, reg)
            self.put(0x07, 1, 0, 0, 8 if not self.slip() else 0)
            if name == "timer_init":
                self.map_pointer(2, "timer" if not self.slip() else "timer_hash")
                self.put(0xB7, 3, 0, 0, 1)
            else:
                self.put(0xB7, 2, 0, 0, 0)
                self.put(0xB7, 3, 0, 0, 0)
            self.put(0x85, 0, 0, 0, HELPER[name].id)
            self.called(NUMBER)

    def inner_map(self) -> None:
        outer, inner = self.rng.choice((("array_of_maps", "inner"), ("hash_of_maps", "inner_lock")))
        self.lookup(outer)
        reg = self.rng.choice((7, 8, 9))
        self.put(0xBF, reg, 0)
        self.set(reg, Kind("map_of?", 0, map=outer, ident=self.new_ident()))
        self.set(0, self.regs[reg])
        if not self.slip():
            self.check_null(reg)
        at = self.stack_bytes(4)
        self.put(0xBF, 1, reg)
        self.put(0xBF, 2, 10)
        self.put(0x07, 2, 0, 0, at)
        self.put(0x85, 0, 0, 0, LOOKUP)
        self.called(None)
        info = self.world.infos[self.world.maps[inner]]
        self.put(0xBF, reg, 0)
        self.set(reg, Kind("value?", info.value_size, map=inner, ident=self.new_ident()))
        self.set(0, self.regs[reg])
        if not self.slip():
            self.check_null(reg)


def call_generator(world: World, prog_types: Sequence[int], topic: str) -> Callable[[random.Random], Case]:
    def generate(rng: random.Random) -> Case:
        prog_type, attach_type = choose_type(rng, prog_types)
        w = CallWriter(rng, world, prog_type, attach_type, rng.choice((0, 0.01, 0.02, 0.05)))
        w.main(rng.randint(1, 6))
        return finish(w, topic, prog_type, attach_type)

    return generate


def helper_generator(world: World) -> Callable[[random.Random], Case]:
    """One or two helper calls for a random program type."""

    def generate(rng: random.Random) -> Case:
        prog_type, attach_type = choose_type(rng, PROG_TYPES)
        w = CallWriter(rng, world, prog_type, attach_type, rng.choice((0, 0.02, 0.1)))
        w.with_btf = False
        if w.helpers:
            w.put(0xBF, 6, 1)
            w.set(6, CTX)
            if w.chance(0.5):
                w.get_map_value()
            if w.chance(0.3):
                w.get_number(rng.choice((8, 16, 40)))
            for _ in range(rng.randint(1, 2)):
                w.helper() if w.chance(0.97) else w.any_helper()
        w.end()
        return finish(w, "helper", prog_type, attach_type)

    return generate
