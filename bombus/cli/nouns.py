"""Groups of verbs in bpftool's manner: verbs may be shortened, and a noun alone shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from bombus.cli import output
from bombus.cli.words import Words, is_prefix

Verb = Callable[..., None]


class Noun(click.Group):
    """A noun. Its verbs are found by their beginnings, in the order in which they were made; `default` is the verb
    of the noun alone, `aliases` are other names of verbs, at their places in that order."""

    def __init__(self, *args: Any, default: str = "", aliases: dict[str, str] | None = None, **kwargs: Any) -> None:
        kwargs["invoke_without_command"] = bool(default)
        super().__init__(*args, **kwargs)
        self.default = default
        self.aliases = {"list": "show"} if aliases is None else aliases

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self.commands.get(cmd_name)
        if found is not None or not cmd_name:
            return found
        for name, command in self.commands.items():
            others = [alias for alias, target in self.aliases.items() if target == name]
            if any(is_prefix(cmd_name, word) for word in (name, *others)):
                return command
        return _help(self) if is_prefix(cmd_name, "help") else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        return (command.name, command, args[1:]) if command is not None else super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if self.default and not ctx._protected_args and not ctx.args:
            command = self.commands[self.default]
            with command.make_context(self.default, [], parent=ctx) as inner:
                return command.invoke(inner)
        return super().invoke(ctx)


def _help(group: Noun) -> click.Command:
    def show() -> None:
        if output.as_json():
            output.print_json(None)
            return
        context = click.get_current_context().parent
        assert context is not None
        click.echo(group.get_help(context), err=True)

    return click.Command("help", callback=show, help="Show this.")


def noun(
    name: str, help: str, *, default: str = "show", aliases: dict[str, str] | None = None
) -> Callable[[Any], Noun]:
    """Make a function a noun."""

    def made(function: Any) -> Noun:
        group = click.group(name, cls=Noun, default=default, aliases=aliases, help=help)(output.live_options(function))
        assert isinstance(group, Noun)
        return group

    return made


def verb(group: click.Group, name: str, usage: str, *options: Any) -> Callable[[Callable[..., None]], click.Command]:
    """Add a verb to a noun: the function gets its words, and what `options` (click.option) add."""

    def made(function: Callable[..., None]) -> click.Command:
        def run(words: tuple[str, ...], **rest: Any) -> None:
            function(Words(words), **rest)

        run.__doc__ = function.__doc__
        callback: Any = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar=usage)(run)
        for option in reversed(options):
            callback = option(callback)
        # Numbers such as -1 are words; the verb refuses them by name.
        settings = {"ignore_unknown_options": True}
        return group.command(name, context_settings=settings)(output.live_options(callback))

    return made
