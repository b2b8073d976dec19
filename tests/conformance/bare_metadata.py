"""A metadata service for one guest, as small as can be: ``python bare_metadata.py STATE.json``, inside its namespace.

The file holds the tree below ``/latest`` (an object is a directory, a string an item); it is read anew for every
request. Only version 2 is answered: without a token there is nothing to see.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "a-token-of-this-test"


class Handler(BaseHTTPRequestHandler):
    state: Path

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self._answer(200 if known else 404, TOKEN if known else "")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._answer(401, "")
            return
        node = json.loads(self.state.read_text())
        # The first part is the version. "0=name" is how public-keys/ lists its entries, which are asked for as "0".
        for part in self.path.strip("/").split("/")[1:]:
            names = {name.partition("=")[0]: name for name in node} if isinstance(node, dict) else {}
            if part not in names:
                self._answer(404, "")
                return
            node = node[names[part]]
        if isinstance(node, dict):
            node = "\n".join(
                f"{name}/" if isinstance(item, dict) and "=" not in name else name for name, item in node.items()
            )
        self._answer(200, node)

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.state = Path(sys.argv[1])
    ThreadingHTTPServer(("169.254.169.254", 80), Handler).serve_forever()
