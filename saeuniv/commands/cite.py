"""`saeuniv --cite [SWEEP]`: what to cite."""

from collections.abc import Sequence

from saeuniv.commands.found import comparisons_in, has_results, result_folder
from saeuniv.commands.shell import DONE, say
from saeuniv.commands.shell import parser as command_parser
from saeuniv.config import ConfigError
from saeuniv.results import load
from saeuniv.sweep.sharing.citation import citation, sources_text
from saeuniv.sweep.sharing.used import used


def main(argv: Sequence[str]) -> int:
    """Print BibTeX of saeuniv and of the paper; of a sweep also what it was made with, from its results.

    Raises:
        ConfigError: there are no such results.
    """
    parser = command_parser(
        "--cite", "What to cite: this software, the paper, and what a sweep was made with."
    )
    parser.add_argument(
        "sweep", nargs="?", help="the name of a sweep; or the folder of a sweep or a comparison"
    )
    given = parser.parse_args(argv)
    lines = [citation()]
    if given.sweep is not None:
        folder = result_folder(given.sweep)
        folders = [folder] if has_results(folder) else filter(has_results, comparisons_in(folder))
        try:
            lines += ["", "Made with", *sources_text(used(map(load, folders)))]
        except ValueError as error:
            raise ConfigError(str(error)) from error
    say("\n".join(lines))
    return DONE
