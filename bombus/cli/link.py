"""`bombus link`: attachments that are objects of their own, with bpftool's verbs."""

from __future__ import annotations

import errno

from bombus.cli import live, output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import KernelError


@noun("link", "Links: list, pin, detach. LINK is 'id N' or 'pinned FILE'.")
def link() -> None:
    pass


@verb(link, "show", "[LINK]")
def show(words: Words) -> None:
    """List links (also: list)."""
    from bombus.cli import linkshow

    pins, refs = live.pins("link"), live.holders("link")
    if words:
        with live.item("link", words) as item:
            words.end()
            if output.as_json():
                output.print_json(linkshow.as_json(item, pins, refs))
            else:
                output.lines([linkshow.as_text(item, pins, refs)])
        return
    if output.as_json():
        output.print_rows(linkshow.as_json(item, pins, refs) for item in live.each("link"))
    else:
        output.lines(linkshow.as_text(item, pins, refs) for item in live.each("link"))


@verb(link, "pin", "LINK FILE")
def pin(words: Words) -> None:
    """Pin a link, so that it outlives its descriptors."""
    with live.item("link", words) as item:
        path = words.take("FILE")
        words.end()
        live.pin(item, path)
    output.done()


@verb(link, "detach", "LINK")
def detach(words: Words) -> None:
    """Detach a link; it stays until its last descriptor and pin go."""
    from bombus.kernel.api import Attr
    from bombus.spec.linktypes import LINK_TYPE_BY_ID

    with live.item("link", words) as item:
        words.end()
        try:
            live.kernel().bpf(Attr("BPF_LINK_DETACH", link_fd=item.fd))
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            row = LINK_TYPE_BY_ID.get(item.info["type"])
            kind = row.short if row is not None else item.info["type"]
            raise KernelError(errno.EOPNOTSUPP, error.call, f"{kind} links go only when nothing holds them") from None
    output.done()
