"""A zygote whose workers speak the supervisor's contract and do nothing else.

It beats twenty times a second by raising its counter in the fake route table, accepts on its
own and on adopted listeners, and greets each connection with its server's name.

STUB_BEHAVIOUR: `exit` ends before ready with status 3, `fatal` reports damaged data, `garbage`
writes what is no control line, `late` takes its time for a restart, `slow` for its start and its
first beat, `stubborn` ignores drain and SIGTERM, `unloadable` is a zygote that ends before it
forks; empty: behaves.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import sys
import time

from imfast.worker.parent import die_with_parent
from imfast.worker.zygote import fork_workers

BEHAVIOUR = os.environ.get("STUB_BEHAVIOUR", "")
BEAT_S = 0.05


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    if BEHAVIOUR == "unloadable":
        sys.exit(5)
    descriptor = fork_workers(int(sys.argv[1]), idle=lambda: None)
    if descriptor is None:
        sys.exit(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    text = os.fdopen(descriptor, "rb").read()
    if not text:  # a spare that nobody needed
        sys.exit(0)
    document = json.loads(text)
    die_with_parent(document["supervisor_pid"])
    control = socket.socket(fileno=document["fds"]["control"])
    if BEHAVIOUR == "exit":
        sys.exit(3)
    if BEHAVIOUR == "fatal":
        control.sendall(b'{"fatal": "partition 0: segment 7 is damaged", "exit": 7}\n')
        sys.exit(7)
    if BEHAVIOUR == "garbage" and document["incarnation"] == 1:
        control.sendall(b"not json\n")
    if BEHAVIOUR == "late" and document["incarnation"] > 1:
        time.sleep(1.5)
    if BEHAVIOUR == "slow":
        time.sleep(2.5)  # longer than a worker that is ready may stand still
    if BEHAVIOUR == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Worker(document, control).run()


class Worker:
    def __init__(self, document: dict, control: socket.socket) -> None:
        self.document = document
        self.control = control
        self.http = [socket.socket(fileno=fd) for fd in document["fds"]["http"]]
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self.read_control)
        self.accept_on(document["index"])
        self.held: list[socket.socket] = []
        self.beats = 0

    def run(self) -> None:
        epochs = {str(p): self.document["incarnation"] for p in self.document["partitions"]}
        ready = {"ready": True, "partitions": self.document["partitions"], "epochs": epochs}
        self.control.sendall(json.dumps(ready).encode() + b"\n")
        if BEHAVIOUR == "slow":
            time.sleep(0.5)
        while True:
            self.beats += 1
            place = self.document["index"] * 8
            os.pwrite(self.document["fds"]["routes"], struct.pack("<Q", self.beats), place)
            deadline = time.monotonic() + BEAT_S
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in self.selector.select(left):
                    key.data()

    def accept_on(self, index: int) -> None:
        listener = self.http[index]
        self.selector.register(listener, selectors.EVENT_READ, lambda: self.greet(listener))

    def greet(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.sendall(self.document["server"].encode())
        self.held.append(connection)

    def read_control(self) -> None:
        lines = self.control.recv(65536)
        if not lines:
            sys.exit(0)
        for line in lines.splitlines():
            message = json.loads(line)
            if "adopt" in message:
                self.accept_on(message["adopt"])
            elif "release" in message:
                self.selector.unregister(self.http[message["release"]])
            elif "report" in message:
                report = {"counters": {"connections": len(self.held)}}
                self.control.sendall(json.dumps({"report": report}).encode() + b"\n")
            elif "drain" in message and BEHAVIOUR != "stubborn":
                sys.exit(0)


main()
