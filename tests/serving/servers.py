"""A server in this process, on a port of its own, with small voices."""

import asyncio
import contextlib
import threading
from functools import partial

import uvicorn

from fastvits.serving.app import make_app
from fastvits.serving.connections import GuardedProtocol, listening_sockets
from fastvits.serving.engine import Engine
from fastvits.serving.voices import VoiceStore


class Running:
    """A server that runs: its engine, and where it listens."""

    def __init__(self, engine, server):
        self.engine, self.server = engine, server

    @property
    def port(self):
        return self.server.servers[0].sockets[0].getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(sources, *, aliases=None, memory=None, load=None, workers=2, app=None, wyoming=None, **options):
    """Serve voices until the block ends; `app` are options of the application, `wyoming` is a port."""
    voices = VoiceStore(sources, aliases=aliases, memory=memory, **({} if load is None else {"load": load}))
    engine = Engine(voices, workers=workers, threads=workers, **options)
    background = None
    if wyoming is not None:
        from fastvits.serving.wyoming import serve_wyoming

        background = partial(serve_wyoming, engine, listening_sockets("127.0.0.1", wyoming))
    application = make_app(engine, background=background, **(app or {}))
    server = uvicorn.Server(
        uvicorn.Config(application, port=0, http=GuardedProtocol, log_level="error", access_log=False)
    )
    begun = threading.Event()
    server.install_signal_handlers = lambda: None

    async def serve():
        task = asyncio.ensure_future(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        begun.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert begun.wait(30)
    assert server.started
    try:
        yield Running(engine, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"
