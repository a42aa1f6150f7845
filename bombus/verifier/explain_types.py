"""What the verifier's messages about kernel types, kernel functions, iterators, objects and kptrs mean.

These come before the rows of `explain_table`, which say less of them.
"""

from __future__ import annotations

from typing import Final

from bombus.verifier.explain_rule import R, Rule, rule

_ARG0 = r"arg ?#(?P<arg0>\d+)"

TYPED: Final[tuple[Rule, ...]] = (
    # What the loader could not resolve
    rule("failed-relocation", r"invalid func unknown#195896080$",
         "The loader put this call in place of an access to a kernel struct that it could not relocate: this kernel "
         "has no such type, field or enum value (CO-RE).",
         "Guard the access with bpf_core_field_exists(), bpf_core_type_exists() or bpf_core_enum_value_exists(); "
         "`bombus btf dump` shows what this kernel has."),
    rule("unresolved-symbol", r"invalid func unknown#200\d{7}$",
         "The loader put this call in place of something that it did not find: a weak kernel function, or a map that "
         "was not created.",
         "Test the address of the function before the call (`if (bpf_...)`), or create the map."),
    # Pointers that may be NULL, or that nothing keeps alive
    rule("null-argument", r"Possibly NULL pointer passed to trusted arg(?P<arg0>\d+)",
         "The function takes no NULL, and R{reg} may be NULL here: no branch on this path has ruled it out.",
         "Check the pointer for NULL right before the call."),
    rule("null-argument", r"Possibly NULL pointer passed to helper arg(?P<arg1>\d+)",
         "The helper takes no NULL, and R{reg} may be NULL here: no branch on this path has ruled it out.",
         "Check the pointer for NULL right before the call."),
    rule("null-check", r"dereference of modified \S*or_null_? ptr " + R,
         "R{reg} may be NULL here, and something was added to it: that is no pointer any more.",
         "Check what the function returned for NULL first, then take the address of a member."),
    rule("untrusted-argument", R + r" must be referenced or trusted",
         "The function wants an object that cannot vanish during the call: one that the program was given as an "
         "argument, or holds a reference to. R{reg} was read out of another object, which keeps nothing alive.",
         "Take a reference first (bpf_task_acquire(), bpf_cgroup_acquire(), bpf_get_task_exe_file() ...), check the "
         "result for NULL, pass that, and release it afterwards."),
    rule("untrusted-argument", R + r" must be a rcu pointer",
         "The function wants an object that RCU keeps alive: R{reg} was read from a field of which the kernel does not "
         "say so, or outside of an RCU section.",
         "Read it between bpf_rcu_read_lock() and bpf_rcu_read_unlock(), from a field that the kernel marks __rcu; "
         "or find the object by its number: bpf_task_from_pid(), bpf_cgroup_from_id()."),
    rule("untrusted-argument", R + r" type=(?P<type>\w*untrusted_\w+) expected=",
         "R{reg} was read from a field that the kernel does not vouch for, or cast: what it points to may be gone. "
         "It may be read through, but not be given to a function that uses the object.",
         "Start from a pointer that the program was given, follow fields that the kernel keeps valid (inside "
         "bpf_rcu_read_lock() for those marked __rcu), or acquire the object."),
    rule("untrusted-argument", _ARG0 + r" is (?P<type>\S+) expected \S+ or socket",
         "R{reg} is a {type}, which the kernel does not vouch for: it may be read through, but not be given to a "
         "function that uses the object.",
         "Pass a pointer that the program was given or has acquired, checked for NULL."),
    # The wrong object
    rule("kernel-object", _ARG0 + r" pointer type (?:STRUCT|UNION) (?P<struct>\S+) must point to",
         "R{reg} must point to a struct {struct} of the kernel's own. What is passed is no such object: a variable "
         "of the program, the context, or a number.",
         "Pass a pointer that the kernel gave: an argument of the program, or what a helper or kfunc returned."),
    rule("other-struct", R + r" is of type (?P<given>\S+) but (?P<wanted>\S+) is expected",
         "R{reg} points to a struct {given}, and the function wants a struct {wanted}. A cast does not change that.",
         "Pass a struct {wanted}: one that something returned, or a member of this type."),
    rule("other-struct", r"kernel function (?P<function>\S+) args#\d+ expected pointer to \S+ (?P<wanted>\S+) but " + R
         + r" has a pointer to \S+ (?P<given>\S+)",
         "R{reg} points to a {given}, and {function}() wants a {wanted}. A cast in C does not change that; what ends "
         "in ___init is an object that is not in use yet.",
         "Pass a {wanted}: one that something returned, or a member of this type."),
    rule("not-acquired", r"release kernel function (?P<function>\S+) expects refcounted",
         "{function}() gives a reference back, and the program holds none to what it passes: it was given the "
         "pointer, or has released it already.",
         "Release only what an acquiring function (or bpf_kptr_xchg()) returned, once on each path."),
    rule("kfunc-not-allowed", r"calling kernel function (?P<name>\S+) is not allowed",
         "Programs of this type, or attached in this way, may not call {name}().",
         "Use another program type: `bombus feature list {name}` shows what is known of it. Much is for syscall, "
         "tracing (tp_btf, fentry, iter) and struct_ops programs only."),
    rule("device-bound", r"metadata kfuncs require device-bound program",
         "What a network device knows of a frame, only XDP programs can ask that are loaded for that device.",
         "Load with the device's index and BPF_F_XDP_DEV_BOUND_ONLY."),
    rule("buffer-and-size", _ARG0 + r" arg#\d+ memory, len pair",
         "The memory in R{reg} is smaller than the size behind it may be.",
         "Bound the size by that of the memory, and use the whole of it: sizeof(buffer)."),
    # Loads and stores
    rule("btf-access", r"access beyond the end of member (?P<member>\S+) \(mend:(?P<end>\d+)\) in struct "
         r"(?P<struct>\S+) with off (?P<off>\d+) size (?P<size>\d+)",
         "{size} bytes at offset {off} of struct {struct} reach beyond its member {member}, which ends at {end}.",
         "Read no more than the member: sizeof(p->member)."),
    rule("read-only-memory", r"only read is supported",
         "R{reg} points to an object of the kernel: programs may read it, but not write to it.",
         "Change it through a helper or kfunc. A few fields may be written by struct_ops and network programs.",
         "base"),
    rule("read-only-memory", R + r" cannot write into (?P<what>rdonly_\w+)",
         "R{reg} points to memory that may only be read ({what}).",
         "Write to a variable on the stack; to packet data through bpf_dynptr_slice_rdwr() or bpf_dynptr_write()."),
    rule("packet-read-only", r"the prog does not allow writes to packet data",
         "Programs of this type may not change packets, and this function gives memory that may be changed.",
         "Use bpf_dynptr_slice(), which gives memory for reading."),
    rule("special-field", r"direct access to (?P<field>\S+) is disallowed",
         "The {field} inside the object belongs to the kernel and is only changed by its functions.",
         "Copy an object member by member around it.", "base"),
    # Objects, lists and trees
    rule("lock-not-held", r"(?P<lock>\S+) at off=\S+ must be held for (?P<root>\S+)",
         "A {root} is used while the {lock} in the same value is not held.",
         "Take that lock before, and give it back after the last use of what the list or tree returned."),
    rule("not-owned", _ARG0 + r" expected pointer to allocated object",
         "R{reg} must be an object from bpf_obj_new() that the program still owns. Putting it into a list, a tree or a "
         "kptr gave it away.",
         "Put each object into one place, once; take it out again (pop, remove, bpf_kptr_xchg()) before it is used."),
    rule("node-place", r"operation on (?P<root>\S+) expects arg#1 (?P<node>\S+) at offset=(?P<at>\d+) in struct "
         r"(?P<struct>\S+), but arg is at offset=\S+ in struct (?P<given>\S+)",
         "This {root} holds objects of struct {struct} by their {node} at offset {at}, as its declaration says "
         "(__contains()). What is passed lies in a struct {given}.",
         "Pass &object->member of an object of that struct."),
    rule("node-place", r"arg#1 offset=(?P<given>\d+), but expected (?P<node>\S+) at offset=(?P<at>\d+) in struct "
         r"(?P<struct>\S+)",
         "The list or tree holds objects of struct {struct} by their {node} at offset {at}, as its declaration says "
         "(__contains()); the one at offset {given} is passed.",
         "Pass the member that __contains() names."),
    rule("node-place", r"(?P<what>bpf_(?:list|rb)_\w+) not found at offset=(?P<at>\S+)",
         "What is passed does not point to a {what}: there is none at offset {at}.",
         "Pass &value->member of a member of that type."),
    rule("object-type", r"(?:local type ID argument|bpf_obj_new/bpf_percpu_obj_new (?:type ID|requires))",
         "Objects are allocated of structs that the program's own BTF describes.",
         "Use bpf_obj_new(struct name) with a struct of the program, compiled with -g."),
    rule("kptr-type", r"invalid kptr access, " + R + r" type=(?P<given>\S+) expected=(?P<wanted>\S+)",
         "R{reg} is a {given}; the kptr takes {wanted} only: exactly this struct, from its beginning, and owned.",
         "Exchange in what was acquired or allocated as that struct, or change the kptr's type."),
    rule("shared-memory", r"store to uptr disallowed",
         "The pointer to memory that user space shares is set by user space, when it updates the map.",
         "Read it, check it for NULL, and write to what it points to.", "base"),
    rule("kptr-place", R + r" has no valid kptr|off=\S+ doesn't point to kptr",
         "What is passed does not point to a kptr: no pointer with the tag __kptr begins there.",
         "Pass &value->member of such a member; an index into an array of them must lie inside it."),
    rule("map-and-program", r"(?P<kind>tracing|socket filter) progs cannot use (?P<what>\S+) yet",
         "The values of a map that the program uses contain a {what}. This type of program ({kind}) may not use it, "
         "because it may run while somebody else is in the middle of doing so.",
         "Use another map, or another type of program."),
    # Sections, exceptions, iterators
    rule("unbalanced", r"(?P<what>BPF_EXIT instruction in main prog|tail_call|BPF_LD_\S+) cannot be used inside "
         r"(?P<section>\S+)-ed region",
         "The program ends or leaves here while {section} is in force: its counterpart is missing on this path.",
         "Call the counterpart on every path, those of errors as well."),
    rule("exception", r"bpf_throw cannot be used inside (?P<section>\S+)-ed region",
         "An exception ends the program at once, and {section} would stay in force.",
         "Call its counterpart before throwing."),
    rule("exception", r"bpf_throw kfunc \(insn \d+\) cannot be called from callback",
         "An exception cannot leave through the helper that called this callback.",
         "Return from the callback, and throw after the helper has returned."),
    rule("iterator-not-begun", r"expected an initialized iter_(?P<name>\w+) as " + _ARG0,
         "R{reg} must point to a bpf_iter_{name} on the stack that was made on this path. It was not, is destroyed "
         "already, or something else was written over it.",
         "Call bpf_iter_{name}_new() before, and nothing after bpf_iter_{name}_destroy(), as bpf_for_each() does."),
    rule("iterator-in-use", r"expected uninitialized iter_(?P<name>\w+) as " + _ARG0,
         "R{reg} points to an iterator that is in use: what it holds would be lost.",
         "Destroy it first with bpf_iter_{name}_destroy(), or use another variable."),
    # What programs are for
    rule("unsupported-member", r"attach to unsupported member (?P<member>\S+) of struct (?P<struct>\S+)",
         "The kernel does not let programs implement {member} of struct {struct}, or none that may sleep.",
         "Leave the member out, or load the program without BPF_F_SLEEPABLE (section names without .s)."),
)
