"""Corpora in parts: dealt by id, killed and resumed, merged only when nothing is missing and nothing is there twice."""

import json
import re
import signal
import time

import pytest

import fastvits
from fastvits.cli import main
from fastvits.corpus import IncompleteCorpus, Shard, merge
from fastvits.corpus.folder import SHARDS, OutputFolder
from tests.corpus.forked import forked_runs
from tests.support.small_voices import save_small_voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def say(folder):
    return fastvits.pipeline(model=folder, device="cpu")


def items(count):
    return [{"id": f"item{number}", "text": f"number {'abcdefghij'[number % 10]}"} for number in range(count)]


def speak(given, output, say, *shards, **options):
    return [fastvits.synthesize(given, output, model=say, shard=shard, **options) for shard in shards]


def manifest(output):
    return sorted((output / "manifest.jsonl").read_text().splitlines())


def files(output):
    return {path.name: path.read_bytes() for path in output.glob("*.wav")}


def test_shards_make_what_one_run_makes(say, tmp_path):
    given = [*items(12), "a row without an id", {"id": "x/y", "text": "no file name"}, {"id": "ITEM3", "text": "again"}]
    whole = fastvits.synthesize(given, tmp_path / "whole", model=say, batch_size=1)
    reports = speak(given, tmp_path / "parts", say, "2/3", "1/3", Shard(3, 3), batch_size=1)
    assert sum(report.done for report in reports) == whole.done == 13
    failures = [failure for report in reports for failure in report.failures]
    assert sorted(failures, key=str) == sorted(whole.failures, key=str)
    assert not (tmp_path / "parts" / "manifest.jsonl").exists()
    merged = merge(tmp_path / "parts")
    assert (merged.shards, merged.rows, merged.items, merged.kept) == (3, 15, 13, 0)
    assert sorted(merged.failures, key=str) == sorted(whole.failures, key=str)
    assert manifest(tmp_path / "parts") == manifest(tmp_path / "whole")
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert not (tmp_path / "parts" / SHARDS).exists()
    # Whoever comes next finds all of it, in whatever parts.
    (again,) = speak(given, tmp_path / "parts", say, None, batch_size=1)
    assert (again.done, again.skipped) == (0, 13)


def test_after_a_merge_other_shards_find_what_is_there_and_speak_what_has_changed(say, tmp_path):
    given = items(8)
    speak(given, tmp_path, say, "1/2", "2/2")
    merge(tmp_path)
    before = files(tmp_path)
    given[5] = {"id": "item5", "text": "something else"}
    reports = speak(given[:7], tmp_path, say, "1/3", "2/3", "3/3")
    assert [sum(getattr(report, name) for report in reports) for name in ("done", "skipped")] == [1, 6]
    merged = merge(tmp_path)
    assert (merged.items, merged.kept) == (7, 1)
    rows = {row["id"]: row for row in map(json.loads, manifest(tmp_path))}
    assert rows.keys() == {f"item{number}" for number in range(8)}
    assert rows["item5"]["text"] == "something else"
    changed = {name for name, data in files(tmp_path).items() if data != before[name]}
    assert changed == {"item5.wav"}


