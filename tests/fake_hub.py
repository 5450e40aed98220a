"""A hub on loopback that answers what huggingface_hub asks, and remembers who asked for what."""

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

TOKEN = "hf_NeverToBeSeenAnywhere0123456789"
"""Opens gated and private repositories."""


def commit_of(name: str) -> str:
    """A commit's forty digits."""
    return hashlib.sha1(name.encode()).hexdigest()


class FakeHub:
    """Repositories as commits of files; branches point at commits. Data sets are datasets/owner/name."""

    def __init__(self, endpoint: str, cache: Path) -> None:
        self.endpoint, self.cache = endpoint, cache
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.faults: dict[str, str | int] = {}
        """By file: `truncated`, `stalled` (headers, then nothing), `silent` (nothing at all), `corrupted`
        (other bytes, as many), or a status."""

        self.recovered = threading.Event()
        """Set at the end: what stalls until then goes on."""

        self.requests: list[str] = []
        """`HEAD owner/name commit file`, `GET ...`, `LIST owner/name commit` and `AUTH owner/name`."""

        self.tokens: list[str | None] = []

    def add(self, repository: str, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        """A new commit of a repository at the head of a branch."""
        number = len(self.commits.setdefault(repository, {}))
        commit = commit_of(f"{repository} {number} {self.endpoint}")
        self.commits[repository][commit] = dict(files)
        self.branches.setdefault(repository, {})[branch] = commit
        return commit

    def add_folder(self, repository: str, folder: Path, *more: Path, **extra: bytes) -> str:
        """A new commit with the files of a folder, and with sub-folders."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        files |= {f"{each.name}/{path.name}": path.read_bytes() for each in more for path in each.iterdir()}
        return self.add(repository, {**files, **extra})

    def fetched(self) -> list[str]:
        """The files whose content was asked for, as `commit file`, since the last call."""
        asked = [each.split(" ", 2)[2] for each in self.requests if each.startswith("GET ")]
        self.requests.clear()
        return asked


@contextmanager
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub, an empty cache, no token, and a client that knows of no other hub."""
    from huggingface_hub import close_session, constants

    from saeuniv.adapters import hub as module

    class Handler(_Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = FakeHub(f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    Handler.hub = hub
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    close_session()
    module._has_network.cache_clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.recovered.set()
        server.shutdown()
        thread.join()
        server.server_close()
        close_session()
        module._has_network.cache_clear()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[FakeHub]

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, verb: str) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).strip("/").split("/")
        match path:
            case ["api", ("models" | "datasets") as kind, owner, name, "revision", revision]:
                repository = _repository(kind, owner, name)
                self._noted(f"LIST {repository} {revision}")
                self._list(repository, revision)
            case ["api", ("models" | "datasets") as kind, owner, name, "auth-check"]:
                repository = _repository(kind, owner, name)
                self._noted(f"AUTH {repository}")
                if not self._refused(repository, files=True):
                    self._send(200, b"{}")
            case ["datasets", owner, name, "resolve", revision, *file]:
                repository = _repository("datasets", owner, name)
                self._noted(f"{verb} {repository} {revision} {'/'.join(file)}")
                self._file(repository, revision, "/".join(file))
            case [owner, name, "resolve", revision, *file]:
                self._noted(f"{verb} {owner}/{name} {revision} {'/'.join(file)}")
                self._file(f"{owner}/{name}", revision, "/".join(file))
            case _:
                self._send(404, b"")

    def _noted(self, request: str) -> None:
        self.hub.requests.append(request)
        self.hub.tokens.append(self.headers.get("authorization"))

    def _refused(self, repository: str, *, files: bool) -> bool:
        """Whether the request was answered with a refusal, as the hub words it."""
        signed_in, opened = (
            "authorization" in self.headers,
            self.headers.get("authorization") == f"Bearer {TOKEN}",
        )
        if repository not in self.hub.commits or (repository in self.hub.private and not opened):
            self._send(404 if signed_in else 401, b"", **{"X-Error-Code": "RepoNotFound"})
            return True
        if files and repository in self.hub.gated and not opened:
            message = f"Access to model {repository} is restricted."
            code = 403 if signed_in else 401
            self._send(code, b"", **{"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return True
        return False

    def _commit(self, repository: str, revision: str) -> str | None:
        commit = self.hub.branches[repository].get(revision, revision)
        if commit in self.hub.commits[repository]:
            return commit
        self._send(404, b"", **{"X-Error-Code": "RevisionNotFound"})
        return None

    def _list(self, repository: str, revision: str) -> None:
        if self._refused(repository, files=False) or not (commit := self._commit(repository, revision)):
            return
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            for name, content in self.hub.commits[repository][commit].items()
        ]
        gated = "manual" if repository in self.hub.gated else False
        about = {"id": repository, "sha": commit, "gated": gated, "siblings": siblings, "private": False}
        self._send(200, json.dumps(about).encode())

    def _file(self, repository: str, revision: str, name: str) -> None:
        if self._refused(repository, files=True) or not (commit := self._commit(repository, revision)):
            return
        content = self.hub.commits[repository][commit].get(name)
        if content is None:
            self._send(404, b"", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        fault = self.hub.faults.get(name)
        if isinstance(fault, int):
            self._send(fault, b"")
            return
        if fault == "silent":
            self.hub.recovered.wait()
        self._send(200, content, fault, **{"ETag": etag, "X-Repo-Commit": commit})

    def _send(self, code: int, content: bytes, fault: str | None = None, /, **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and fault == "stalled":
            self.wfile.flush()
            self.hub.recovered.wait()
        elif self.command == "GET":
            broken = {"truncated": content[: len(content) // 2], "corrupted": content[::-1]}
            self.wfile.write(broken.get(fault or "", content))


def _repository(kind: str, owner: str, name: str) -> str:
    return f"datasets/{owner}/{name}" if kind == "datasets" else f"{owner}/{name}"
