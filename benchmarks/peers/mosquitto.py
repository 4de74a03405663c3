"""Mosquitto, MQTT 3.1.1 with QoS 0, from Debian's package."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import HOME, Peer

__all__ = ["Mosquitto"]

TREE = HOME / "mosquitto"
PACKAGES = ("mosquitto", "libwrap0", "libdlt2", "libcjson1", "libnsl2", "libtirpc3")
"""The package and the libraries that a small Debian lacks; unpacked, not installed."""

CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_connections -1
max_queued_messages 0
log_type error
user root
"""


class Mosquitto(Peer):
    name = "mosquitto"
    transport = "mqtt"
    slow = True
    guarantee = "at most once, from memory (QoS 0)"
    settings = "no persistence, TCP_NODELAY, queues without a limit, errors logged only"

    def install(self) -> None:
        archives = HOME / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], check=True, cwd=archives)
        for archive in archives.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, TREE], check=True)

    def version(self) -> str | None:
        if not (TREE / "usr/sbin/mosquitto").exists():
            return None
        archive = next((HOME / "archives").glob("mosquitto_*.deb"), None)
        return archive.name.split("_")[1] if archive else "?"

    def command(self, directory: Path, port: int) -> Sequence[str | Path]:
        configuration = directory / "mosquitto.conf"
        configuration.write_text(CONFIGURATION.format(port=port))
        return [TREE / "usr/sbin/mosquitto", "-c", configuration]

    def environment(self) -> dict[str, str]:
        libraries = [TREE / "usr/lib/x86_64-linux-gnu", TREE / "lib/x86_64-linux-gnu"]
        return {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
