"""What the verifier's messages mean, and what usually helps: one row for each kind of message.

The first row that matches counts; those of `explain_types` come first.
"""

from __future__ import annotations

import re
from typing import Final

from bombus.verifier.explain_rule import BUG as _BUG
from bombus.verifier.explain_rule import COMPILER as _COMPILER
from bombus.verifier.explain_rule import REPORT as _REPORT
from bombus.verifier.explain_rule import R as _R
from bombus.verifier.explain_rule import Rule
from bombus.verifier.explain_rule import rule as _rule
from bombus.verifier.explain_types import TYPED

RULES: Final[tuple[Rule, ...]] = (
    *TYPED,
    # Memory through registers
    _rule("null-check", _R + r" invalid mem access '(?P<type>\w*)_or_null_?'",
          "R{reg} may be NULL here: it came from something that can fail (a lookup, a reservation), and no branch on "
          "this path has ruled NULL out.",
          "Compare the pointer with NULL right after it was made, and use it only where it is not:\n"
          "    value = bpf_map_lookup_elem(&map, &key);\n    if (!value)\n        return 0;"),
    _rule("scalar-pointer", _R + r" invalid mem access '(?:scalar|inv)'",
          "R{reg} is used as an address, but the verifier knows it only as a number: it was never a pointer, or "
          "arithmetic, a 32-bit copy, a partial load or a helper call made it one.",
          "Use the pointer itself, not a number computed from it; read kernel memory with bpf_probe_read_kernel() or "
          "bpf_core_read(), user memory with bpf_probe_read_user()."),
    _rule("packet-end-access", _R + r" invalid mem access 'pkt_end'",
          "R{reg} is the end of the packet. It may be compared with, never read through.",
          "Read through the data pointer after comparing it with data_end."),
    _rule("map-pointer-access", _R + r" invalid mem access 'map_ptr'",
          "R{reg} is the map itself, not one of its values.",
          "Look a value up first: bpf_map_lookup_elem(&map, &key)."),
    _rule("invalid-access", _R + r" invalid mem access '(?P<type>.*)'",
          "Memory cannot be read or written through R{reg}, which is a {type}.",
          "Check which pointer the instruction should go through; it may have been overwritten."),
    _rule("uninitialised-register", _R + r" !read_ok",
          "R{reg} is read, but nothing was put into it on this path. After a call R1 to R5 hold nothing, and R0 holds "
          "something only when the called function returns.",
          "Set the variable on every path before it is used. When R0 is meant at the end: every path needs a "
          "`return` with a value."),
    _rule("register-number", _R + r" is invalid", "There is no register R{reg}; they are R0 to R10.", _COMPILER),
    _rule("frame-pointer", r"frame pointer is read only", "R10 points to the stack frame and cannot be changed.",
          "Copy it to another register and change the copy."),
    _rule("packet-bounds", r"invalid access to packet, off=(?P<off>-?\d+) size=(?P<size>\d+), " + _R
          + r"\(id=\d+,off=-?\d+,r=(?P<range>\d+)\)",
          "{size} bytes of the packet are accessed at offset {off} of R{reg}, but on this path only {range} bytes "
          "from there are known to lie before the packet's end.",
          "Compare with data_end first, over all bytes that will be accessed, through the same pointer:\n"
          "    if ((void *)(eth + 1) > data_end)\n        return XDP_DROP;"),
    _rule("packet-bounds", r"(?:invalid access to packet|" + _R + r" offset is outside of the packet)",
          "The packet is accessed beyond what was compared with its end on this path.",
          "Compare the pointer plus all bytes that will be accessed with data_end before the access, through the same "
          "pointer; a variable offset also needs an upper bound (at most 65535)."),
    _rule("value-bounds", r"invalid access to map value, value_size=(?P<size>\d+) off=(?P<off>-?\d+) size=(?P<n>\d+)",
          "{n} bytes are accessed at offset {off} of a map value of {size} bytes.",
          "Keep the offset within the value: check an index against the number of elements before it is used, and "
          "that the value's type is the one that the map was made with.", "base"),
    _rule("key-bounds", r"invalid access to map key, key_size=(?P<size>\d+) off=(?P<off>-?\d+) size=(?P<n>\d+)",
          "{n} bytes are accessed at offset {off} of a map key of {size} bytes.",
          "Access the key only within its size.", "base"),
    _rule("memory-bounds", r"invalid access to memory, mem_size=(?P<size>\d+) off=(?P<off>-?\d+) size=(?P<n>\d+)",
          "{n} bytes are accessed at offset {off} of memory that is {size} bytes long.",
          "Stay within the size with which the memory was reserved, or check the offset first.", "base"),
    _rule("negative-index", _R + r" min value is negative",
          "The number that R{reg} holds, or that was added to it, may be negative.",
          "Use an unsigned variable, or check `if (index < 0 || index >= MAX)`, or mask it: `index &= MAX - 1`. Check "
          "the same variable that is used, not a copy of other width."),
    _rule("outside-memory", _R + r" (?:min|max) value is outside of the allowed memory range",
          "The offset that was added to R{reg} can leave the memory that it points to.",
          "Check the index against the size right before its use (`if (i >= MAX) return 0;`), or mask it."),
    _rule("unbounded", _R + r" unbounded memory access",
          "The verifier knows no upper limit of the number in R{reg}, or of what was added to it.",
          "Give it one on this path: `if (n > MAX) return 0;` or `n &= MAX - 1`. Use an unsigned type so that one "
          "comparison suffices."),
    _rule("zero-read", r"(?:" + _R + r" )?invalid zero-sized read",
          "The size passed to the helper may be 0, and this helper needs at least one byte.",
          "Check `if (n == 0) return 0;` before the call."),
    _rule("context-access", r"invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)",
          "This type of program may not access {size} bytes at offset {off} of its context: there is no field, it is "
          "read-only, or it can only be accessed whole.",
          "Access a field of the context struct of this program type by its name and whole; see which fields may be "
          "written. A wrong section name (program type) is another cause.", "base"),
    _rule("modified-pointer", r"(?:dereference of modified (?P<type>.*) ptr R(?P<reg>\d+)|negative offset .* ptr "
          r"R(?P<reg>\d+)|variable (?P<type2>.*) access var_off)",
          "This pointer may only be used as it came, or with a constant offset: it was changed by a variable or a "
          "negative number before.",
          "Access fields by constant offsets from the original pointer. Compilers sometimes merge accesses to context "
          "fields of two branches: read the field into a volatile variable, or before the branch.", "base"),
    _rule("misaligned", r"misaligned ", "The address is not a multiple of the access size.",
          "Align the data, use __attribute__((packed)) or smaller accesses, or load without BPF_F_STRICT_ALIGNMENT."),
    _rule("map-access-flags", r"(?:write into|read from) map forbidden",
          "The map was made so that programs may not access it this way (BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, or a "
          "type without direct writes).", "Use another map, or make it without that flag.", "base"),
    _rule("special-field", r"(?P<field>.*) cannot be accessed directly by load/store",
          "{field} inside the map value belongs to the kernel and is only changed by its helpers.",
          "Use its helpers, and copy values member by member around it.", "base"),
    _rule("kptr", r"(?:\S+ access (?:cannot have variable|misaligned expected|size must be)|\S+ cannot be accessed "
          r"indirectly|kptr |store to referenced kptr|invalid kptr access|BPF_ST imm must be 0 when storing to kptr|"
          r"map '.*' has to have BTF in order to use bpf_kptr|off=\d+ (?:kptr|doesn't point to kptr)|"
          + _R + r" (?:has no valid kptr|doesn't have constant offset\. "
          r"kptr))",
          "A kernel pointer kept in a map value is accessed in a way that it does not allow.",
          "Read it with a plain 8-byte load at its own offset, exchange referenced ones with bpf_kptr_xchg().", "base"),
    _rule("read-only-packet", r"cannot write into packet", "This type of program may not change the packet directly.",
          "Use bpf_skb_store_bytes(), or a program type that may write (tc, XDP).", "base"),
    _rule("read-only-memory", _R + r" cannot write into (?P<what>.*)",
          "The helper would write through R{reg}, which points to read-only memory ({what}).",
          "Give it memory that may be written, such as a variable on the stack."),
    _rule("read-only-key", r"write to change key " + _R, "Keys of maps cannot be changed through a pointer.",
          "Delete the element and insert it under the new key."),
    _rule("flow-keys", r"invalid access to flow keys", "The access lies outside struct bpf_flow_keys.",
          "Access its fields by name.", "base"),
    _rule("socket-access", _R + r" invalid (?P<type>.*) access off=(?P<off>-?\d+) size=(?P<size>\d+)",
          "There is no readable field of {size} bytes at offset {off} of this {type}.",
          "Read a field of struct bpf_sock, bpf_tcp_sock or bpf_xdp_sock by its name."),
    _rule("buffer-access", _R + r" invalid .* buffer", "The access through R{reg} lies outside its buffer.",
          "Use constant offsets within the buffer."),
    _rule("btf-access", r"(?:'struct .*' access is allowed only|" + _R + r" is .* invalid negative access|only read "
          r"from .* is supported|access beyond struct|cannot access ptr member)",
          "A kernel struct is accessed in a way that is not allowed: they can only be read, at fields that they have.",
          "Read fields by name (with CO-RE); change the kernel only through helpers and kfuncs."),
    _rule("mixed-pointers", r"same insn cannot be used with different pointers",
          "One instruction accesses memory through different kinds of pointers on different paths, which the kernel "
          "must rewrite in different ways.",
          "Keep the accesses apart: an `asm volatile(\"\" ::: \"memory\")` between the branches stops the compiler "
          "from merging them.", "base"),
    # Stack
    _rule("uninitialised-stack", r"invalid(?P<kind>.*) read from stack (?:R\d+ )?(?:off|var_off) ?(?P<off>.*?) size "
          r"(?P<size>\d+)",
          "{size} bytes of the stack at {off} are read, and not all of them were written on this path. (Padding "
          "between members of a struct counts, too.)",
          "Initialise the whole variable, padding included: `struct key key = {};` or __builtin_memset(&key, 0, "
          "sizeof(key)) before its members are set."),
    _rule("uninitialised-stack", r"invalid.* read from stack " + _R
          + r" off=(?P<off>-(?:\d\d?|[1-4]\d\d|50\d|51[0-2])) size=(?P<size>\d+)",
          "{size} bytes of the stack at {off} are read, and nothing was ever written there.",
          "Initialise the variable before it is read or passed on: `__u32 key = 0;`."),
    _rule("stack-bounds", r"invalid.*? stack R(?P<reg>\d+)",
          "The access lies outside the 512 bytes of the stack frame, or its offset has no bounds.",
          "Check the index into the array on the stack before it is used; make it unsigned. Big data belongs into a "
          "per-CPU array map."),
    _rule("spill-corrupt", r"attempt to corrupt spilled pointer", "Part of a pointer saved on the stack would be "
          "overwritten.", "Programs without privileges may only overwrite it whole."),
    _rule("spill-size", r"invalid size of register (?:spill|fill)", "A pointer can only be saved to the stack and "
          "loaded back as 8 whole bytes at an 8-byte boundary.", _COMPILER),
    _rule("stack-escape", r"cannot (?:spill pointers to stack into stack frame of the caller|return stack pointer to "
          r"the caller)",
          "A pointer to the stack of a function would outlive that function.",
          "Let the caller own the variable and pass its address down."),
    _rule("variable-stack", r"(?:variable offset stack pointer cannot|spilled ptr in range of var-offset|uninit stack "
          r"in range of var-offset|leaking pointer from stack|" + _R + r".* variable offset stack access|" + _R
          + r" variable stack access|" + _R + r" stack pointer arithmetic goes out of range)",
          "The stack is accessed at an offset that is only known when the program runs, where this is not allowed.",
          "Use constant offsets into the stack, or a map value for arrays that are indexed."),
    _rule("stack-size", r"(?:combined stack size|stack size of subprog)", "The functions that call each other need "
          "more than 512 bytes of stack together.", "Move big variables into a per-CPU array map, or inline less."),
    # Arithmetic
    _rule("pointer-or-null-arithmetic", _R + r" pointer arithmetic on (?P<type>.*) prohibited, null-check it first",
          "Something is added to R{reg}, which may still be NULL.",
          "Compare the pointer with NULL before computing with it."),
    _rule("pointer-arithmetic", r"(?:" + _R + r" (?:pointer arithmetic|pointer .* pointer prohibited|32-bit pointer "
          r"arithmetic|tried to subtract pointer|subtraction from stack pointer|bitwise operator|partial copy of "
          r"pointer|sign-extension part of pointer))",
          "This arithmetic on the pointer in R{reg} is not allowed: only adding and subtracting numbers, in 64 bits, "
          "keeps a pointer one, and some pointers may not be moved at all.",
          "Compute the offset as a number first, then add it once to the pointer."),
    _rule("pointer-offset", r"(?:math between .* pointer|.* pointer offset .* is not allowed|value .* makes .* pointer "
          r"be out of bounds)",
          "The number added to the pointer is too large or has no known bounds (they must lie within 2^29).",
          "Bound the number first: `if (n > MAX) return 0;` or `n &= MAX - 1`.", "src"),
    _rule("pointer-comparison", _R + r" pointer comparison prohibited",
          "Pointers may only be compared with NULL, or with pointers into the same packet or stack.",
          "Compare with NULL only; programs without privileges may not compare addresses."),
    _rule("division", r"div by zero", "A division or modulo by the constant 0.", "Divide by something else."),
    _rule("shift", r"invalid shift (?P<n>-?\d+)", "A shift by {n}, which is not less than the width.",
          "Shift by less."),
    # Control flow
    _rule("infinite-loop", r"infinite loop detected at insn (?P<insn>\d+)",
          "The loop comes back to instruction {insn} in the very same state: nothing that the verifier follows changes "
          "from one iteration to the next, so it may never end.",
          "Count with a variable that has a constant limit (`for (i = 0; i < 64; i++)`), or use bpf_loop(), bpf_for() "
          "or can_loop."),
    _rule("back-edge", r"back-edge from insn", "The program has a loop, and loops need privileges (CAP_BPF).",
          "Unroll the loop (#pragma unroll), or load the program with CAP_BPF."),
    _rule("too-large", r"BPF program is too large", "The verifier gave up after a million instructions over all paths.",
          "Shorten loops with many branches, use bpf_loop() or global functions (verified once each), bound inputs "
          "earlier, and split the program by tail calls."),
    _rule("too-complex", r"The sequence of \S+ jumps is too complex", "Too many branches wait to be explored at once.",
          "Use fewer branches in a row, or bpf_loop() instead of unrolled loops."),
    _rule("unreachable", r"unreachable insn (?P<insn>\d+)", "No path leads to instruction {insn}.",
          "Remove the dead code. " + _COMPILER),
    _rule("jump-range", r"(?:jump out of range|jump into the middle|invalid insn idx|call to invalid destination|"
          r"last insn is not an exit or jmp)",
          "The program can leave its instructions: a jump or call goes outside, or a function does not end with exit.",
          "End every function with a return. " + _COMPILER),
    _rule("may-goto", r"invalid may_goto", "The may_goto instruction has fields that must be 0.", _COMPILER),
    _rule("call-depth", r"the call stack of", "Functions call each other more than 8 levels deep, or recursively.",
          "Inline some of them (static __always_inline); recursion is not possible."),
    _rule("too-many-functions", r"too many subprograms", "A program has at most 256 functions.", "Inline some."),
    # Calls of helpers
    _rule("gpl-only", r"cannot call GPL-restricted function",
          "This helper is only for programs under a licence compatible with the GPL.",
          "If you may, say so: char LICENSE[] SEC(\"license\") = \"GPL\"; (or \"Dual BSD/GPL\", \"Dual MIT/GPL\")."),
    _rule("helper-not-allowed", r"(?:program of this type cannot use helper|unknown func) (?P<name>\S*?)#(?P<id>\d+)",
          "Programs of this type may not call the helper {name}, or this kernel does not have it for them.",
          "Use another helper or program type. `bombus feature` shows which programs have which helpers."),
    _rule("helper-not-allowed", r"func (?P<name>\S*?)#(?P<id>\d+) not supported for program type",
          "The helper {name} cannot be used with what this program attaches to.", "Use another attach type."),
    _rule("no-helper", r"invalid func (?P<name>\S*)#(?P<id>\d+)",
          "The kernel has no helper with number {id}: it is newer than the kernel, or the number is wrong.",
          "Load into a newer kernel, or guard the call with bpf_core_enum_value_exists(). `bombus inspect` shows what "
          "needs which kernel."),
    _rule("sleeping-call", r"(?:helper call might sleep|global functions that may sleep)",
          "The function may sleep, and the program runs (or is, here) where sleeping is not allowed.",
          "Make the program sleepable (a section name with .s, such as fentry.s/) or do without."),
    _rule("wrong-argument", _R + r" type=(?P<type>\S+) expected=(?P<expected>.*)",
          "R{reg} holds a {type} where the function takes {expected}.",
          "Pass a pointer of the kind it takes. For keys and values that is memory: a variable on the stack (&key), a "
          "map value, or checked packet data; numbers must be stored in a variable first. When the type ends in "
          "_or_null: check it for NULL first."),
    _rule("constant-size", _R + r" is not a known constant", "R{reg} must be a constant that is known at load time.",
          "Pass a literal or a const variable in .rodata."),
    _rule("leaks-address", r"(?:R(?P<reg>\d+) leaks addr|.* leaks addr)",
          "A kernel address would become visible outside, which programs without privileges may not do.",
          "Store a number instead, or load with CAP_PERFMON."),
    _rule("context-constant", r"BPF_ST stores into R(?P<reg>\d+)",
          "A constant is stored through R{reg} into the context, which kernels before 6.3 take only from a register.",
          "Put the constant into a register first, or compile with -mcpu=v3 or older."),
    _rule("packet-helper", r"helper access to the packet is not allowed", "This helper does not take packet memory.",
          "Copy the bytes to the stack first."),
    _rule("map-kind", r"(?:cannot pass map_type|expected prog array map|callback function not allowed for map|"
          r"tail_call abusing map_ptr|invalid arg_type for sockmap|cannot update sockmap|get_local_storage\(\) doesn't|"
          r"no direct value access support|direct value access on string|" + _R + r" does not point to a readonly "
          r"map|" + _R
          + r" is not a constant address|string is not zero-terminated|invalid map_ptr to access)",
          "The map (or what it holds) is not of the kind that this helper takes here.",
          "Check the map's type and flags against the helper's description."),
    _rule("format-string", r"Invalid format string", "The format of bpf_snprintf has an unknown or surplus conversion.",
          "Use %d %i %u %x %ld %lld %s %c %p and as many arguments as conversions."),
    _rule("async-complexity", r"kernel subsystem misconfigured", "The kernel cannot check this call.", _REPORT),
    # References and locks
    _rule("leaked-reference", r"(?:Unreleased reference id=(?P<id>\d+) alloc_insn=(?P<alloc>\d+))",
          "What instruction {alloc} acquired (a socket, a ring buffer record, ...) is not given back on this path.",
          "Release it on every path, the error paths as well: bpf_sk_release(sk), bpf_ringbuf_submit() or "
          "bpf_ringbuf_discard()."),
    _rule("leaked-reference", r"(?:.*would lead to reference leak|.*cannot be mixed with socket references)",
          "A reference (socket, ring buffer record, ...) is still held where the program ends or jumps away.",
          "Release it on every path before."),
    _rule("release", r"(?:.* reference has not been acquired|arg \d+ is an unacquired reference|" + _R + r" must (?:be "
          r"referenced|have zero offset) when passed to release|cannot release unowned|more than one arg with "
          r"ref_obj_id|verifier internal error: more than one arg)",
          "What is to be released was not acquired by this program, is released already, or the pointer was moved.",
          "Pass exactly the pointer that the acquiring helper returned, once."),
    _rule("lock", r"(?:.*bpf_spin_(?:un)?lock|function calls are not allowed while holding a lock|global function "
          r"calls are not allowed (?:while|with)|.*has no valid bpf_spin_lock|.*bpf_(?:timer|spin_lock))",
          "A lock or timer is used against its rules: locks are held one at a time, over straight code without "
          "calls, on every path unlocked; both must be fields of a map value described by BTF, at constant offsets.",
          "Unlock on every path, move calls out of the locked part, and describe the map by BTF (__type(value, ...))."),
    _rule("lock-order", r"(?:\S+_unlock (?:without taking|of different|cannot be out of order)|Acquiring the same lock "
          r"again)",
          "Resilient locks may nest, but each is taken once, and the last one taken is the first to be given back, by "
          "the function that belongs to the one that took it.",
          "Unlock in the opposite order of locking, with the same pointer, on the path where locking returned 0."),
    _rule("map-field", r"(?:map '.*'|local 'kptr'|\S+) has (?:to have BTF in order to use|no valid) (?P<field>\S+)",
          "The values of this map have no {field}, or the map was made without BTF that says so.",
          "Declare the field in the struct of the values, and the map with __type(value, struct ...)."),
    _rule("map-field", r"off \S+ doesn't point to 'struct (?P<field>[^ ']+)'",
          "What is passed points into a map's value, but not to its {field}.",
          "Pass &value->member of that type, without anything added to it."),
    _rule("timer", r"(?:timer pointer in R1|bpf_task_work pointer in R2|verifier bug. Two map pointers)",
          "The timer (or work) and the map given with it do not belong together.",
          "Pass the map that the value with the timer was looked up in."),
    _rule("map-and-program", r"(?:tracing progs cannot use|socket filter progs cannot use|bpf_struct_ops map cannot|"
          r"Sleepable programs can only use|only one cgroup storage|Only one arena|arena's user address|CAP_BPF and "
          r"CAP_PERFMON are required|The total number of maps)",
          "This map cannot be used in this type of program, or not so many.", "Use another kind of map or program."),
    _rule("dynptr", r"(?:.*[Dd]ynptr|.*bpf_dynptr|Unsupported reg type .* for bpf_dynptr)",
          "A dynptr is used against its rules: it must be initialised once by its helper, live on the stack at a "
          "constant offset, and not be overwritten while it holds something.",
          "Initialise it before use, release it (submit or discard) on every path, and do not touch its bytes."),
    # Return values and functions
    _rule("return-range", r"(?P<where>.*) the register R0 has (?P<what>.*?)(?: (?:should have been in (?P<range>.*)))$",
          "The value returned has {what}; this program may only return {range}.",
          "Return one of the allowed values on every path; mask or compare a computed one first.", "r0"),
    _rule("return-range", r"(?:.*the register R0 (?:has|is not a known value|is not a scalar)|R0 not a scalar value|"
          r".*should have been in)",
          "The value returned is not one that is allowed here.",
          "Return a constant (or bounded number) from the allowed range on every path.", "r0"),
    _rule("global-function", r"(?:Global function|Caller passes invalid args|arg#\d+|Arg#\d+|" + _R + r" is not a "
          r"scalar|Verifier bug in function)",
          "A global (non-static) function is verified on its own, only from its types: the types of its arguments or "
          "what is passed do not fit.",
          "Make it static, or describe the arguments: pointers to structs of known size (check them for NULL inside, "
          "or tag them __arg_nonnull), the context as the struct of the program type or __arg_ctx."),
    _rule("abnormal-return", r"(?:LD_ABS is|tail_call is|tail_calls are|cannot use BPF_LD_|BPF_LD_\[ABS)",
          "Packet loads (LD_ABS) and tail calls may end the program at once; here that is not allowed.",
          "Use them in the main function or in functions with BTF that return int, without references or locks held."),
    _rule("callback", r"(?:callback function|missing btf func_info|frame\d+ bpf_loop iteration)",
          "What is passed as a callback is not a static function with BTF.", "Compile with -g, make it static."),
    _rule("ld-abs-context", r"at the time of BPF_LD_ABS", "Packet loads need the context in R6.", _COMPILER),
    # Form of the program
    _rule("encoding", r"(?:.*uses? reserved fields|unknown opcode|invalid BPF_|unrecognized bpf_ld_imm64|invalid "
          r"bpf_ld_imm64|BPF_ATOMIC uses|BPF_ATOMIC (?:stores|loads)|invalid atomic|addr_space_cast insn)",
          "The instruction is not one that this kernel knows, or its unused fields are not 0.",
          "Compile for an older instruction set (clang -mcpu=v3) or use a newer kernel; `bombus inspect` shows which "
          "one is needed."),
    _rule("map-descriptor", r"(?:fd \S+ is not pointing to valid bpf_map|fd_idx without fd_array)",
          "The instruction does not name an open map.", "Create the maps first, or let the loader do it."),
    _rule("direct-value", r"(?:direct value offset|invalid access to map value pointer)",
          "The address of a map's value lies outside the value.", "Access globals within their size."),
    _rule("btf-records", r"(?:Invalid line_info|missing bpf_line_info|func_info BTF section|number of funcs in "
          r"func_info|nonzero insn_off|same or smaller insn|invalid type id \d+ in func info|Invalid insn code at "
          r"line_info)",
          "The function or line records (.BTF.ext) do not fit the instructions.",
          "Load them unchanged with the program that they were made for, or load without BTF."),
    _rule("attach", r"(?:Syscall programs can only be sleepable|Only fentry/fexit)",
          "This program type and the flag for sleepable programs do not go together.",
          "Set or remove BPF_F_SLEEPABLE (section names with .s)."),
    _rule("unprivileged", r"(?:loading/calling other bpf or kernel functions are allowed for|.*prohibited for !root|"
          r".* access is allowed only to CAP_PERFMON)",
          "Programs without privileges may not do this.", "Load with CAP_BPF and CAP_PERFMON."),
    # Kernel types and kfuncs, which only the running kernel judges
    _rule("kfunc-not-allowed", r"calling kernel function (?P<name>\S+) is not allowed",
          "The kfunc {name} is not for programs of this type.", "Use another program type."),
    _rule("trusted-argument", r"(?:Possibly NULL pointer passed to (?:trusted|helper) arg|R\d+ must be (?:referenced "
          r"or trusted|a rcu pointer))",
          "The function takes a pointer that is known to be valid: not NULL, and referenced or from a trusted source.",
          "Check it for NULL, or acquire a reference first."),
    _rule("invalid-btf-id", r"(?:attach_btf_id|func '.*' (?:arg|doesn't)|.*is not a valid attach)",
          "The program's attach target or its arguments do not exist in the kernel's BTF.",
          "Check the name of the function and its arguments in this kernel."),
    _rule("irq-flags", r"(?:expected (?:an )?(?:un)?initialized irq flag|irq flag acquired by|cannot restore irq state|"
          r"arg\S* doesn't point to an irq flag)",
          "Interrupt flags are saved in a variable on the stack and restored from it once, the last saved first, by "
          "the function that belongs to the one that saved them; nothing else may touch the variable.",
          "Use one unsigned long for each bpf_local_irq_save() or bpf_res_spin_lock_irqsave(), and restore in the "
          "opposite order on every path."),
    _rule("rcu-needed", r"kernel func (?P<function>\S+) requires RCU",
          "{function}() works on what only RCU keeps alive, and what may sleep is in no RCU section by itself.",
          "Call bpf_rcu_read_lock() before it, and bpf_rcu_read_unlock() after the last use of what it gave."),
    _rule("trap", r"unexpected __bpf_trap",
          "The compiler put a trap here: it saw a variable read before it was set, or a function's end without return.",
          "Look at the compiler's warnings (-Wuninitialized, -Wreturn-type) and set the variable on every path."),
    _rule("kernel-context", r"kern ctx type id",
          "The kernel has no struct of its own behind the context of this type of program.",
          "Read the arguments from the context itself."),
    _rule("iterator", r"(?:expected (?:an )?(?:un)?initialized iter_|css_task_iter is only)",
          "An iterator is used before it was made, after it was destroyed, or where it is not allowed.",
          "Call the iterator's new, next and destroy functions in this order, on every path; bpf_for() does."),
    _rule("exception", r"(?:.*bpf_throw|.*exception c)", "bpf_throw() or its callback is used where it cannot be.",
          "Throw outside of locks and callbacks; one static callback that takes an integer."),
    _rule("unbalanced", r".*(?:bpf_preempt_enable|preempt_disable|rcu_read_lock|local_irq|rcu_read_unlock)",
          "A section with preemption, interrupts or RCU grace periods held off is not ended on this path.",
          "End it on every path, and call nothing that may sleep inside."),
    _rule("graph", r"(?:.*bpf_list_(?:head|node)|.*bpf_rb_(?:root|node)|.*rbtree_remove|bpf_obj_new|local type ID)",
          "A linked list or tree, or an object for one, is used against its rules.",
          "Hold the lock that lies beside the list or tree, and pass nodes by the member that the head names."),
    _rule("kfunc-argument", r"(?:(?:release|acquire)? ?kernel function \S+ (?:args#|expects|does not)|" + _R
          + r" is of type .* expected|metadata kfuncs require)",
          "The kernel function gets an argument that it does not take.", "Pass the kind of pointer that it names."),
    _rule("constant-size", _R + r" (?:must be a known constant|is not a const)",
          "R{reg} must be a constant that is known at load time.", "Pass a literal or a const variable in .rodata."),
    _rule("read-only-memory", r"(?:only read is supported|the prog does not allow writes)",
          "This memory may only be read.", "Do not write there.", "base"),
    _rule("kernel-symbol", r"ldimm64 failed", "The kernel does not have the variable whose address is taken.",
          "Declare it __weak and check its address, or use a kernel that has it."),
    _rule("not-sleepable", r"\S+ is not sleepable", "The program may sleep; what it attaches to may not.",
          "Use a section name without .s."),
    _rule("struct-access-licence", r"(?:Cannot access kernel|struct ops programs must)",
          "This needs a licence compatible with the GPL.", "Declare such a licence, if you may."),
    # Programs at functions of other programs
    _rule("replaced-function", r"(?:\S+\(\) has \d+ args while|Return type \S+ of \S+\(\) doesn't match|"
          r"arg\d+ (?:in )?\S+\(.*\) ?(?:is|has|doesn't match)|Program extension requires BTF)",
          "An extension's main function must have the arguments and the result of the function that it replaces: "
          "as many, of the same kinds and sizes, and the same context.",
          "Declare it as the target's source declares that function, and compile with -g."),
    _rule("not-replaceable", r"(?:Cannot replace (?:static|kernel) functions|\S+\(\) is not a global function|"
          r"Cannot extend fentry|Cannot recursively attach|Cannot nest tracing)",
          "Extensions replace global functions of programs (their main function among them); not static ones, "
          "functions of the kernel, or of extensions and fentry or fexit programs. A tracing program may watch "
          "one that watches none.",
          "Make the function global (__noinline, not static), or attach with fentry or fexit."),
    _rule("new-effects", r"Extension program (?P<effect>changes packet data|may sleep), while original does not",
          "The target was verified on the understanding that this function does no such thing: callers keep packet "
          "pointers, and locks, across it.",
          "Let the function that is replaced do so itself, if only on a path that is never taken."),
    _rule("program-target", r"(?:FENTRY/FEXIT program can only|Only FENTRY/FEXIT progs|Subprog .* doesn't exist|"
          r".* programs cannot attach to exception callback|Can attach to only JITed|can't modify return codes of BPF)",
          "The function of a program that this one attaches to is not there, or cannot be attached to in this way.",
          "Load the target with BTF (-g), name a function of it that is called, and use fentry, fexit or freplace."),
    # Attach targets and their arguments, from the kernel's BTF
    _rule("attach-target", r"(?:Tracing programs must provide btf_id|The function \S+ (?:has|return type|with variable|"
          r"arg\S* type)|Attach to function|attach to (?:invalid|unsupported) member|\S+\(\) is not modifiable|"
          r"Attaching fexit/fmod_ret|func '.*' (?:offset|size)|ret type \S* ?not allowed for fmod_ret)",
          "The function (or member of a struct_ops) that the program is to be attached to does not exist in this "
          "kernel, or programs of this kind cannot be attached to it, or it has no such argument.",
          "Check its name and type in this kernel (`bombus btf dump`, `bombus gen vmlinux`), or use another way to "
          "attach: a kprobe, a raw tracepoint."),
    _rule("gpl-only", r"(?:LSM programs must have a GPL|cannot call kernel function from non-GPL)",
          "This is only for programs under a licence compatible with the GPL.",
          "If you may, say so: char LICENSE[] SEC(\"license\") = \"GPL\";."),
    _rule("lsm-return", r"Note, BPF_LSM_CGROUP", "The hook returns nothing, so that the program has nothing to say.",
          "Return 1."),
    _rule("pointer-as-scalar", r"marking pointer arg", "An argument of this function may hold an error code in place "
          "of a pointer: the verifier takes it for a number.", "Read it with bpf_probe_read_kernel()."),
    # Structs of the kernel
    _rule("btf-access", r"(?:struct \S* ?doesn't have field|Type '.*' is not a struct|access beyond the end of member|"
          r"field \S* ?doesn't have size|no write support to|only access to|direct access to \S+ ?is disallowed|"
          r"write access at off|" + _R + r" is ptr_\S* ?invalid variable offset)",
          "A kernel struct is accessed at a place where it has no field of this size, or that may not be changed.",
          "Read fields by name and whole (with CO-RE), by constant offsets; change the kernel only through helpers, "
          "kfuncs and the few fields that a program type may write.", "base"),
    _rule("other-memory", _R + r" is ptr_\S* ?access (?P<kind>user|percpu) memory",
          "The pointer in R{reg} leads to {kind} memory, which cannot be read directly.",
          "Read user memory with bpf_probe_read_user(), per-CPU memory through bpf_per_cpu_ptr() or "
          "bpf_this_cpu_ptr().", "base"),
    _rule("kernel-symbol", r"(?:ldimm64 (?:insn specifies invalid btf_id|unable to resolve)|pseudo btf_id|unable to "
          r"resolve the size of type|.*Helper has invalid btf_id|invalid return type 8)",
          "The kernel's BTF does not have the variable, function or type that is meant, or not its size.",
          "Load the program into the kernel for which it was relocated; declare the symbol __weak and test it."),
    _rule("writing-helper", r".*may write into memory pointed by " + _R,
          "The function may write through R{reg}, which points to memory that may only be read.",
          "Copy to a variable on the stack and pass that."),
    _rule("arena-pointer", _R + r" is not a pointer to arena or scalar",
          "This argument must be a pointer into an arena (or a number).", "Pass an address that the arena gave."),
    # kfuncs, objects of the program's own, iterators
    _rule("owned-object", r"(?:held lock and object are not in the same allocation|allocated object must be referenced|"
          r"operation on .* expects arg#1|.*not found at offset=|" + _R + r" doesn't have constant offset\. .* has to "
          r"be at the constant offset|.*conversion of owning ref to non-owning failed|.* not allowed in rbtree cb|"
          r"can't spin_\{lock,unlock\} in rbtree cb|off \S* ?doesn't point to 'struct bpf_wq')",
          "An object, list, tree or work queue is used against its rules: nodes are passed by the member that the head "
          "names, with the lock held that lies beside the head, and not from within a tree's comparison.",
          "Keep head and lock in one value, take that lock, and pass &object->node of an object that you own."),
    _rule("percpu-object", r"bpf_percpu_obj_new type", "Per-CPU objects are small structs of plain numbers.",
          "Use a struct of at most 512 bytes without pointers or special fields."),
    _rule("kfunc-argument", r"(?:Function \S* ?has .* args|Unrecognized arg#|2 or more rdonly/rdwr_buf_size|" + _R
          + r" rdonly/rdwr_buf_size exceeds|pointer in " + _R + r" isn't map pointer|workqueue pointer in R1|arg\S* "
          r"expected pointer to func|kfunc bpf_rdonly_cast type ID|Unknown type ID|max struct nesting depth|"
          r"acquire kernel function does not|kernel function \S* ?returns pointer type)",
          "The kernel function gets an argument that it does not take, or has a type that programs cannot use.",
          "Pass what its declaration in the kernel names (`bombus btf dump` shows it)."),
    _rule("no-kfunc", r"(?:kernel btf_id|kernel function btf_id|too many different kernel function)",
          "What is called is no kernel function of this kernel, or too many different ones are called (256).",
          "Relocate the program for this kernel; declare functions __ksym __weak and test their address."),
    _rule("dynptr", r"(?:.*has to be at a constant offset|cannot pass in \S* ?at an offset)",
          "A dynptr or iterator must lie on the stack at a place that is known, and be passed from its beginning.",
          "Pass the address of the variable itself."),
    _rule("iterator", r"(?:expected valid iter pointer|expected an RCU CS when using|bug: bad parent state for iter)",
          "An iterator is used before it was made, after it was destroyed, or outside of the section that it needs.",
          "Call new, next and destroy in this order on every path; hold bpf_rcu_read_lock() for iterators of tasks "
          "and cgroups."),
    _rule("section", r"(?:Calling bpf_rcu_read_\{lock,unlock\}|nested rcu read lock|unmatched (?:rcu read unlock|"
          r"attempt to enable preemption)|.*in (?:non-preemptible|IRQ-disabled) region|"
          r".*within IRQ-disabled|.*cannot be used "
          r"inside .*-ed region)",
          "Sections with RCU, preemption or interrupts held off are begun and ended in pairs, and nothing in them may "
          "sleep, end the program or call what is named.",
          "End the section before."),
    _rule("module-function", r"(?:negative offset disallowed for kernel module|kfunc offset > 0 without fd_array|"
          r"failed to find BTF for kernel function)",
          "The call is one of a kernel module's function, and the loader did not say which module.",
          "Use a loader that fills fd_array, while the module is loaded."),
    _rule("missing-function", r"invalid kernel function call not eliminated",
          "The kernel has no such function, and the call can be reached.",
          "Call it only where bpf_ksym_exists() says that it is there, or use a kernel that has it."),
    _rule("sleeping-call", r"program must be sleepable to call sleepable kfunc",
          "The kernel function may sleep, and the program may not.",
          "Make the program sleepable (a section name with .s, such as fentry.s/)."),
    _rule("helper-not-allowed", r"(?:helper call is not allowed in probe|func \S* ?supported only for fentry)",
          "The helper cannot be used with what this program attaches to.", "Use another attach type."),
    _rule("return-range", r".*the register R\S* is not a (?:known value|scalar)",
          "The value returned is not one that is allowed here.",
          "Return a constant (or bounded number) from the allowed range on every path.", "r0"),
    _rule("defect", r"verifier internal error", _BUG, _REPORT),
    _rule("defect", r"(?:BUG |verifier bug|.*REG INVARIANTS VIOLATION|.*verifier bug)", _BUG, _REPORT),
)


def find(message: str) -> tuple[Rule, re.Match[str]] | None:
    """The first row for a message."""
    for rule in RULES:
        match = rule.pattern.match(message)
        if match is not None:
            return rule, match
    return None
