"""A worker process: `python -m convscope_server.worker --fd N --device D`, started by the local engine."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading

import msgspec

from convscope_server.engine.messages import Report
from convscope_server.engine.options import WorkerOptions
from convscope_server.engine.pipe import decode_command, frame, read_frames


def main() -> None:
    """Serve the engine at the other end of the socket until it goes away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--device", default="")
    parser.add_argument("--options", required=True)
    parser.add_argument("--log-level", default="INFO")
    args = parser.parse_args()
    logging.basicConfig(
        level=args.log_level,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s worker %(name)s %(message)s",
    )
    # Ctrl-C in a terminal reaches the whole process group; when to stop is for the front end to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What plugins print belongs in the log, not in what the front end prints for scripts to read.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    connection = socket.socket(fileno=args.fd)
    serve(connection, msgspec.json.decode(args.options, type=WorkerOptions), args.device)


def serve(connection: socket.socket, options: WorkerOptions, device: str) -> None:
    """Set the device up, say hello, and work."""
    from convscope_server.worker.worker import Worker
    from convscope_server.worker.workshop import Workshop

    lock = threading.Lock()

    def send(report: Report) -> None:
        data = frame(report)
        with lock:
            try:
                connection.sendall(data)
            except OSError:
                os._exit(0)  # the front end is gone, and with it everybody who could ask for anything

    shop = Workshop(options, device)
    shop.warm()
    worker = Worker(shop, send)

    def listen() -> None:
        for body in read_frames(connection):
            worker.post(decode_command(body))
        os._exit(0)

    send(worker.hello())
    threading.Thread(target=listen, name="convscope-listener", daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
