"""`bombus prog load`, `loadall`: programs of an object into the kernel and a bpf file system.

Source: Linux 6.1 tools/bpf/bpftool/prog.c (load_with_options), behaviour.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import live, output
from bombus.cli.words import Words
from bombus.errors import KernelError, UsageError

if TYPE_CHECKING:
    from bombus.kernel.handles import Map
    from bombus.loader.load import Loaded
    from bombus.loader.signing import Signer
    from bombus.object.model import Object
    from bombus.spec.sections import Section

_LOG = 1 | 2 | 4  # every instruction, and statistics


def signer(sign: bool, key: str | None, certificate: str | None) -> Signer | None:
    """What the options -S, -k and -i say. The certificate goes into this session's keyring, as with bpftool."""
    if not sign:
        if key or certificate:
            raise UsageError("-k and -i are for -S")
        return None
    if not (key and certificate):
        raise UsageError("-S needs a private key (-k FILE) and its certificate (-i FILE)")
    from bombus.kernel.linux.keys import add_certificate
    from bombus.loader.signing import Signer

    found = Signer(key, certificate)
    add_certificate(found.der())
    return found


def load(words: Words, *, all_: bool, sign: Signer | None = None) -> None:
    """OBJ PATH [type TYPE] [map {idx N | name NAME} MAP]... [dev NAME] [pinmaps DIR] [autoattach]."""
    path, target = words.take("OBJ"), words.take("PATH")
    section: Section | None = None
    pin_maps, attach = "", False
    devices: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        given: dict[str | int, Map] = {}
        while words:
            word = words.expect("type", "map", "dev", "offload_dev", "xdpmeta_dev", "pinmaps", "autoattach")
            if word == "type":
                if section is not None:
                    raise UsageError("program type already specified")
                section = _type(words.take("type"))
            elif word == "map":
                _replacement(words, given, stack)
            elif word in ("dev", "offload_dev"):
                devices["device"] = live.interface(words.take(f"{word}: a device"))
            elif word == "xdpmeta_dev":
                devices["bound"] = live.interface(words.take(f"{word}: a device"))
            elif word == "pinmaps":
                pin_maps = words.take("pinmaps: a directory")
            else:
                attach = True
        if len(devices) > 1:
            raise UsageError("offload_dev and xdpmeta_dev exclude each other")
        _load(path, target, section, given, pin_maps, attach, all_, devices, sign)
    output.done()


def _type(text: str) -> Section:
    from bombus.spec.sections import resolve

    match = resolve(text) or resolve(text + "/")
    if match is None:
        raise UsageError(f"program type {text!r} is not known; name it as a section: xdp, tc, cgroup/connect4, kprobe")
    return match.section


def _replacement(words: Words, given: dict[str | int, Map], stack: contextlib.ExitStack) -> None:
    """`idx N MAP` or `name NAME MAP`."""
    from bombus.kernel.handles import Map

    which: str | int
    which = words.number("IDX") if words.expect("idx", "name") == "idx" else words.take("name")
    with live.item("map", words) as item:
        if which in given:
            raise UsageError(f"replacement for map {which!r} specified more than once")
        given[which] = stack.enter_context(Map(item.kernel, os.dup(item.fd)))


def _reuse(obj: Object, given: dict[str | int, Map]) -> dict[str, Map]:
    found: dict[str, Map] = {}
    for which, item in given.items():
        if isinstance(which, int):
            if which >= len(obj.maps):
                raise UsageError(f"map idx {which}: {obj.name} has {len(obj.maps)} maps, from 0")
            name = obj.maps[which].name
        else:
            name = which
            if all(spec.name != name for spec in obj.maps):
                raise UsageError(f"no map {name!r} in {obj.name}; there are {_list(s.name for s in obj.maps)}")
        if name in found:
            raise UsageError(f"replacement for map {name!r} specified more than once")
        found[name] = item
    return found


def _list(names: Iterator[str]) -> str:
    return ", ".join(names) or "none"


def _load(
    path: str, target: str, section: Section | None, given: dict[str | int, Map], pin_maps: str, attach: bool,
    all_: bool, devices: dict[str, int], sign: Signer | None,
) -> None:  # fmt: skip
    from bombus.cli.source import open_program
    from bombus.loader.load import load as load_object

    obj = open_program(path, relaxed_maps=output.flag("mapcompat"))
    if section is not None:
        programs = tuple(
            replace(p, prog_type=section.prog_type, attach_type=section.attach_type, attach=section.attach,
                    attach_btf=section.attach_btf, flags=section.prog_flags)
            for p in obj.programs
        )  # fmt: skip
        obj = replace(obj, programs=programs)
    wanted = [p.name for p in obj.programs if p.autoload]
    if not wanted:
        raise UsageError(f"{obj.name} has no program that is loaded by default")
    live.ready_to_pin(os.path.join(target, "x") if all_ and os.path.isdir(target) else target)
    options: dict[str, Any] = {"reuse": _reuse(obj, given), "log_level": _LOG if output.flag("debug") else 0,
                               "sign": sign, **devices}  # fmt: skip
    with load_object(obj, live.kernel(), **options) as loaded, _Undo() as undo:
        if output.flag("debug"):
            for name, program in loaded.programs.items():
                click.echo(f"-- BEGIN PROG LOAD LOG of {name} --\n{program.log}-- END PROG LOAD LOG --", err=True)
        if all_:
            undo.directory(target)
            for name in wanted:
                undo.pin(_handle(loaded, name, attach), os.path.join(target, name))
        else:
            undo.pin(_handle(loaded, wanted[0], attach), target)
        if pin_maps:
            undo.directory(pin_maps)
            for name, item in loaded.maps.items():
                undo.pin(item, os.path.join(pin_maps, name.replace(".", "_")))
        undo.keep()


def _handle(loaded: Loaded, name: str, attach: bool) -> Any:
    """What is pinned: the program, or with autoattach the link that attaches it."""
    if not attach:
        return loaded.programs[name]
    from bombus.kernel.handles.attach import attach as attach_program
    from bombus.kernel.handles.attach import can_attach_alone
    from bombus.kernel.handles.attachment import Attachment

    program = loaded.programs[name]
    if can_attach_alone(program):
        link = attach_program(program)
        if not isinstance(link, Attachment):  # an attachment without a link cannot be pinned
            return link
        link.close()
    output.note(f"program {name} does not support autoattach, falling back to pinning")
    return program


class _Undo(contextlib.AbstractContextManager["_Undo"]):
    """Takes back pins and directories unless all went well."""

    def __init__(self) -> None:
        self._made: list[tuple[str, bool]] = []

    def directory(self, path: str) -> None:
        if os.path.isdir(path):
            return
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            raise KernelError(error.errno or 0, "mkdir", path) from None
        self._made.append((path, True))

    def pin(self, handle: Any, path: str) -> None:
        live.pin(handle, path)
        self._made.append((path, False))

    def keep(self) -> None:
        self._made.clear()

    def __exit__(self, *_: object) -> None:
        for path, folder in reversed(self._made):
            with contextlib.suppress(OSError):
                os.rmdir(path) if folder else os.unlink(path)
