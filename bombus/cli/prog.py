"""`bombus prog`: programs of the running kernel, with bpftool's verbs; and instructions of objects."""

from __future__ import annotations

from typing import Any

import click

from bombus.cli import output
from bombus.cli.nouns import Noun, noun, verb
from bombus.cli.words import Words
from bombus.errors import UsageError

_PROG = "PROG"


@noun("prog", "Programs: list, dump, load, attach, run. PROG is 'id N', 'name NAME', 'tag TAG' or 'pinned FILE'.")
def prog() -> None:
    pass


@verb(prog, "show", "[PROG]")
def show(words: Words) -> None:
    """List loaded programs (also: list)."""
    from bombus.cli import live, progshow

    pins = live.pins("prog")
    refs = live.holders("prog")
    if words:
        found = live.items("prog", words)
        words.end()
        shown: Any = found
    else:
        found = []
        shown = live.each("prog")
    if output.as_json():
        if len(found) == 1:
            output.print_json(progshow.as_json(found[0], pins, refs))
        else:
            output.print_rows(progshow.as_json(item, pins, refs) for item in shown)
    else:
        output.lines(progshow.as_text(item, pins, refs) for item in shown)
    for item in found:
        item.close()


@prog.group(cls=Noun, aliases={})
@output.live_options
def dump() -> None:
    """Print instructions."""


_CHOICES = (
    click.option("--prog", "name", metavar="NAME", help="Of an object: only this program."),
    click.option("--type", "prog_type", metavar="TYPE",
                 help="Of an object: program type for sections that do not say it, such as xdp."),
    click.option("--kernel", "kernel_name", default="user", show_default=True, metavar="KERNEL",
                 help="Of an object: who loads it: user, user:VERSION or linux (its own rewritten code; needs root)."),
    click.option("--btf", metavar="FILE|vmlinux",
                 help="The kernel's BTF for an object's CO-RE relocations ('vmlinux': this machine's)."),
)  # fmt: skip


@verb(dump, "xlated", "{PROG | OBJ} [file FILE | opcodes | linum | visual]...", *_CHOICES)
def xlated(
    words: Words, name: str | None, prog_type: str | None, kernel_name: str, btf: str | None
) -> None:
    """Print programs as the kernel keeps them, in the form of `bpftool prog dump xlated`.

    A loaded program by its id, name, tag or pin; or the programs of an object file, which is loaded for that.
    """
    from bombus.cli import progdump

    if progdump.is_live(words):
        if name or prog_type or btf:
            raise UsageError("--prog, --type and --btf are for objects")
        progdump.dump_live(words, "xlated")
    else:
        progdump.dump_object(words, name, prog_type, kernel_name, btf)


@verb(dump, "jited", "{PROG | OBJ} [file FILE | opcodes | linum]...", *_CHOICES)
def jited(
    words: Words, name: str | None, prog_type: str | None, kernel_name: str, btf: str | None
) -> None:
    """Print the machine code of programs (the text needs capstone; `file` does not).

    A loaded program by its id, name, tag or pin; or the programs of an object file, which is loaded for that: into a
    user kernel, it is the native engine's code.
    """
    from bombus.cli import progdump

    if progdump.is_live(words):
        if name or prog_type or btf:
            raise UsageError("--prog, --type and --btf are for objects")
        progdump.dump_live(words, "jited")
    else:
        progdump.dump_object(words, name, prog_type, kernel_name, btf, "jited")


@verb(dump, "asm", "OBJ [opcodes | linum]...", click.option("--prog", "name", metavar="NAME",
                                                              help="Only this program and what it calls."))  # fmt: skip
def asm(words: Words, name: str | None) -> None:
    """Print functions as they were compiled, in llvm-objdump's syntax, with their relocations. Nothing is loaded."""
    from bombus.cli import progdump

    progdump.dump_asm(words, name)


@verb(prog, "pin", "PROG FILE")
def pin(words: Words) -> None:
    """Pin a program, so that it outlives its descriptors."""
    from bombus.cli import live

    with live.item("prog", words) as item:
        path = words.take("FILE")
        words.end()
        live.pin(item, path)
    output.done()


_LOAD = (
    "OBJ PATH [type TYPE] [map {idx N | name NAME} MAP]... [{offload_dev | xdpmeta_dev} NAME] [pinmaps DIR] "
    "[autoattach]"
)


_SIGN = (
    click.option("-S", "--sign", is_flag=True, help="Sign the instructions for the kernel (Linux 6.18; openssl)."),
    click.option("-k", "--private-key", "key", metavar="FILE", help="With -S: the private key, in PEM."),
    click.option("-i", "--certificate", metavar="FILE", help="With -S: the key's X.509 certificate."),
)


@verb(prog, "load", _LOAD, *_SIGN)
def load(words: Words, sign: bool, key: str | None, certificate: str | None) -> None:
    """Load an object and pin its first program (with autoattach: attach it, and pin the link)."""
    from bombus.cli import progload

    progload.load(words, all_=False, sign=progload.signer(sign, key, certificate))


@verb(prog, "loadall", _LOAD, *_SIGN)
def loadall(words: Words, sign: bool, key: str | None, certificate: str | None) -> None:
    """Load an object and pin all its programs in the directory PATH."""
    from bombus.cli import progload

    progload.load(words, all_=True, sign=progload.signer(sign, key, certificate))


@verb(prog, "attach", "PROG ATTACH_TYPE [MAP]")
def attach(words: Words) -> None:
    """Attach a program to a sockmap, or a flow dissector to this network namespace."""
    _attach(words, "BPF_PROG_ATTACH")


@verb(prog, "detach", "PROG ATTACH_TYPE [MAP]")
def detach(words: Words) -> None:
    """Undo attach."""
    _attach(words, "BPF_PROG_DETACH")


def _attach(words: Words, command: str) -> None:
    from bombus.cli import live
    from bombus.cli.attachwords import attach_type
    from bombus.kernel.api import Attr

    with live.item("prog", words) as item:
        row = attach_type(words.take("ATTACH_TYPE"))
        attr = Attr(command, attach_bpf_fd=item.fd, attach_type=row.id)
        if row.name == "BPF_FLOW_DISSECTOR":
            words.end()
            live.kernel().bpf(attr)
        else:
            with live.item("map", words) as target:
                words.end()
                attr.set("target_fd", target.fd)
                live.kernel().bpf(attr)
    output.done()


@verb(prog, "run", "PROG [data_in FILE] [data_out FILE] [ctx_in FILE] [ctx_out FILE] [repeat N] ...")
def run(words: Words) -> None:
    """Run a loaded program on given data and context (`bombus run` takes objects)."""
    from bombus.cli import progrun

    progrun.run(words)


@verb(prog, "profile", "PROG [duration N] METRIC...")
def profile(words: Words) -> None:
    """Count events (cycles, instructions, ...) while a program runs, for N seconds or until Ctrl-C."""
    from bombus.cli import profiling

    profiling.profile(words)


@verb(prog, "tracelog", "[{stdout | stderr} PROG]")
def tracelog(words: Words) -> None:
    """Print what programs write with bpf_printk (or, since Linux 6.17, one program's stdout or stderr)."""
    from bombus.cli import tracelog as log

    log.tracelog(words)


prog.aliases["test_run"] = "run"
