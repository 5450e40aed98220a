"""What goes wrong with the hub, in words: no network, no such repository, no access."""

from collections.abc import Generator
from contextlib import contextmanager

from saeuniv.config import ConfigError

# Where people ask for access, whatever mirror the files come from.
_SITE = "https://huggingface.co"

DATASETS = "datasets/"
"""How the hub's addresses tell the repository of a data set from that of a model."""


class HubUnreachable(ConfigError):
    """A file is not in the cache, and the hub could not be asked."""


class BrokenDownload(OSError):
    """What came is not the file; nothing of it was kept."""


def client_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where a request fails."""
    # The second is its HTTP client's, which is another library in other versions.
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    return (OSError, HTTPError)


@contextmanager
def explained(repository: str, revision: str, *, where: str, wanted: str) -> Generator[None]:
    """Errors of the hub's client as ConfigError; `where` is the configuration key and value at fault.

    Raises:
        ConfigError: there is no such repository or revision, or no access to it.
        HubUnreachable: what is `wanted` is not in the cache, and the hub could not be asked.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise ConfigError(f"{where}: expected owner/name of a hub repository. {error}") from error
    except client_errors() as error:
        fault, kind = _fault(repository, revision, wanted, error)
        raise kind(f"{where}: {fault}") from error


def _fault(repository: str, revision: str, wanted: str, error: Exception) -> tuple[str, type[ConfigError]]:
    """What went wrong and what to do; neither tokens nor headers are ever part of it."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    who = "the token set here does not open it (or is expired)" if get_token() else "no token is set here"
    sign_in = "set HF_TOKEN or run `hf auth login` on the machine that submits"
    if isinstance(cause, GatedRepoError):
        asking = f"Ask for access at {_SITE}/{repository}, then {sign_in}."
        return f"{repository} is gated, and {who}. {asking}", ConfigError
    if isinstance(cause, RepositoryNotFoundError) or status in (401, 403):
        check = f"Check the name; for a private repository, {sign_in}."
        return f"the hub has no {repository}, or it is private and {who}. {check}", ConfigError
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else str(cause).split("\n")[0]
    kind = ConfigError if status is not None and status < 500 else HubUnreachable
    name = repository.removeprefix(DATASETS)
    named = name if name == repository else f"{name} --repo-type dataset"
    fetching = f"`saeuniv fetch` with these overrides, or `hf download {named} --revision {revision}`"
    if _broke_off(cause):
        return (
            f"{wanted} of {repository} at revision {revision} did not come whole from the hub ({reason}). "
            f"Nothing of it was kept: run the same command again, or {fetching}. Where the network is slow, "
            f"HF_HUB_DOWNLOAD_TIMEOUT=60 and HF_HUB_ETAG_TIMEOUT=60 wait longer than 10 s for an answer.",
            HubUnreachable,
        )
    return (
        f"{wanted} of {repository} at revision {revision} is neither in the cache ({constants.HF_HUB_CACHE}) "
        f"nor to be had from the hub ({reason}). Check name and revision; {fetching}, fetches it where there "
        f"is a network.",
        kind,
    )


def _broke_off(cause: BaseException) -> bool:
    """Whether the hub was reached, and then fell silent, hung up, or sent something else."""
    # By name: the classes are of the client's HTTP library, which is another one in other versions.
    name = type(cause).__name__
    return isinstance(cause, BrokenDownload) or name.endswith("Timeout") or name == "RemoteProtocolError"
