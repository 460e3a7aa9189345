"""The files of docs/deploy: they fit together, and what they name is there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fastvits.cli import _parser
from fastvits.serving.openai import MAX_INPUT, SPEECH_FIELDS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILES = ["Dockerfile", "Dockerfile.cuda"]


def instructions(name):
    """The instructions of a Dockerfile and their arguments, lines that go on put together."""
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [tuple(line.split(maxsplit=1)) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_copies_what_is_there_and_starts_a_server_that_takes_its_options(name):
    found = instructions(name)
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "FROM"
    assert re.fullmatch(r"python:3\.\d+-slim", found[0][1])
    for kind, rest in found:
        if kind == "COPY":
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
    installs = [rest for kind, rest in found if kind == "RUN" and "pip install" in rest]
    assert all("--constraint constraints.txt" in rest for rest in installs)
    assert '".[voice,serve]"' in installs[-1]
    # A user without rights, from before anything is started.
    assert kinds.index("USER") < kinds.index("ENTRYPOINT")
    entry, options = (json.loads(dict(found)[kind]) for kind in ("ENTRYPOINT", "CMD"))
    assert entry[:2] == ["fastvits", "serve"]
    given = _parser().parse_args([*entry[1:], *options])
    assert (given.host, str(given.port), str(given.wyoming_port)) == ("0.0.0.0", *dict(found)["EXPOSE"].split())
    check = json.loads(dict(found)["HEALTHCHECK"].split("CMD", 1)[1])
    assert f":{given.port}/health" in check[-1]
    compile(check[-1], name, "exec")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_has_no_faults_of_style(name):
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if linter is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([linter, "--no-color", str(DEPLOY / name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_services_fit_together():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    server, prometheus = services["fastvits"], services["prometheus"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    _parser().parse_args(["serve", *server["command"]])
    mounted = prometheus["volumes"][0].split(":")[0]
    (job,) = yaml.safe_load((DEPLOY / mounted).read_text())["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["fastvits:8000"]
    assert "8000:8000" in server["ports"]


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("sh")), reason="needs jq")
def test_the_module_of_speech_dispatcher_asks_as_the_route_wants_it(tmp_path):
    text = (DEPLOY / "fastvits-generic.conf").read_text()
    (command,) = re.findall(r'^GenericExecuteSynth \\\n"(.*)"$', text, re.MULTILINE)
    assert int(re.findall(r"^GenericMaxChunkLength (\d+)", text, re.MULTILINE)[0]) <= MAX_INPUT
    # As speech-dispatcher does it: quotes within the text are closed for the shell.
    command = command.replace("\\'", "'").replace('\\"', '"').split("| curl")[0]
    said = 'It\'s a "quick" test; $HOME & done.'
    for name, value in {"DATA": said.replace("'", "'\\''"), "RATE": "160", "VOICE": "joe"}.items():
        command = command.replace(f"${name}", value)
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    asked = json.loads(done.stdout)
    assert asked == {"model": "fastvits", "voice": "joe", "input": said, "speed": 1.6, "response_format": "wav"}
    for name, value in asked.items():
        SPEECH_FIELDS[name].check(name, value)
