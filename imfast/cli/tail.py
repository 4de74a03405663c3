"""`imfast tail`: what arrives, one JSON object a line."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterable
from pathlib import Path

import click

from imfast.cli.client_options import client_options, resolve_token, run_client


@click.command()
@client_options
@click.option("--count", type=click.IntRange(min=1), help="End after this many.")
def command(
    url: str, token: str | None, user: str | None, data_dir: Path | None, count: int | None
) -> None:
    """Print messages and events of the user's conversations, and receipts, as they arrive.

    Ends at Ctrl-C, or after --count of them.
    """
    run_client(_tail(url, resolve_token(token, user, data_dir), count))


async def _tail(url: str, token: str, count: int | None) -> None:
    import orjson

    from imfast.client import connect

    printed = 0
    done = asyncio.Event()

    async def show(updates: AsyncIterable[object]) -> None:
        nonlocal printed
        async for update in updates:
            line = {"type": type(update).__name__.lower(), "update": update}
            click.echo(orjson.dumps(line, default=_bytes))
            printed += 1
            if printed == count:
                done.set()
                return

    async with connect(url, token=token) as im:
        tasks = [asyncio.ensure_future(show(updates)) for updates in (im, im.receipts)]
        tasks.append(asyncio.ensure_future(_wait(done)))
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _bytes(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"no JSON for {type(value).__name__}")
