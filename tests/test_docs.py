"""The code of README.md and docs/ runs as it stands there, page by page."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fastvits.cli import main
from tests.support.small_voices import save_small_voice

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
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


def test_the_readme_names_every_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert all(page in text for page in PAGES[1:])
