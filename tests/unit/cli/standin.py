"""A stand-in for a part: `python standin.py PORT [--child] [--deaf]` answers PING as Valkey does.

With --child it starts a process of its own, in another session; with --deaf it ignores SIGTERM.
"""

from __future__ import annotations

import signal
import socketserver
import subprocess
import sys


class Pong(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for _ in self.rfile:
            self.wfile.write(b"+PONG\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    if "--child" in sys.argv:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "--deaf" in sys.argv else lambda *_: sys.exit(0))
    with Server(("127.0.0.1", int(sys.argv[1])), Pong) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