def test_nothing_is_merged_that_makes_no_whole(say, tmp_path):
    given = items(9)
    speak(given, tmp_path, say, "1/3", "2/3")

    def problems():
        with pytest.raises(IncompleteCorpus) as refused:
            merge(tmp_path)
        assert not (tmp_path / "manifest.jsonl").exists()
        return refused.value.problems

    assert problems() == ["shard 3/3 has not begun"]
    speak(given, tmp_path, say, "3/3", seed=1)
    assert problems() == ["3/3 ran with other voices or controls than most shards"]
    speak(given[:8], tmp_path, say, "3/3")
    assert problems() == ["3/3 ran over other rows than most shards"]
    speak(given, tmp_path, say, "3/3")
    shards = tmp_path / SHARDS
    second = shards / "00002-of-00003.jsonl"
    kept = second.read_bytes()
    lines = kept.splitlines(keepends=True)
    assert len(lines) > 1
    second.write_bytes(b"".join(lines[1:]))
    assert problems() == [f"shard 2/3 has {len(lines) - 1} items, and should have {len(lines)}: run it again"]
    second.write_bytes(kept[:-1])
    assert problems() == ["shard 2/3 names 1 files that are not there or not whole: run it again"]
    second.write_bytes(kept)
    third = shards / "00003-of-00003.jsonl"
    stranger = third.read_bytes()
    third.write_bytes(stranger + lines[0])
    identifier = json.loads(lines[0])["id"]
    assert problems()[0] == f"{identifier} is there twice, in shards 2 and 3"
    third.write_bytes(stranger)
    gone = tmp_path / json.loads(lines[0])["file"]
    data = gone.read_bytes()
    gone.unlink()
    assert problems() == ["shard 2/3 names 1 files that are not there or not whole: run it again"]
    (report,) = speak(given, tmp_path, say, "2/3")
    assert report.done == 1
    assert gone.read_bytes() == data
    assert merge(tmp_path).items == 9


def test_shards_of_one_folder_do_not_get_into_each_others_way(say, tmp_path):
    def more():
        yield from items(6)
        with OutputFolder(tmp_path, Shard(2, 2)):
            pass
        with pytest.raises(OSError, match="another run is writing"):
            speak(["x"], tmp_path, say, "1/2")
        with pytest.raises(OSError, match="another run is writing"):
            speak(["x"], tmp_path, say, None)
        with pytest.raises(OSError, match="another run is writing"):
            merge(tmp_path)
        (tmp_path / ".partial-00001-of-00002-00").write_bytes(b"being written")
        speak(items(6), tmp_path, say, "2/2")
        assert (tmp_path / ".partial-00001-of-00002-00").exists()

    speak(more(), tmp_path, say, "1/2")
    with pytest.raises(ValueError, match="holds shards that are not merged"):
        speak(items(6), tmp_path, say, None)
    with pytest.raises(ValueError, match="holds shards of 2, not of 4"):
        speak(items(6), tmp_path, say, "1/4")
    speak(items(6), tmp_path, say, "1/2")
    assert not list(tmp_path.glob(".partial-*"))
    assert merge(tmp_path).items == 6
    with pytest.raises(ValueError, match="holds no shards"):
        merge(tmp_path)


