"""A server of chat streams whose speed is known: `python tests/fake_stream_server.py PORT WAIT_MS BURN_MS`.

It waits WAIT_MS before each token, and takes BURN_MS of processor time for it.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Streams(BaseHTTPRequestHandler):
    """Streams of as many tokens as asked for, in HTTP chunks."""

    protocol_version = "HTTP/1.1"
    wait_s = burn_s = 0.0

    def do_GET(self) -> None:
        """Say that it is ready."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        """Answer with a stream."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(body["max_tokens"]):
            time.sleep(self.wait_s)
            until = time.thread_time() + self.burn_s
            while time.thread_time() < until:
                pass
            self._send({"choices": [{"delta": {"content": f"{number} "}}]})
        usage = {"prompt_tokens": len(body["messages"]), "completion_tokens": body["max_tokens"]}
        self._send({"choices": [], "usage": usage})
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _send(self, event: dict[str, Any]) -> None:
        line = f"data: {json.dumps(event)}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

    def log_message(self, *_: Any) -> None:
        """Write no log."""


if __name__ == "__main__":
    Streams.wait_s, Streams.burn_s = (float(text) / 1000 for text in sys.argv[2:])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Streams).serve_forever()
