"""Voices packed for sherpa-onnx with a lexicon: ids equal to sherpa-onnx's, which a graph that repeats them tells."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from fastvits import VitsTokenizer
from fastvits.checkpoints import convert
from fastvits.export import export_voice
from tests.support.small_voices import save_small_voice

ENGLISH = {
    "tokens": ["_", *".,?! ", *"həl", "oʊ", *"wɝdkætmj", "uː", *"bɚ"],
    "lexicon": "hello h ə l oʊ\nWorld w ɝ l d\ncat k æ t\nCAT t æ k\nit's t t\nüber uː b ɚ\nbroken x y\nempty\nme m\n"
    "您 j uː\n",
    "metadata": {"language": "English", "punctuation": ". , ? !", "add_blank": "1"},
    "texts": """
        Hello, world.
        hello world
        The cat
        CAT! Cat? cat
        it's me: hello; world - cat
        Über über uber
        hello...
        ,
        hello,
        well... hello
        me me me
        IT'S A CAT
        hello\tworld
        您 hello 您
        "hello" (world)
        hello - world
        a b c
        me!me?me.me
        cat,cat,cat
        hello  world
        cat's
        world's
        ?!
        Me, me, me, me, me
        hello; world
        hello: world
        x
        me me. cat cat
        café cat
        … me
        """,
}
CHINESE = {
    "tokens": ["sil", "eos", "sp", "#0", "n", "i3", "h", "ao3", "sh", "i4", "j", "ie4", "，", "a"],
    "lexicon": "你 n i3\n好 h ao3\n世 sh i4\n界 j ie4\na a\n你好 n i3 h ao3\nab a a\n",
    "metadata": {"language": "Chinese", "punctuation": "， 。 ！ ？ ： “ ” , ."},
    "texts": """
        你好，世界。
        你好
        你好！世界？
        你 好
        “你好”世界
        你、好
        a 你 AB
        你；好
        好：世
        。
        你好。世界
        #$|你好|$#世界
        ，你好
        你好,世界.
        好好好
        世界！！！
        x
        你x好
        “你”
        你-好
        界
        你好，
        世。界。你。
        a,a.a
        你好 世界
        好？
        「你好」
        1 你
        世界…
        你好！ 好
        """,
}

SPEAK = """
import json, sys, numpy as np, sherpa_onnx as s
graph, tokens, lexicon, texts, out = sys.argv[1:]
vits = s.OfflineTtsVitsModelConfig(model=graph, tokens=tokens, lexicon=lexicon)
tts = s.OfflineTts(s.OfflineTtsConfig(model=s.OfflineTtsModelConfig(vits=vits, num_threads=1)))
wanted = s.GenerationConfig()
wanted.silence_scale = 1.0
said = [tts.generate(text, wanted).samples for text in json.load(open(texts))]
json.dump([np.rint(np.array(samples) * 1000).astype(int).tolist() for samples in said], open(out, "w"))
"""


def write_echo(path: Path, metadata: dict[str, str]) -> None:
    """A graph with the inputs of a VITS whose samples are thousandths of the ids that it is given."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["floats", "thousand"], ["samples"]),
            helper.make_node("Unsqueeze", ["samples", "axis"], ["y"]),
        ],
        "echo",
        [
            helper.make_tensor_value_info("x", TensorProto.INT64, [1, "T"]),
            helper.make_tensor_value_info("x_length", TensorProto.INT64, [1]),
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
                for name in ("noise_scale", "length_scale", "noise_scale_w")
            ),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "T"])],
        [
            helper.make_tensor("thousand", TensorProto.FLOAT, [], [1000.0]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)


def packed(folder: Path, case: dict) -> tuple[Path, dict[str, str]]:
    """A small voice with a lexicon; the graph and its metadata."""
    voice = save_small_voice(folder / "voice")
    path, tokens = export_voice(voice, folder / "model.onnx", format="sherpa")
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props if entry.key not in ("frontend", "add_blank")}
    metadata |= case["metadata"] | {"comment": "a lexicon"}
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    tokens.write_text("".join(f"{token} {index}\n" for index, token in enumerate(case["tokens"])), encoding="utf-8")
    path.with_name("lexicon.txt").write_text(case["lexicon"], encoding="utf-8")
    return path, metadata


@pytest.mark.parametrize("case", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_ids_are_those_of_sherpa(case: dict, tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    path, metadata = packed(tmp_path, case)
    texts = [line.strip() for line in case["texts"].strip().splitlines()]
    assert len(texts) == 30
    write_echo(tmp_path / "echo.onnx", metadata)
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    files = [tmp_path / name for name in ("echo.onnx", "tokens.txt", "lexicon.txt", "texts.json", "said.json")]
    # It ends the process where something is missing.
    done = subprocess.run(
        [sys.executable, "-c", SPEAK, *map(os.fspath, files)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    voice = convert(path, tmp_path / "ours")
    assert voice.family == "voice with a lexicon packed for sherpa-onnx"
    tokenizer = VitsTokenizer.from_pretrained(tmp_path / "ours")
    said = json.loads(files[-1].read_text("utf-8"))
    assert [tokenizer(text)["input_ids"] for text in texts] == said
    assert sum(map(len, said)) > 200
    tokenizer.save_pretrained(tmp_path / "again")
    again = VitsTokenizer.from_pretrained(tmp_path / "again")
    assert [again(text)["input_ids"] for text in texts] == said
    for text in texts:
        spans = [piece.span for piece in tokenizer.front_end.pieces(text) if piece.span is not None]
        assert spans == sorted(spans)


def test_what_a_lexicon_lacks_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = packed(tmp_path, ENGLISH)
    convert(path, tmp_path / "ours")
    assert "has 2 words with no tokens, or ones that tokens.txt lacks" in caplog.text
    VitsTokenizer.from_pretrained(tmp_path / "ours")("hello zebra")
    assert "'zebra'" in caplog.text
    model = onnx.load(path)
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | {"jieba": "1"})
    onnx.save(model, path)
    with pytest.raises(ValueError, match="segments Chinese into words before it looks them up"):
        convert(path, tmp_path / "other")
    path.with_name("lexicon.txt").unlink()
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | {"jieba": "0"})
    onnx.save(model, path)
    with pytest.raises(FileNotFoundError, match=re.escape("lexicon.txt, in which")):
        convert(path, tmp_path / "other")
