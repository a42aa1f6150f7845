"""`bombus verify FILE...`: what the verifier of a kernel version says of programs, offline, and what it means."""

from __future__ import annotations

import contextlib
import errno as _errno
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bombus.cli import output
from bombus.errors import NotSupported, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from bombus.cli.verify_inputs import Choice, Input
    from bombus.spec.version import KernelVersion
    from bombus.verifier.explain import Explanation
    from bombus.verifier.program import Verdict
    from bombus.verifier.stats import Row

LOG_TAIL: Final = 40  # lines of the log of a refused program that are shown unless a level is asked for


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one program. `verdict` is None when it was not judged; `reason` says why."""

    item: Input
    row: Row
    verdict: Verdict | None = None
    explanation: Explanation | None = None
    reason: str = ""
    log: str = ""  # of the level that was asked for


@click.command("verify")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--prog", "name", metavar="NAME", help="Only this program.")
@click.option("--filter", "filters", metavar="GLOB", multiple=True, help="Only programs with such a name ('xdp_*').")
@click.option("--type", "prog_type", metavar="TYPE", default="",
              help="Program type of raw instructions, assembly and sections that do not say it, such as xdp.")
@click.option("--kernel", "kernel", metavar="VERSION", default="6.18", show_default=True,
              help="The Linux whose verifier is asked (6.1 to 6.18).")
@click.option("--btf", "btf_path", metavar="FILE|vmlinux|none",
              help="The BTF of that kernel: for programs that use its types, and for CO-RE relocations. Default: this "
                   "machine's, for types only where it runs that version.")
@click.option("--module", "modules", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
              help="A module of that kernel (.ko, .ko.xz, or its raw BTF), whose functions programs call or attach to.")
@click.option("--target", "targets", metavar="[NAME=]FILE[:PROGRAM[:FUNCTION]]", multiple=True,
              help="The object whose program freplace, fentry and fexit programs (or only NAME) attach to; by default "
                   "its first one with the function that their section names.")
@click.option("--log-level", type=click.IntRange(0, 7), default=None, metavar="0|1|2|4",
              help="0: a table of verdicts; 1: why programs are refused; 2: every instruction; 4: only figures; sums "
                   "are allowed. Without it: the end of the log of level 1, explained.")
@click.option("--stats", is_flag=True, help="A table of figures with veristat's columns.")
@click.option("--csv", "as_csv", is_flag=True, help="The same as CSV, which veristat reads.")
@click.option("--compare", "old_path", metavar="OLD.json", type=click.Path(exists=True, dir_okay=False),
              help="Compare with the figures of an earlier run (JSON or CSV of bombus or veristat).")
@output.json_options
@click.pass_context
def verify(
    context: click.Context, files: tuple[str, ...], name: str | None, filters: tuple[str, ...], prog_type: str,
    kernel: str, btf_path: str | None, modules: tuple[str, ...], targets: tuple[str, ...], log_level: int | None,
    stats: bool, as_csv: bool, old_path: str | None,
) -> None:  # fmt: skip
    """Verify the programs of objects, of raw instructions (.bin, .raw) or assembly (.S, .asm) as a kernel would.

    No kernel is asked and no privileges are needed. Exit code: 0 all accepted, 1 some refused or broken, 3 some
    could not be judged (they need what the verifier does not know yet).
    """
    from bombus.cli.verify_inputs import Choice
    from bombus.cli.verify_targets import parse
    from bombus.spec.version import KernelVersion
    from bombus.verifier import OLDEST
    from bombus.verifier.rules import NEWEST
    from bombus.verifier.stats import read as read_rows

    version = KernelVersion.parse(kernel)
    if version[:2] > NEWEST[:2]:
        click.echo(f"Linux {version} is newer than the verifiers that bombus knows; {NEWEST} answers for it", err=True)
    if version < OLDEST:
        raise UsageError(f"--kernel {kernel}: the verifiers that bombus knows begin with Linux {OLDEST}")
    old = read_rows(Path(old_path).read_text(errors="replace"), old_path) if old_path else None
    typed = btf_path not in (None, "none") or (btf_path is None and _runs(version))
    choice = Choice(kernel, name, filters, prog_type, _btf(btf_path), typed, _modules(modules),
                    tuple(map(parse, targets)))
    show = not (output.as_json() or stats or as_csv or old is not None or log_level == 0)
    results: list[Result] = []
    for result in _results(files, choice, log_level, bar=not show):
        results.append(result)
        if show:
            _show(result, log_level)
    if not results:
        raise UsageError("no program of that name")
    _report(results, old, stats=stats, as_csv=as_csv, table=log_level == 0 or len(results) > 1, kernel=kernel)
    verdicts = {result.row.verdict for result in results}
    context.exit(1 if verdicts & {"failure", "error"} else 3 if "unknown" in verdicts else 0)


def _runs(version: KernelVersion) -> bool:
    """Whether this machine runs a Linux of that version."""
    import platform

    running = platform.release().split(".")
    return platform.system() == "Linux" and running[:2] == [str(version.major), str(version.minor)]


def _btf(path: str | None) -> bytes | None:
    from bombus.cli.inspect import read_btf
    from bombus.cli.verify_inputs import VMLINUX

    if path == "none":
        return None
    if path:
        return read_btf(path).raw
    try:
        return Path(VMLINUX).read_bytes()
    except OSError:
        return None


def _modules(paths: tuple[str, ...]) -> dict[str, bytes]:
    """The BTF of modules by name. ObjectError when a module has none."""
    from bombus.cli.inspect import btf_bytes

    return {Path(path).name.split(".")[0].replace("-", "_"): btf_bytes(path) for path in paths}


# Verifying


def _results(files: tuple[str, ...], choice: Choice, level: int | None, *, bar: bool) -> Iterator[Result]:
    from bombus.cli import verify_inputs

    total = sum(verify_inputs.count(path, choice) for path in files)
    with _progress(total if bar else 0) as shown:
        for path in files:
            for item in verify_inputs.read(path, choice):
                if shown is not None:
                    shown.update(shown.task_ids[0], description=item.name)
                yield judge(item, level)
                if shown is not None:
                    shown.advance(shown.task_ids[0])


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Progress | None]:
    """A bar on standard error, when that is a terminal and there is something to wait for."""
    if total < 2 or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task("verifying", total=total)
        yield bar


def judge(item: Input, level: int | None) -> Result:
    """Verify one program; explain it when it is refused."""
    from bombus.verifier.main import verify as run
    from bombus.verifier.stats import Row, row_of

    file = Path(item.file).name
    if item.program is None:
        unknown = isinstance(item.error, NotSupported)
        row = Row(file, item.name, "unknown" if unknown else "error")
        return Result(item, row, reason=str(item.error))
    program = replace(item.program, log_level=1 if level is None else level, log_size=0)
    size = len(program.insns)
    try:
        verdict = run(program)
        detailed = verdict
        if not verdict.accepted and not program.log_level & 3:
            detailed = run(replace(program, log_level=1))
    except NotSupported as error:
        return Result(item, Row(file, item.name, "unknown", prog_size=size), reason=str(error))
    row = row_of(file, item.name, verdict, size)
    if verdict.accepted:
        return Result(item, row, verdict, log=verdict.log)
    from bombus.verifier.explain import explain

    explanation = explain(detailed.log, program.insns, item.lines, insn=detailed.insn)
    return Result(item, row, verdict, explanation, explanation.message, verdict.log)


# Showing


def _show(result: Result, level: int | None) -> None:
    item = result.item
    bad: dict[str, Any] = {"fg": "red", "bold": True}
    mark, style = {"success": ("accepted", {"fg": "green"}), "failure": ("REFUSED", bad),
                   "unknown": ("not judged", {"fg": "yellow"})}.get(result.row.verdict, ("BROKEN", bad))  # fmt: skip
    kind = f" ({item.type}{', ' + item.section if item.section else ''})" if item.type else ""
    head = f"{output.style(item.name, bold=True)}{kind}: {output.style(mark, **style)}"
    verdict = result.verdict
    if verdict is not None and not verdict.accepted:
        head += f" with {_errno.errorcode.get(verdict.errno, verdict.errno)}"
    if verdict is not None and verdict.accepted:
        row = result.row
        head += f", {row.total_insns} instructions processed, {row.total_states} states, {row.duration} us"
    if verdict is None:
        head += f": {result.reason}"
    click.echo(head)
    if result.log and (level is not None or (verdict is not None and not verdict.accepted)):
        click.echo()
        for line in _shortened(result.log, level):
            click.echo(f"  {line}" if line else "")
    if result.explanation is not None:
        click.echo()
        show_explanation(result.explanation)
    if verdict is None or not verdict.accepted or level is not None:
        click.echo()


def _shortened(log: str, level: int | None) -> list[str]:
    lines = log.splitlines()
    if level is not None or len(lines) <= LOG_TAIL:
        return lines
    return [f"... {len(lines) - LOG_TAIL} more lines (--log-level 1 shows them)", *lines[-LOG_TAIL:]]


def show_explanation(found: Explanation, *, err: bool = False) -> None:
    """A grid of labels and texts."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")

    def row(label: str, text: str | Text) -> None:
        grid.add_row(label, text)

    row("reason", Text(found.message or "(the log gives none)", style="red"))
    where = Text()
    if found.source is not None:
        where.append(_place(found.source), style="cyan")
        where.append(found.source.text, style="bold")
        where.append("\n")
    if found.insn >= 0:
        where.append(f"instruction {found.insn}: {found.text}")
    if where:
        row("at", where)
    if found.meaning:
        row("means", found.meaning)
    if found.register >= 0:
        row(f"R{found.register}", _register(found))
    elif found.origins:
        row("from", _steps(found))
    if found.branches:
        row("path", _path(found))
    if found.fix:
        row("try", Text(found.fix, style="green"))
    console = output.console()
    with console.capture() as drawn:
        console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    text = drawn.get()
    if not console.is_terminal:
        text = "".join(line.rstrip() + "\n" for line in text.splitlines())
    click.echo(text, nl=False, err=err)


