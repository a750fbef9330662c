"""A stand-in for the Hub on loopback, for the real huggingface_hub client: one folder a repository, one revision.

Models lie in `<root>/<user>/<name>`, datasets in `<root>/datasets/<user>/<name>`, as in the addresses of the Hub.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

COMMIT = "0" * 39 + "1"
UNAVAILABLE: set[str] = set()  # names of files that cannot be had at the moment
API = re.compile(r"/api/(?P<type>models|datasets)/(?P<name>[^/]+/[^/]+)(/(?P<action>[^/]+)(/(?P<rest>.*))?)?")


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

        def repository(self) -> tuple[Path, str | None]:
            """The folder of the repository that an address of the API names, and what to do with it."""
            found = API.fullmatch(self.path.split("?")[0])
            if not found:
                return root, None
            return root / ("datasets" if found["type"] == "datasets" else "") / found["name"], found["action"]

        def do_POST(self):
            path, body = self.path.split("?")[0], self.body()
            folder, action = self.repository()
            if path == "/api/repos/create":
                asked = json.loads(body)
                kind = "datasets" if asked.get("type") == "dataset" else None
                name = "/".join(filter(None, [kind, asked.get("organization"), asked["name"]]))
                (root / name).mkdir(parents=True, exist_ok=True)
                self.answer_json({"url": f"http://{self.headers['Host']}/{name}", "name": name})
            elif path == "/api/validate-yaml":
                self.answer_json({"errors": [], "warnings": []})
            elif path.endswith("/info/lfs/objects/batch"):
                self.answer_json(
                    {"transfer": "basic", "objects": [self.upload(o) for o in json.loads(body)["objects"]]}
                )
            elif action == "preupload":
                files = [file["path"] for file in json.loads(body)["files"]]
                modes = ["lfs" if file.endswith(".parquet") else "regular" for file in files]
                found = [{"path": f, "uploadMode": m, "shouldIgnore": False} for f, m in zip(files, modes, strict=True)]
                self.answer_json({"files": found})
            elif action == "commit":
                for line in filter(None, body.decode().splitlines()):
                    self.apply(folder, **json.loads(line))
                with open(root / ".commits", "a", encoding="utf-8") as file:
                    file.write(f"{folder.relative_to(root)}\n")
                address = f"http://{self.headers['Host']}/{folder.relative_to(root)}/commit/{COMMIT}"
                self.answer_json({"commitUrl": address, "commitOid": COMMIT, "success": True})
            elif action == "paths-info":
                paths = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
                self.answer_json([self.entry(folder, folder / p) for p in paths if (folder / p).exists()])
            else:
                self.answer(404)

        def upload(self, asked: dict) -> dict:
            address = f"http://{self.headers['Host']}/lfs/{asked['oid']}"
            return {**asked, "authenticated": True, "actions": {"upload": {"href": address}}}

        def do_PUT(self):
            stored = root / ".lfs" / self.path.rsplit("/", 1)[1]
            stored.parent.mkdir(exist_ok=True)
            stored.write_bytes(self.body())
            self.answer(200)

        def apply(self, folder: Path, key: str, value: dict):
            if key == "header":
                return
            file = folder / value["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            if key == "file":
                file.write_bytes(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                file.write_bytes((root / ".lfs" / value["oid"]).read_bytes())
            elif key == "deletedFile":
                file.unlink()

        def entry(self, folder: Path, path: Path) -> dict:
            name = str(path.relative_to(folder))
            if path.is_dir():
                return {"type": "directory", "oid": "0", "path": name}
            return {"type": "file", "oid": "0", "path": name, "size": path.stat().st_size}

        def do_GET(self):
            path = self.path.split("?")[0]
            folder, action = self.repository()
            if "/resolve/" in path:
                name, file = path.strip("/").split("/resolve/")
                self.answer_file(root / name / file.split("/", 1)[1])
            elif folder == root:
                self.answer(404)
            elif not folder.is_dir():
                self.answer(404, X_Error_Code="RepoNotFound")
            elif action == "tree":
                self.answer_tree(folder, path.split("/tree/")[1].split("/", 1)[1:])
            else:
                files = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
                siblings = [{"rfilename": file} for file in files]
                self.answer_json({"id": "/".join(folder.parts[-2:]), "sha": COMMIT, "siblings": siblings})

        def answer_tree(self, folder: Path, below: list[str]):
            place = folder.joinpath(*below)
            if not place.is_dir():
                self.answer(404, X_Error_Code="EntryNotFound")
                return
            recursive = "recursive=true" in self.path.lower()
            found = sorted(place.rglob("*") if recursive else place.glob("*"))
            self.answer_json([self.entry(folder, path) for path in found])

        do_HEAD = do_GET

        def answer_file(self, file: Path):
            if file.name in UNAVAILABLE:
                self.answer(501)  # which the client does not ask for again and again
                return
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
