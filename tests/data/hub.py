"""A model hub on loopback, in the layout of the real one: metadata, redirects, ranges, refusals.

Large files lie under another host name, as on the real hub's CDN, which sees no token.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 10_000
"""From so many bytes on a file is large: redirected, and known by its SHA-256."""

TOKEN = "hf_loopback"


@dataclass
class Repository:
    """A model's files at one commit, to which some names refer."""

    files: dict[str, bytes]
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    revisions: tuple[str, ...] = ("main",)
    card: dict | None = None
    is_gated: bool = False


@dataclass
class Hub:
    """What the hub holds, how it shall fail, and what it was asked and has sent."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    """Bytes of a large file after which the connection is cut, once each."""
    stalls_after: int | None = None
    """Bytes of a large file after which nothing more comes, until `resume` is set."""
    answers: tuple[int, str] | None = None
    """Status and text that answer everything, as a hub in trouble does, or what is none."""
    ignores_ranges: bool = False
    corrupts: bool = False
    resume: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers of each request."""
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    """Path below the CDN, first byte and last byte + 1 of what was sent of a large file."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self.port}/cdn"

    def __enter__(self) -> "Hub":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Asked,), {"hub": self}))
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.resume.set()
        self.server.shutdown()
        self.server.server_close()

    def large(self, digest: str) -> bytes:
        everything = (f for r in self.repositories.values() for f in r.files.values())
        return next(f for f in everything if hashlib.sha256(f).hexdigest() == digest)


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def log_message(self, *_):
        """Say nothing: pytest shows what a test wants shown."""

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, dict(self.headers)))
        if self.hub.answers:
            status, text = self.hub.answers
            return self._send(status, text.encode(), {"Content-Type": "text/html"})
        if found := re.fullmatch(r"/cdn/(.+)", path):
            return self._send_large(found[1])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._tell(found[1], found[2] or "main")
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*found.groups())
        return self._refuse(404, "", "Sorry, we can't find the page you are looking for.")

    def _repository(self, name: str, revision: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None and self._token() is None:
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        if repository is None:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        if revision not in (repository.commit, *repository.revisions):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository

    def _token(self) -> str | None:
        return self.headers.get("Authorization")

    def _tell(self, name: str, revision: str):
        if repository := self._repository(name, revision):
            facts = {"_id": "1", "id": name, "modelId": name, "sha": repository.commit}
            facts |= {"private": False, "gated": "auto" if repository.is_gated else False}
            facts |= {
                "tags": [],
                "downloads": 1,
                "likes": 0,
                "lastModified": "2024-07-05T00:00:00Z",
            }
            facts |= {"cardData": repository.card} if repository.card else {}
            facts["siblings"] = [{"rfilename": file} for file in repository.files]
            self._send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str):
        repository = self._repository(name, revision)
        if repository is None:
            return
        if repository.is_gated and self._token() != f"Bearer {TOKEN}":
            status = 403 if self._token() else 401
            said = f"Access to model {name} is restricted. You must have access to it."
            self._refuse(status, "GatedRepo", said)
        elif file not in repository.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._send_file(repository, repository.files[file])

    def _send_file(self, repository: Repository, data: bytes):
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if len(data) < LARGE:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            self._send(200, data, headers | {"ETag": f'"{blob}"'})
        else:
            digest = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{digest}"'}
            headers |= {"ETag": f'"{digest[:32]}"', "Location": f"{self.hub.cdn}/{digest}?signed=1"}
            self._send(302, b"Found. Redirecting", headers)

    def _send_large(self, digest: str):
        data = self.hub.large(digest)
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(found[1]) if found and not self.hub.ignores_ranges else 0
        body = data[first:] if not self.hub.corrupts else bytes(len(data) - first)
        ranged = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        self.send_response(206 if first else 200)
        for key, value in (ranged | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        last = len(body)
        if self.hub.cuts:
            last = min(last, self.hub.cuts.pop(0))
        elif self.hub.stalls_after is not None:
            last = min(last, self.hub.stalls_after)
        self.hub.sent.append((digest, first, first + last))
        self.wfile.write(body[:last])
        if last < len(body):
            self.close_connection = True
            if self.hub.stalls_after is not None:
                self.hub.resume.wait(60)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