def _place(source: Any) -> str:
    if not source.file:
        return ""
    return f"{source.file}:{source.number}{f':{source.column}' if source.column else ''}  "


def _register(found: Explanation) -> Any:
    from rich.text import Text

    text = Text()
    if found.argument:
        text.append(found.argument)
        text.append(", " if found.value else "")
    if found.value:
        text.append(f"is {found.value}")
    if found.origins:
        text.append("\n" if text else "")
        text.append_text(_steps(found))
    elif not text:
        text.append("nothing on this path sets it")
    return text


def _steps(found: Explanation) -> Any:
    from rich.text import Text

    text = Text()
    for number, step in enumerate(found.origins):
        text.append("\n" if number else "")
        text.append("from " if found.register >= 0 else "")
        text.append(f"instruction {step.insn}: {step.text}")
        if step.source is not None:
            text.append("\n     " + _place(step.source), style="cyan")
            text.append(step.source.text)
    return text


def _path(found: Explanation) -> Any:
    from rich.text import Text

    shown = found.branches[-12:]
    text = Text()
    if len(shown) < len(found.branches):
        text.append(f"({len(found.branches) - len(shown)} conditions before)\n", style="dim")
    for number, one in enumerate(shown):
        text.append("\n" if number else "")
        text.append(f"{one.insn}: {one.text}")
        text.append("  jumps" if one.taken else "  goes on", style="yellow")
        if one.source is not None:
            text.append("\n     " + _place(one.source), style="cyan")
            text.append(one.source.text)
    return text


