"""A web server on loopback that does what servers should not do, one path for each fault."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from PIL import Image

__all__ = ["Misbehaving", "picture"]


def picture(seed: int, size: tuple[int, int] = (320, 280), kind: str = "jpeg") -> bytes:
    """A smooth picture that differs from every other seed's; ``size`` is (width, height)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8))
    file = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


@dataclass
class Seen:
    """One request: when it came (monotonic seconds), and its path with query."""

    at: float
    path: str
    headers: dict[str, str]


@dataclass
class Misbehaving:
    """The server, in a thread of its own. ``window`` and ``allowed`` rule the path ``/limited``."""

    window: float = 0.5
    allowed: int = 3
    delay: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    tls: object = None
    statuses: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Misbehaving:
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._open = Counter[str]()
        self.most_open = 0
        self._refused_until = 0.0
        self._used = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def url(self, path: str) -> str:
        """Address of a path."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def times(self, path: str) -> list[float]:
        """When the path was asked."""
        return [seen.at for seen in list(self.seen) if seen.path == path]

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        target = lines[0].split(" ")[1]
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        self.seen.append(Seen(time.monotonic(), target, headers))
        self._open["now"] += 1
        self.most_open = max(self.most_open, self._open["now"])
        try:
            if self.delay:
                await asyncio.sleep(self.delay)
            name = urlsplit(target).path.split("/")[1].replace("-", "_")
            return await getattr(self, f"on_{name}")(target, writer)
        finally:
            self._open["now"] -= 1

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        body: bytes = b"",
        status: str = "200 OK",
        *,
        length: int | None = None,
        **extra: str,
    ) -> bool:
        fields = {"Content-Type": "image/jpeg"}
        fields |= {name.replace("_", "-"): value for name, value in extra.items()}
        fields["Content-Length"] = str(len(body) if length is None else length)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)
        await writer.drain()
        return True

    # -- paths ----------------------------------------------------------------------------

    async def on_square(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, picture(2, (400, 400)))

    async def on_ok(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, picture(int(target.split("/")[2])))

    async def on_same(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, picture(1))

    async def on_status(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, b"no", f"{urlsplit(target).path.split('/')[2]} Said So")

    async def on_once(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """503 to the first request for an address, the picture to the second."""
        if len(self.times(target)) == 1:
            return await self._send(writer, b"", "503 Later")
        return await self._send(writer, picture(2))

    async def on_drip(self, target: str, writer: asyncio.StreamWriter) -> bool:
        body = picture(3)
        await self._send(writer, body[:10], length=len(body))
        for position in range(10, len(body)):
            writer.write(body[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0.05)
        return True

    async def on_hold(self, target: str, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(60)
        return False

    async def on_reset(self, target: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 5000\r\n\r\nabc"
        )
        await writer.drain()
        writer.transport.abort()
        return False

    async def on_close(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return False

    async def on_longer(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """It promises more than it sends."""
        body = picture(4)
        await self._send(writer, body, length=len(body) + 1000)
        return False

    async def on_shorter(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """It promises less than it sends."""
        body = picture(5)
        await self._send(writer, body, length=len(body) // 2)
        return False

    async def on_html(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, b"<!DOCTYPE html><html><body>sign in</body></html>")

    async def on_text(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """A picture under a wrong type is a picture all the same."""
        return await self._send(writer, picture(6), Content_Type="text/plain")

    async def on_empty(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, b"")

    async def on_garbage(self, target: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"\x00\xff this is no HTTP\r\n\r\n")
        await writer.drain()
        return False

    async def on_gzip(self, target: str, writer: asyncio.StreamWriter) -> bool:
        import gzip

        return await self._send(writer, gzip.compress(b"\0" * 10**6), Content_Encoding="gzip")

    async def on_endless(self, target: str, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"\xff\xd8\xff" + b"\0" * 65536)
                await writer.drain()
        return False

    async def on_large(self, target: str, writer: asyncio.StreamWriter) -> bool:
        await self._send(writer, b"x", length=10**12)
        await asyncio.sleep(5)
        return False

    async def on_headers(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """A header line that has no end."""
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n")
        await writer.drain()
        return False

    async def on_robots(self, target: str, writer: asyncio.StreamWriter) -> bool:
        value = unquote(urlsplit(target).query)
        return await self._send(writer, picture(7), X_Robots_Tag=value)

    async def on_coded(self, target: str, writer: asyncio.StreamWriter) -> bool:
        value = unquote(urlsplit(target).query)
        return await self._send(writer, picture(7), Content_Encoding=value)

    async def on_to(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """Redirect to ``?url=``."""
        place = parse_qs(urlsplit(target).query)["url"][0]
        return await self._send(writer, b"", "302 Found", Location=place)

    async def on_loop(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, b"", "302 Found", Location=target)

    async def on_deeper(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, b"", "302 Found", Location=target + "x")

    async def on_limited(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """Only ``allowed`` pictures a window of ``window`` seconds; 429 with Retry-After beyond."""
        now = time.monotonic()
        if now >= self._refused_until:
            self._refused_until, self._used = now + self.window, 0
        self._used += 1
        if self._used > self.allowed:
            wait = str(max(1, round(self._refused_until - now + 0.5)))
            return await self._send(writer, b"", "429 Slow Down", Retry_After=wait)
        return await self._send(writer, picture(int(target.split("/")[2])))

    async def on_api(self, target: str, writer: asyncio.StreamWriter) -> bool:
        """Posts in Mastodon's dialect: one by its id, or a list by ``id[]``."""
        parts = urlsplit(target)
        wanted = parse_qs(parts.query).get("id[]", [])
        body = "[" + ",".join(self.statuses[one] for one in wanted if one in self.statuses) + "]"
        if not wanted:
            body = self.statuses.get(parts.path.rsplit("/", 1)[1], "")
        found = "200 OK" if body else "404 Gone"
        return await self._send(writer, body.encode(), found, Content_Type="application/json")

    async def on_never(self, target: str, writer: asyncio.StreamWriter) -> bool:
        return await self._send(writer, b"", "429 Go Away", Retry_After="0")
