"""What `imfast serve` prints once clients can connect."""

from __future__ import annotations

import sys

from imfast.config.keys import uses_development_secret
from imfast.supervisor.server import Running

__all__ = ["announce"]

EXAMPLE_USER = "alice"
EXAMPLE_TTL_S = 86_400.0

ACK_MEANS = {
    "fsync": "after `sent`, a message survives the kill of every process and, as far as the disk"
    " keeps what it has flushed, a power cut",
    "os": "after `sent`, a message survives the kill of every process, but a power cut or a crash"
    " of the kernel may lose the last seconds",
}
"""Durability → what an ack means under it."""


def announce(running: Running) -> None:
    """Prints where the server is and how to try it: a panel on a terminal, else plain lines."""
    facts = _facts(running)
    if sys.stdout.isatty():
        _print_panel(facts, _example(running))
        return
    lines = [f"{name}: {value}" for name, value in facts.items()]
    if example := _example(running):
        lines += ["try:", example]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _facts(running: Running) -> dict[str, str]:
    settings, ports = running.settings, running.ports
    host = _url_host(running.host)
    demo = {"demo": f"http://{host}:{ports['http']}/demo"}
    return {
        "websocket": f"ws://{host}:{ports['http']}/v1/ws",
        "tcp": f"tcp://{host}:{ports['tcp']}",
        **(demo if uses_development_secret(settings) else {}),
        "status": f"http://127.0.0.1:{ports['admin']}/v1/status",
        "data": f"{settings.data_dir} ({settings.partitions} partitions)",
        "workers": str(settings.workers),
        "an ack means": f"durability {settings.durability}: {ACK_MEANS[settings.durability]}",
    }


def _example(running: Running) -> str:
    """A client to paste, or nothing where only the operator's issuer may sign tokens."""
    if not uses_development_secret(running.settings):
        return ""
    # Only here: loading what signs takes as long as the start of a worker.
    from imfast.access.sign import sign_token

    token = sign_token(running.settings, EXAMPLE_USER, ttl_s=EXAMPLE_TTL_S)
    url = f"ws://{_url_host(running.host)}:{running.ports['http']}"
    return f"""\
python - <<'END'
import asyncio, imfast
async def main():
    async with imfast.connect("{url}", token="{token}") as im:
        print(await im.send(to="bob", text="hello"))
        async for update in im:
            print(update)
asyncio.run(main())
END"""


def _print_panel(facts: dict[str, str], example: str) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(value))
    console = Console()
    console.print(Panel(table, title="imfast", title_align="left", expand=False))
    if example:
        # Outside of the panel and unwrapped: what is copied must be what was meant.
        console.print(Text("Try it (a development token, good for a day):", style="bold"))
        console.out(example, highlight=False)


def _url_host(host: str) -> str:
    """The host as a client on this machine writes it."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