@pytest.mark.parametrize("step", ["fastvits.corpus.merging.token_hex", "shutil.rmtree"])
def test_a_merge_that_was_killed_can_be_started_again(say, tmp_path, monkeypatch, step):
    given = items(6)
    speak(given, tmp_path, say, "1/2", "2/2")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(step, killed)
        with pytest.raises(KeyboardInterrupt):
            merge(tmp_path)
    assert len(manifest(tmp_path)) == 6
    if (tmp_path / SHARDS).exists():  # it did not come to the step after which all is done
        assert (merge(tmp_path).items, len(manifest(tmp_path))) == (6, 6)
    assert fastvits.synthesize(given, tmp_path, model=say).skipped == 6
    assert not list(tmp_path.glob(".merged-*"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_shards_that_are_killed_go_on(folder, tmp_path):
    given = items(60)
    with forked_runs(folder) as runs:
        runs.start(given, tmp_path, "1/2")
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.wav")) and time.monotonic() < deadline:
            time.sleep(0.001)
        runs.kill()
        assert runs.wait() == -signal.SIGKILL
        runs.start(given, tmp_path, "2/2")
        assert runs.wait() == 0
        with pytest.raises(IncompleteCorpus, match="shard 1/2 has not finished"):
            merge(tmp_path)
        runs.start(given, tmp_path, "1/2")
        assert runs.wait() == 0
    assert merge(tmp_path).items == 60
    assert len(files(tmp_path)) == 60
    assert not list(tmp_path.glob(".partial-*"))


def test_rows_are_dealt_evenly_and_alike_whatever_their_letters_case():
    counts = [0] * 8
    for number in range(8000):
        takers = [shard for shard in range(1, 9) if Shard(shard, 8).takes(f"row {number}")]
        assert len(takers) == 1
        counts[takers[0] - 1] += 1
        assert Shard(takers[0], 8).takes(f"ROW {number}")
    assert min(counts) > 850
    assert max(counts) < 1150


SLURM = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "3",
    "SLURM_ARRAY_TASK_MAX": "9",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "4",
}


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("3/8", {}, "3/8"),
        ("auto", {"RANK": "0", "WORLD_SIZE": "4"}, "1/4"),
        ("auto/4", {"RANK": "3", "WORLD_SIZE": "4"}, "4/4"),
        ("auto", {"SLURM_STEP_NUM_TASKS": "6", "SLURM_PROCID": "5"}, "6/6"),
        ("auto", SLURM, "3/4"),
        ("auto", {**SLURM, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, "6/8"),
        # A batch script outside srun is one process, however many tasks the job has.
        ("auto", {**SLURM, "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, "3/4"),
        ("auto/5", {"JOB_COMPLETION_INDEX": "4"}, "5/5"),
    ],
)
def test_a_shard_is_read(given, environment, expected):
    assert str(Shard.of(given, environment)) == expected


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        ("0/8", {}, "the shards of 8 are 1/8 to 8/8, not 0/8"),
        ("9/8", {}, "the shards of 8 are 1/8 to 8/8, not 9/8"),
        ("1/0", {}, "there are 1 to 99999 shards, not 0"),
        ("3", {}, 'a shard is I/N such as "3/8"'),
        ("a/b", {}, 'a shard is I/N such as "3/8"'),
        (3, {}, 'a shard is I/N such as "3/8"'),
        ("auto", {}, "neither RANK and WORLD_SIZE (torchrun)"),
        ("auto", {"RANK": "x", "WORLD_SIZE": "4"}, "RANK must be a whole number, got 'x'"),
        ("auto", {"RANK": "4", "WORLD_SIZE": "4"}, "counts from 0 and says 4, but there are 4 shards"),
        ("auto/3", {"RANK": "1", "WORLD_SIZE": "4"}, "says that there are 4 shards, not 3"),
        ("auto", {"JOB_COMPLETION_INDEX": "4"}, "does not say how many shards there are: give auto/N"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_MAX": "11"}, "the Slurm array has gaps"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(given, environment, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Shard.of(given, environment)


def test_the_commands_as_a_user_would(folder, tmp_path, capsys, monkeypatch):
    texts = tmp_path / "texts.csv"
    texts.write_text("id,text\n" + "".join(f"row{n},hello dog\n" for n in range(5)) + "bad,\u6f22\n")
    output = tmp_path / "out"
    command = ["synthesize", str(texts), "--output-dir", str(output), "--voice", str(folder), "--shard"]
    first = main([*command, "1/2"])
    shown = capsys.readouterr()
    assert main(["merge", str(output)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "fastvits: shard 2/2 has not begun",
        "fastvits: error: nothing was merged",
    ]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    for name in ("RANK", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    second = main([*command, "auto/2"])
    assert sorted([first, second]) == [0, 1]  # one of them has the row that cannot be spoken
    shown = shown.err + capsys.readouterr().err
    assert shown.count("100% [") == 2
    assert main(["merge", str(output)]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["shards:  2", "items:   5", "kept:    0 (of an earlier manifest)", "failed:  1"]
    assert shown.err == "fastvits: row 6 (bad): text has no character that this voice can say\n"
    assert main(["merge", str(output)]) == 2
    assert "holds no shards" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "3/2"])
    assert "--shard: the shards of 2 are 1/2 to 2/2, not 3/2" in capsys.readouterr().err