# Tables


def _report(
    results: list[Result], old: list[Row] | None, *, stats: bool, as_csv: bool, table: bool, kernel: str
) -> None:
    from bombus.verifier import stats as figures

    rows = [result.row for result in results]
    if old is not None:
        _compare(figures.compare(old, rows))
    elif output.as_json():
        output.print_json([_dict(result, kernel) for result in results])
    elif as_csv:
        click.echo(figures.to_csv(rows), nl=False)
    elif stats:
        heads = [figures.COLUMNS[name] for name in figures.SHOWN]
        right = [head for name, head in zip(figures.SHOWN, heads, strict=True) if name not in figures.TEXTS]
        output.table("", heads, [[getattr(row, name) for name in figures.SHOWN] for row in rows], right=right)
    elif table:
        output.table(
            f"Linux {kernel}", ["File", "Program", "Verdict", "Insns", "States", "Reason"],
            [(r.row.file_name, r.row.prog_name, r.row.verdict, r.row.total_insns, r.row.total_states, r.reason)
             for r in results],
            right=["Insns", "States"],
        )  # fmt: skip


def _compare(found: list[Any]) -> None:
    from bombus.verifier import stats as figures

    if output.as_json():
        output.print_json([
            {"file_name": one.file_name, "prog_name": one.prog_name}
            | {f"{name}_{what}": cell for name in figures.COMPARED
               for what, cell in zip(("a", "b", "diff"), one.cells(name), strict=True)}
            for one in found
        ])  # fmt: skip
        return
    heads = ["File", "Program"]
    for name in figures.COMPARED:
        heads += [f"{figures.COLUMNS[name]} (A)", f"{figures.COLUMNS[name]} (B)", f"{figures.COLUMNS[name]} (DIFF)"]
    rows = [
        [one.file_name, one.prog_name, *(cell for name in figures.COMPARED for cell in one.cells(name))]
        for one in found
    ]
    output.table("", heads, rows, right=heads[5:])


def _dict(result: Result, kernel: str) -> dict[str, Any]:
    found: dict[str, Any] = result.row.as_dict() | {
        "kernel": kernel, "prog_type": result.item.type, "section": result.item.section, "reason": result.reason,
    }
    if result.verdict is not None:
        found |= {"errno": result.verdict.errno, "insn": result.verdict.insn, "log": result.log}
    if result.explanation is not None:
        found["explanation"] = result.explanation.as_dict()
    return found
