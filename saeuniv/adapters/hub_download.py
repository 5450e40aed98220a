"""One file of a hub repository into the cache: whole and as the hub names it, or not at all."""

import contextlib
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from saeuniv.adapters.checkpoints import tensor_shapes
from saeuniv.adapters.hub_errors import BrokenDownload

_CHUNK = 1 << 22
# The client goes on as long as anything comes, also where each attempt starts at the first byte again.
_MAX_RESTARTS = 3
_SHA256, _GIT_SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


def download_file(repository: str, name: str, *, kind: str, revision: str) -> Path:
    """The file in the cache, fetched. What is in the cache afterwards is whole.

    A hub that does not answer is given up after HF_HUB_ETAG_TIMEOUT (10 s), one that stops in the middle
    after six times HF_HUB_DOWNLOAD_TIMEOUT (10 s).

    Raises:
        BrokenDownload: the content is not what the hub names, or it broke off again and again.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    with contextlib.suppress(HfHubHTTPError):
        # Left to itself the client asks a hub that does not answer again and again, for minutes each.
        url = huggingface_hub.hf_hub_url(repository, name, repo_type=kind, revision=revision)
        huggingface_hub.get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    path = Path(
        huggingface_hub.hf_hub_download(
            repository,
            name,
            repo_type=kind,
            revision=revision,
            tqdm_class=_bounded_progress(),
        )
    )
    fault = damage(path)
    if fault:
        discard(path)
        raise BrokenDownload(f"{fault}; it was removed from the cache")
    return path


def damage(path: Path) -> str | None:
    """How a file in the cache differs from what the hub says of it, or from its format; None if whole.

    The client names content by the hub's checksum: SHA-256 of large files, git's SHA-1 of small ones.
    """
    content = path.resolve()
    checksum = content.name
    if _SHA256.fullmatch(checksum):
        found = _digest(content, hashlib.sha256())
    elif _GIT_SHA1.fullmatch(checksum):
        found = _digest(content, hashlib.sha1(b"blob %d\0" % content.stat().st_size))
    else:
        found = checksum
    if found != checksum:
        return f"what came has the checksum {found[:12]}, the hub says {checksum[:12]}"
    if path.suffix == ".safetensors":
        try:
            tensor_shapes(path)
        except ValueError as error:
            return f"what came is damaged where it was published, too: {error}"
    return None


def discard(path: Path) -> None:
    """Remove a file from the cache: its name, then its content."""
    content = path.resolve()
    path.unlink()
    content.unlink(missing_ok=True)


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@cache
def _bounded_progress() -> type[Any]:
    """The client's progress bar, which it tells of the bytes that it throws away to start again."""
    from huggingface_hub.utils import tqdm

    class Bounded(tqdm):
        n_restarts = 0

        def update(self, n: int | float | None = 1) -> bool | None:
            self.n_restarts += n is not None and n < 0
            if self.n_restarts > _MAX_RESTARTS:
                raise BrokenDownload(f"it broke off {self.n_restarts} times before all of it had come")
            return super().update(n)

    return Bounded
