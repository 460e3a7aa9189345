"""The code of README.md and docs/ runs as it stands there, page by page."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastvits.cli import main
from tests.support.small_voices import save_small_voice
from tests.support.tolerances import MP3_SAMPLE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# The changelog is CHANGELOG.md, which has no code.
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in DOCS.glob("*.md") if page.name != "changelog.md")]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """What the pages take for granted: voices, texts, and players that here only listen."""
    folder = tmp_path_factory.mktemp("docs")
    save_small_voice(folder / "hub")
    save_small_voice(folder / "my-voices", num_speakers=3, speaker_embedding_size=8)
    (folder / "letter.txt").write_text("Dear reader. This is short.\n")
    (folder / "sentences.csv").write_text("id,text,rate\none,Hello.,\ntwo,Good bye.,1.2\n")
    (folder / "bin").mkdir()
    for name, command in {
        "fastvits": f'exec {shlex.quote(sys.executable)} -m fastvits "$@"',
        "aplay": "cat > played.wav",
        "ffmpeg": "cat > played.raw",
    }.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, surroundings, monkeypatch, capfd):
    monkeypatch.chdir(surroundings)
    monkeypatch.setenv("PATH", f"{surroundings / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'kernels'}")
    text = (ROOT / page).read_text("utf-8").replace("facebook/mms-tts-eng", str(surroundings / "hub"))
    blocks = BLOCK.findall(text)
    assert blocks, f"{page} has no code"
    names: dict[str, object] = {}
    for language, code in blocks:
        if language == "python":
            exec(compile(code, page, "exec"), names)
            continue
        for line in code.splitlines():
            if not line.startswith("$ "):
                continue
            if "|" in line:
                finished = subprocess.run(["bash", "-o", "pipefail", "-c", line[2:]], capture_output=True, check=False)
                assert finished.returncode == 0, finished.stderr.decode()
            else:
                program, *arguments = shlex.split(line[2:])
                assert program == "fastvits"
                assert main(arguments) == 0, capfd.readouterr().err


def test_the_navigation_reaches_every_page():
    """The site's own check needs mkdocs. Generated pages are named by the first of them."""
    named = set(re.findall(r"^ *- (?:[^:]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    assert named >= {"index.md", "first-steps.md", "api/index.md", "benchmarks/index.md", "changelog.md"}
    assert all((DOCS / page).exists() for page in named)
    # A page of the guide that is not named there is put in by the hook.
    hook = runpy.run_path(str(DOCS / "navigation.py"))
    whole = hook["named"](hook["completed"]([{"Guide": []}, *sorted(named)]))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.parent.name != "benchmarks"}
    assert whole == pages | {"benchmarks/index.md"}


def test_the_pages_that_a_page_links_are_there():
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links {target}"


VARIABLE = re.compile(r"\bFASTVITS_[A-Z_]+\b")


def test_the_list_of_environment_variables_is_whole():
    sources = [path for folder in ("fastvits", "kernels", "bench") for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text("utf-8"))}
    listed = set(VARIABLE.findall((DOCS / "environment.md").read_text("utf-8")))
    assert read == listed
    assert len(read) >= 3


def test_the_sample_is_what_the_bundled_voice_says():
    make = runpy.run_path(str(DOCS / "sounds" / "make.py"))
    sample = DOCS / "sounds" / "hello.mp3"
    assert sample.stat().st_size <= 100_000
    said, rate = make["spoken"]()
    heard, its_rate = soundfile.read(sample, dtype="float32")
    assert (its_rate, heard.shape) == (rate, said.shape)
    assert np.linalg.norm(heard - said) / np.linalg.norm(said) <= MP3_SAMPLE
    text = (DOCS / "sounds" / "hello.txt").read_text("utf-8").strip()
    for page in ("README.md", "docs/index.md"):
        assert text in " ".join((ROOT / page).read_text("utf-8").split()), page
