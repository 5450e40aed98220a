"""A W&B server on loopback: answers the client, counts, fails for a while, keeps everything sent."""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAILURES = (429, 500, 429, 500)
"""Answers of the first requests of each kind that is asked to fail."""

COMMAND = "from saeuniv.cli import main; main()"

_ROOT = Path(__file__).parents[2]
_KEY = "0123456789abcdef0123456789abcdef01234567"
_HF_TOKEN = "hf_NeverToBeSeen"

SECRETS = (_KEY, _HF_TOKEN)
"""What no request may hold."""


def start(code: str, *arguments: object, url: str) -> subprocess.Popen:
    """A process of Python that finds the server and an API key in its environment."""
    secrets = {"WANDB_API_KEY": _KEY, "HF_TOKEN": _HF_TOKEN, "WANDB_BASE_URL": url}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **secrets},
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class FakeWandb:
    """What was received, by run; `failing` operations fail as long as they have answers of FAILURES left.

    `denied` operations are never allowed.
    """

    def __init__(
        self, *, failing: tuple[str, ...] = (), denied: tuple[str, ...] = (), projects: tuple[str, ...] = ()
    ):
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.n_bytes = 0
        self.runs: dict[str, dict] = {}
        self.history: dict[str, list[dict]] = {}
        self.files: dict[str, bytes] = {}
        self.artifacts: dict[str, dict] = {}
        self.committed: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.sent: list[bytes] = []
        self.views: list[dict] = []
        self.projects = projects
        self._denied = denied
        self._failures = {kind: list(FAILURES[:2]) for kind in failing}
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._server.server_close()
        if faults := getattr(self._server, "faults", ()):
            raise ExceptionGroup("the fake server failed", faults)

    def failure(self, kind: str) -> int | None:
        """The status that a request of this kind is to be refused with, now."""
        if kind in self._denied:
            return 403
        left = self._failures.get(kind)
        if not left:
            return None
        code = left.pop(0)
        self.refused[code] += 1
        return code

    def answer(self, operation: str, given: dict) -> dict:
        """The data of a GraphQL answer."""
        match operation:
            case "UpsertBucket":
                return self._upserted(given)
            case "CreateRunFiles":
                files = [{"name": f, "uploadUrl": self._store(f"{given['run']}/{f}")} for f in given["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":
                name = f"a{len(self.artifacts)}"
                self.artifacts[name] = given["input"]
                sequence = {"id": f"s-{name}", "latestArtifact": None}
                made = {"id": name, "state": "PENDING", "artifactSequence": sequence}
                return {"createArtifact": {"artifact": made}}
            case "CreateArtifactManifest" | "UpdateArtifactManifest":
                field = operation[0].lower() + operation[1:]
                owner = given.get("artifactId") or given.get("artifactID") or "manifest"
                file = _file(f"{owner}/manifest", self._store(f"{owner}/manifest"))
                return {field: {"artifactManifest": {"id": owner, "file": file}}}
            case "CreateArtifactFiles":
                specs = given["input"]["artifactFiles"]
                nodes = [_artifact_file(spec, self._store) for spec in specs]
                return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
            case "CommitArtifact":
                self.committed.add(given["artifactID"])
                return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "x"}}}
            case "Viewer" | "GetDefaultEntity":
                empty = {"edges": []}
                who = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "email": "a@b"}
                return {"viewer": {**who, "admin": False, "teams": empty, "apiKeys": empty}}
            case "ProjectInternalId":
                name = given["projectName"]
                found = {"id": "p", "internalId": f"internal-{name}"} if name in self.projects else None
                return {"project": found}
            case "GetProjects":
                edges = [{"node": _project(name), "cursor": "c"} for name in self.projects]
                return {"models": {"edges": edges, "pageInfo": {"endCursor": "c", "hasNextPage": False}}}
            case "upsertView":
                return self._saved(given)
            case "ServerFeaturesQuery" | "ServerFeatures":
                return {"serverInfo": {"features": []}}
            case _:
                return {}

    def stream(self, run: str, body: dict) -> None:
        """Keep a chunk of the history; the client says at which line it begins."""
        chunk = body.get("files", {}).get("wandb-history.jsonl")
        if chunk:
            lines = self.history.setdefault(run, [])
            lines[chunk["offset"] :] = [json.loads(line) for line in chunk["content"]]

    def _upserted(self, given: dict) -> dict:
        name = given["name"]
        new = name not in self.runs
        self.runs.setdefault(name, {}).update({k: v for k, v in given.items() if v is not None})
        entity = given.get("entity") or "me"
        project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": entity}}
        bucket = {"id": f"b-{name}", "name": name, "displayName": given.get("displayName"), "config": "{}"}
        bucket |= {"description": "", "sweepName": None, "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _saved(self, given: dict) -> dict:
        self.views.append(given)
        project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        view = {"id": "Vmlldzox", "type": "runs", "project": project, "updatedAt": "2026-01-01T00:00:00"}
        shown = {name: given[name] for name in ("name", "displayName", "description", "spec")}
        return {"upsertView": {"view": view | shown, "inserted": True}}

    def _store(self, name: str) -> str:
        return f"{self.url}/storage/{name}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients end without closing their connections; anything else is a fault of this server."""
        if not isinstance(sys.exception(), ConnectionError):
            self.faults = [*getattr(self, "faults", ()), sys.exception()]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeWandb

    def log_message(self, *given):
        pass

    def do_GET(self):
        self._take("GET " + self.path)
        self._send({})

    def do_PUT(self):
        body = self._take("upload")
        if not self._refused("upload"):
            self.fake.files[self.path.removeprefix("/storage/")] = body
            self._send({})

    def do_POST(self):
        if self.path.endswith("/graphql"):
            body = json.loads(self._take(None))
            operation = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])[1]
            with self.fake.lock:
                self.fake.requests[operation] += 1
                if not self._refused(operation):
                    self._send({"data": self.fake.answer(operation, body.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            body = self._take("file_stream")
            with self.fake.lock:
                if not self._refused("file_stream"):
                    self.fake.stream(self.path.split("/")[-2], json.loads(body))
                    self._send({"exitcode": None, "limits": {}})
        else:
            self._take("POST " + self.path.rsplit("/", 1)[-1])
            self._send({})

    def _refused(self, kind: str) -> bool:
        code = self.fake.failure(kind)
        if code:
            self._send({"error": "try again"}, code)
        return bool(code)

    def _take(self, kind: str | None) -> bytes:
        """The body; it is counted, and kept with the address and all headers but the one with the key."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        n_sent = len(body)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = [f"{name}: {value}" for name, value in self.headers.items() if name != "Authorization"]
        with self.fake.lock:
            self.fake.n_bytes += n_sent
            if kind:
                self.fake.requests[kind] += 1
            self.fake.sent += [self.path.encode(), *(line.encode() for line in headers), body]
        return body

    def _send(self, answer: dict, code: int = 200) -> None:
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _project(name: str) -> dict:
    return dict(id="p", name=name, entityName="me", createdAt="", isBenchmark=False, user=None)


def _file(name: str, url: str) -> dict:
    return {"id": name, "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}


def _artifact_file(spec: dict, store) -> dict:
    owner = spec["artifactID"]
    file = _file(spec["name"], store(f"{owner}/{spec['name']}"))
    return {**file, "storagePath": "x", "uploadMultipartUrls": None, "artifact": {"id": owner}}
