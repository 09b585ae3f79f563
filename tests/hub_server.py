"""A stand-in for the Hugging Face Hub on this machine: repositories, commits and files."""

import base64
import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


class Hub:
    """What the server holds.

    Attributes:
        repos: for each name its commits: a dict from the commit to a dict from path to bytes.
        heads: for each name and branch its newest commit.
    """

    def __init__(self):
        self.repos, self.heads, self.asked = {}, {}, []

    def commit(self, repo, branch, changes):
        """Adds a commit to a branch; returns its digest."""
        files = {**self.repos[repo].get(self.heads.get((repo, branch)), {}), **changes}
        oid = hashlib.sha1(repr((repo, sorted(files.items()))).encode()).hexdigest()
        self.repos[repo][oid] = files
        self.heads[repo, branch] = oid
        return oid


@contextlib.contextmanager
def serving():
    """Gives a `Hub` and the address that it is served at."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, code):
        self.answer({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "log in"}, 401)
        elif path == "/api/repos/create":
            fields = json.loads(body)
            name = f"{fields['organization']}/{fields['name']}"
            self.hub.repos.setdefault(name, {})
            self.answer({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self.answer({"files": modes})
        elif "/commit/" in path:
            repo, _, branch = path.removeprefix("/api/models/").partition("/commit/")
            lines = [json.loads(line) for line in body.splitlines()]
            changes = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            oid = self.hub.commit(repo, branch, changes)
            url = f"http://{self.headers['Host']}/{repo}/commit/{oid}"
            self.answer({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})
        else:
            self.missing("EntryNotFound")

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repo not in self.hub.repos:
            return self.missing("RepoNotFound")
        oid = self.hub.heads.get((repo, revision), revision)
        if oid not in self.hub.repos[repo]:
            return self.missing("RevisionNotFound")
        content = self.hub.repos[repo][oid].get(name)
        if content is None:
            return self.missing("EntryNotFound")
        digest = hashlib.sha256(content).hexdigest()
        return self.answer(content, ETag=f'"{digest}"', X_Repo_Commit=oid)

    do_HEAD = do_GET
