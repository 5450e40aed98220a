"""`saeuniv export SWEEP DIR`: dictionaries, latents and results of a sweep or a comparison, for others."""

from collections.abc import Sequence
from pathlib import Path

from saeuniv.commands.found import comparisons_in, has_results, result_folder
from saeuniv.commands.shell import DONE, FAILED, parser, say
from saeuniv.config import ConfigError
from saeuniv.report.console import console
from saeuniv.store import ArtifactError
from saeuniv.store.usage import bytes_text
from saeuniv.sweep.sharing import EXPORT, KINDS, Export, Wanted, plan_export, write_export
from saeuniv.sweep.sharing.plan import UNKNOWN, sizes
from saeuniv.sweep.sharing.progress import progress


def main(argv: Sequence[str]) -> int:
    """Say how much it is, then write it; with --dry-run only say.

    Raises:
        ConfigError: see `plan_export`; nothing is written.
    """
    arguments = parser("export", "Dictionaries, latents and results of a sweep or a comparison, for others.")
    arguments.add_argument("sweep", help="the name of a sweep; or the folder of a sweep or a comparison")
    arguments.add_argument(
        "folder", metavar="DIR", type=Path, help="a new or an empty folder; one that was killed is continued"
    )
    arguments.add_argument(
        "--what", default=",".join(KINDS), metavar="KINDS", help=f"some of {','.join(KINDS)}; default: all"
    )
    arguments.add_argument(
        "--with-text", action="store_true", help="also tokens, and the text that latents fire on"
    )
    arguments.add_argument(
        "--license", default=UNKNOWN, metavar="ID", help="as the hub has it: mit, cc-by-4.0"
    )
    arguments.add_argument("--store", type=Path, metavar="DIR", help="another than results name")
    arguments.add_argument("--dry-run", action="store_true", help="say how much it is; write nothing")
    given = arguments.parse_args(argv)
    folder = result_folder(given.sweep)
    alone = has_results(folder)
    comparisons = [folder] if alone else [each for each in comparisons_in(folder) if has_results(each)]
    kinds = tuple(each for each in given.what.split(",") if each)
    if not kinds:
        raise ConfigError(f"--what {given.what!r}: expected some of {','.join(KINDS)}, got none.")
    wanted = Wanted(
        folder,
        tuple(comparisons),
        given.folder.expanduser(),
        kinds,
        given.with_text,
        given.license,
        given.store and given.store.expanduser(),
    )
    export = plan_export(wanted)
    _say_sizes(export)
    if given.dry_run:
        say("Nothing was written.")
        return DONE
    return _written(export, wanted.target)


def _written(export: Export, target: Path) -> int:
    try:
        with progress("exported", export.bytes) as told:
            write_export(export, target, told)
    except ArtifactError as error:
        say(f"{error} What is copied stays in {target}: the same command continues.")
        return FAILED
    say(f"export: {target / EXPORT}")
    return DONE


def _say_sizes(export: Export) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    rows = sizes(export.pieces)
    table.add_column("kind", "all")
    table.add_column("files", f"{len(export.pieces):,}", justify="right")
    table.add_column("size", bytes_text(export.bytes), justify="right", no_wrap=True)
    for kind, n_files, n_bytes in rows:
        table.add_row(kind, f"{n_files:,}", bytes_text(n_bytes))
    console().print(table)
    if export.published:
        repositories = sorted({str(each["repository"]) for each in export.published})
        say(f"{len(export.published)} dictionaries are named, not copied: {', '.join(repositories)}.")
    for remark in export.remarks:
        say(remark)
    for each in export.left_out:
        say(f"left out: {each['what']}: {each['why']}")
