"""Entry point: finds the verb, runs it, turns errors into one line and an exit code.

Exit codes: 0 done, 1 an error that is reported, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from bombus.cli import output
from bombus.errors import BombusError, LoadError, UsageError

# verb -> (module, attribute, one line of help): help must not import the verbs.
VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("bombus.cli.run", "run", "Run a program over a capture or over given data."),
    "build": ("bombus.cli.build", "build", "Compile a program in Python, C or assembly to an object."),
    "trace": ("bombus.cli.trace", "trace", "Attach an object's programs, show their events and maps."),
    "profile": ("bombus.cli.profile", "profile", "Where a process or command spends its time: stacks, flame graphs."),
    "verify": ("bombus.cli.verify", "verify", "What a kernel's verifier says of programs, and why."),
    "inspect": ("bombus.cli.inspect", "inspect", "What is in an object, and the oldest kernel that can run it."),
    "prog": ("bombus.cli.prog", "prog", "Programs: list, dump, load, attach, run; instructions of objects."),
    "map": ("bombus.cli.map", "map_", "Maps: list, dump, read and write."),
    "link": ("bombus.cli.link", "link", "Links: list, pin, detach."),
    "cgroup": ("bombus.cli.cgroup", "cgroup", "Programs on cgroups: list, attach, detach."),
    "perf": ("bombus.cli.perf", "perf", "Programs on perf events of all processes."),
    "net": ("bombus.cli.net", "net", "Programs on network devices: list, attach, detach."),
    "btf": ("bombus.cli.btf", "btf", "BTF: list, dump as C or raw."),
    "struct_ops": ("bombus.cli.struct_ops", "struct_ops", "struct_ops maps: list, dump, register, unregister."),
    "iter": ("bombus.cli.iter", "iter_", "Iterators: pin."),
    "gen": ("bombus.cli.gen", "gen", "Link objects, make vmlinux.h, minimal BTF, typed loaders, typed kernel structs."),
    "feature": ("bombus.cli.feature", "feature", "What kernels have for BPF: by version, or by probing one."),
    "batch": ("bombus.cli.batch", "batch", "Run the commands of a file."),
    "version": ("bombus.cli.version", "version", "Versions, as bpftool tells them."),
}

# bpftool's nouns may be shortened; which comes first, wins.
_NOUNS = (
    "batch", "prog", "map", "link", "cgroup", "perf", "net", "feature", "btf", "gen", "struct_ops", "iter", "version",
)  # fmt: skip


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = cmd_name
        if name not in VERBS:
            name = next((noun for noun in _NOUNS if cmd_name and noun.startswith(cmd_name)), "")
        if name not in VERBS:
            is_help = bool(cmd_name) and "help".startswith(cmd_name)
            return click.Command("help", callback=lambda: click.echo(ctx.get_help())) if is_help else None
        module, attribute, _help = VERBS[name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        return (command.name, command, args[1:]) if command is not None else super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, _attribute, text) in VERBS.items()])


def _no_cache(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        before = os.environ.get("BOMBUS_CACHE", "")
        os.environ["BOMBUS_CACHE"] = "off"
        ctx.call_on_close(lambda: os.environ.__setitem__("BOMBUS_CACHE", before))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="bombus", message="bombus %(version)s")
@click.option("--no-cache", is_flag=True, expose_value=False, callback=_no_cache,
              help="Build, verify and compile anew, keep nothing (as the environment's BOMBUS_CACHE=off).")  # fmt: skip
@output.live_options
def cli() -> None:
    """bombus: write, link, inspect and run BPF, on an in-process kernel or on Linux."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    try:
        code = cli.main(argv, prog_name="bombus", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0  # a verb's own code, by context.exit()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        print("bombus: interrupted", file=sys.stderr)
        return 130
    except click.ClickException as error:
        if output.as_json():
            output.error(error.format_message())
        else:
            error.show()
        return error.exit_code
    except UsageError as error:
        output.error(str(error))
        return 2
    except LoadError as error:
        _refused(error)
        return 1
    except BombusError as error:
        output.error(str(error))
        return 1
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        output.error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1


def _refused(error: LoadError) -> None:
    """What the verifier said, and what `bombus verify` says of it."""
    notes = getattr(error, "__notes__", ())
    text = "".join(f"{note}: " for note in notes) + str(error)
    found = error.explanation
    if output.as_json():
        output.print_json({"error": text} | ({"explanation": found.as_dict()} if found is not None else {}))
        return
    output.error(text)
    if found is not None:
        from bombus.cli.verify import show_explanation

        click.echo(err=True)
        show_explanation(found, err=True)


def run() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
