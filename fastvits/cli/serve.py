"""`fastvits serve`: voices behind HTTP and Wyoming."""

import argparse
import logging
import os
import re
import sys
from functools import partial
from typing import Any

from ..runtime.cores import usable_cores
from ..speech.speaker import Speaker
from ..voices.folders import DEFAULT_VOICE
from .arguments import DTYPES, InputError, OneLineParser, device, positive, voice, whole_number

EXAMPLES = """examples:
  fastvits serve
  fastvits serve --voice en=en_US-lessac-medium.onnx --voice fr=fr_FR-siwis-medium.onnx --port 8000
  fastvits serve --wyoming-port 10200 --api-key-file keys.txt --memory 2000
  curl localhost:8000/v1/audio/speech -H 'Content-Type: application/json' \\
       -d '{"model": "tts-1", "voice": "en_US-joe-medium", "input": "Hello."}' --output hello.mp3
"""


def add_to(commands: "argparse._SubParsersAction[OneLineParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="answer HTTP and Wyoming requests with speech",
        description="Answer requests with speech: OpenAI's route, Piper's, and Wyoming's protocol. Sound leaves while "
        "the rest is being computed.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--voice",
        metavar="[NAME=]VOICE",
        action="append",
        type=_named_voice,
        help="a voice, and what clients call it (default: the bundled one); may be given several times, and the first "
        "one speaks where a client names none",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine only)")
    parser.add_argument("--port", type=whole_number(65535), default=8000, help="of HTTP (default: 8000; 0: any)")
    parser.add_argument(
        "--wyoming-port", metavar="PORT", type=whole_number(65535, 1), help="of Wyoming (default: none)"
    )
    parser.add_argument(
        "--threads", metavar="N", type=whole_number(1024, 1), help="processors to use (default: all that it may)"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=whole_number(1024, 1),
        help="steps computed at the same time; the threads are shared evenly (default: one a thread)",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=whole_number(1024, 1),
        help="texts that share a call of a voice's model at the most (default: 1 on a CPU, 16 on a GPU)",
    )
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        type=device,
        help="such as cpu, cuda or cuda:1 (default: the first CUDA device where there is one, else cpu)",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="what to compute in (default: each voice's own); bfloat16 is faster where the processor has it, int8 too",
    )
    parser.add_argument(
        "--max-queue", metavar="N", type=whole_number(100_000, 1), default=64, help="texts that may wait (default: 64)"
    )
    parser.add_argument(
        "--max-input", metavar="N", type=whole_number(10**7, 1), default=100_000, help="characters of a text at most"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive,
        default=300.0,
        help="for a text to wait and to be computed, and for a client that takes nothing (default: 300)",
    )
    parser.add_argument("--rate", metavar="N", type=positive, help="requests a minute for each address (default: any)")
    parser.add_argument("--memory", metavar="MB", type=positive, help="for loaded voices (default: no limit)")
    parser.add_argument("--api-key", metavar="KEY", action="append", default=[], help="a key that requests must bring")
    parser.add_argument("--api-key-file", metavar="FILE", help="keys, one a line, which no list of processes shows")
    parser.add_argument(
        "--cors", metavar="ORIGIN", action="append", default=[], type=_origin, help="a page's origin that may ask, or *"
    )
    parser.add_argument(
        "--openai-voices",
        metavar="[ALIAS=]NAME",
        action="append",
        default=[],
        help="the voice that OpenAI's own names (alloy, nova, ...) stand for, or one of them, as in alloy=NAME; may be "
        "given several times",
    )
    parser.add_argument("--log", choices=("off", "text", "json"), default="off", help="the access log (default: off)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the process is told to end (SIGINT or SIGTERM), and finish what is being spoken."""
    try:
        import prometheus_client  # noqa: F401 - before any voice is loaded
        import uvicorn

        from ..serving.app import make_app
        from ..serving.connections import GuardedProtocol, listening_sockets
    except ImportError as error:
        raise ImportError(f"serving needs the extra: install `fastvits[serve]` ({error.name} is missing)") from error
    from ..serving.engine import Engine, sharing_on
    from ..serving.voices import VoiceStore

    sources: dict[str, str] = {}
    for name, source in options.voice or [(DEFAULT_VOICE, DEFAULT_VOICE)]:
        if name in sources:
            raise InputError(f"two voices are called {name}: give one another name, as in --voice other={source}")
        sources[name] = source
    aliases = _aliases(options.openai_voices, sources)
    keys = [*options.api_key, *_keys(options.api_key_file)]
    # Before a voice is loaded: a port may be taken.
    sockets = listening_sockets(options.host, options.port)
    wyoming = None if options.wyoming_port is None else listening_sockets(options.host, options.wyoming_port)
    memory = None if options.memory is None else int(options.memory * 1e6)
    load = partial(Speaker, dtype=options.dtype, device=options.device)
    voices = VoiceStore(sources, aliases=aliases, memory=memory, load=load)
    sharing = sharing_on(voices.preload(voices.default).device, options.batch)
    threads = options.threads or usable_cores()
    engine = Engine(
        voices,
        workers=options.workers or threads,
        threads=threads,
        batch=sharing.batch,
        calls=sharing.calls,
        max_queue=options.max_queue,
        timeout=options.timeout,
        max_characters=options.max_input,
    )
    background: Any = None
    if wyoming is not None:
        from ..serving.wyoming import serve_wyoming

        background = partial(serve_wyoming, engine, wyoming)
        if keys:
            print("fastvits: warning: Wyoming knows no keys: who reaches its port may speak", file=sys.stderr)
    # The library tells of characters that a voice lacks, with the text, which is nobody's business here.
    logging.getLogger("fastvits").addFilter(lambda record: record.module != "encoding")
    if options.log != "off":
        _write_access_log()
    app = make_app(
        engine,
        api_keys=keys,
        rate=options.rate,
        cors=options.cors,
        log=options.log,
        background=background,
    )

    class Server(uvicorn.Server):
        """Tells where it listens once it does: port 0 takes any."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host = f"[{options.host}]" if ":" in options.host else options.host
                print(
                    f"fastvits: listening on http://{host}:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True
                )

        async def shutdown(self, sockets: Any = None) -> None:
            engine.scheduler.refuse()
            await super().shutdown(sockets)

    # Answers are finished before the process ends, for as long as a text may take.
    configuration = uvicorn.Config(
        app,
        http=GuardedProtocol,
        log_level="error",  # requests that are no HTTP are warnings, and anybody can make them
        access_log=False,
        timeout_graceful_shutdown=int(options.timeout),
    )
    Server(configuration).run(sockets)
    return 0


def _named_voice(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not equals:
        return re.sub(r"\.onnx$", "", os.path.basename(text.rstrip("/"))) or text, voice(text)
    if re.fullmatch(r"[\w.:-]{1,100}", name) is None:
        raise argparse.ArgumentTypeError(f"a voice's name has letters, digits, _ . : and -, not {name!r}")
    return name, voice(source)


def _origin(text: str) -> str:
    """As browsers send it: scheme, host and perhaps a port, without a path."""
    if text != "*" and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text) is None:
        raise argparse.ArgumentTypeError(f"must be an origin such as https://example.org, or *, got {text!r}")
    return text


def _aliases(given: list[str], sources: dict[str, str]) -> dict[str, str]:
    """What OpenAI's names stand for: those that are named alone win, and voices of such a name stay what they are."""
    from ..serving.voices import OPENAI_VOICES

    of_all: list[str] = []
    aliases: dict[str, str] = {}
    for text in given:
        alias, equals, name = text.rpartition("=")
        if name not in sources:
            raise InputError(f"--openai-voices: there is no voice {name!r}: {', '.join(sources)}")
        if equals and alias not in OPENAI_VOICES:
            raise InputError(f"--openai-voices: {alias!r} is no name of OpenAI's: {', '.join(OPENAI_VOICES)}")
        if alias in aliases or (not equals and of_all):
            raise InputError(f"--openai-voices: {alias or 'all names'} cannot stand for two voices")
        if alias in sources:
            raise InputError(f"--openai-voices: {alias!r} is a voice of its own")
        if equals:
            aliases[alias] = name
        else:
            of_all.append(name)
    return {**{alias: of_all[0] for alias in OPENAI_VOICES if of_all and alias not in sources}, **aliases}


def _keys(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            keys = [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not keys:
        raise InputError(f"{path} holds no key")
    return keys


def _write_access_log() -> None:
    log = logging.getLogger("fastvits.access")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
