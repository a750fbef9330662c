"""A stand-in for the Hub on loopback, for the real huggingface_hub client: one folder a repository, one revision."""

import base64
import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 39 + "1"


def make_handler(root: Path):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, status: int, body: bytes = b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def answer_json(self, value, status: int = 200):
            self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_POST(self):
            path, body = self.path.split("?")[0], self.body()
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
                (root / name).mkdir(parents=True, exist_ok=True)
                self.answer_json({"url": f"http://{self.headers['Host']}/{name}", "name": name})
            elif path == "/api/validate-yaml":
                self.answer_json({"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
                self.answer_json({"files": [{**file, "shouldIgnore": False} for file in files]})
            elif "/commit/" in path:
                folder = root / path.removeprefix("/api/models/").split("/commit/")[0]
                for line in filter(None, body.decode().splitlines()):
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        file = folder / entry["value"]["path"]
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(base64.b64decode(entry["value"]["content"]))
                address = f"http://{self.headers['Host']}/{folder.relative_to(root)}/commit/{COMMIT}"
                self.answer_json({"commitUrl": address, "commitOid": COMMIT, "success": True})
            else:
                self.answer(404)

        def do_GET(self):
            path = self.path.split("?")[0]
            if "/resolve/" in path:
                name, file = path.strip("/").split("/resolve/")
                self.answer_file(root / name / file.split("/", 1)[1])
            elif path.startswith("/api/models/") and "/tree/" in path:
                folder = root / path.removeprefix("/api/models/").split("/tree/")[0]
                files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
                self.answer_json(
                    [
                        {"type": "file", "oid": "0", "path": str(f.relative_to(folder)), "size": f.stat().st_size}
                        for f in files
                    ]
                )
            elif path.startswith("/api/models/"):
                name = path.removeprefix("/api/models/").split("/revision/")[0]
                if not (root / name).is_dir():
                    self.answer(404, X_Error_Code="RepoNotFound")
                    return
                files = [str(f.relative_to(root / name)) for f in (root / name).rglob("*") if f.is_file()]
                self.answer_json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]})
            else:
                self.answer(404)

        do_HEAD = do_GET

        def answer_file(self, file: Path):
            if not file.is_file():
                self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
                return
            content = file.read_bytes()
            etag = '"' + hashlib.sha1(content).hexdigest() + '"'
            self.answer(200, content, X_Repo_Commit=COMMIT, ETag=etag)

    return Handler


@contextlib.contextmanager
def serve(root: Path):
    """Serves `root` for as long as the context lasts; gives the address for `HF_ENDPOINT`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(root))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
