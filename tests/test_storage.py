"""Files that come whole or not at all, and JSON objects out of them."""

import json
import os

import pytest

from fastvits.storage import PARTIAL_PREFIX, InvalidJSON, json_text, read_json, replacing, write_json, write_text


def test_what_is_written_is_read_again(tmp_path):
    content = {"b": [1, 2.5, None], "a": {"ʒ": "ț"}}
    write_json(tmp_path / "one.json", content)
    assert read_json(tmp_path / "one.json") == content
    assert (tmp_path / "one.json").read_bytes() == json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
    write_json(tmp_path / "two.json", content, ensure_ascii=False, sort_keys=False)
    assert "ʒ" in (tmp_path / "two.json").read_text(encoding="utf-8")
    assert list(read_json(tmp_path / "two.json")) == ["b", "a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "two.json"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not valid JSON"), (b"\xff\xfe", "not valid JSON"), (b"[1]", "not a JSON object")]
)
def test_what_is_no_object_is_refused_as_either_kind_of_error(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    for kind in (ValueError, OSError):
        with pytest.raises(kind, match=message) as caught:
            read_json(path)
        assert type(caught.value) is InvalidJSON
        assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old\r\n")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert temporary.name.startswith(PARTIAL_PREFIX)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    with pytest.raises(TypeError):
        write_json(path, {"a": {1, 2}})
    assert path.read_bytes() == b"old\r\n"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert json_text({"a": {1}}, default=list) == '{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.skipif(os.name != "posix", reason="pipes are files on POSIX")
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reader, 10) == b"text"
    assert pipe.is_fifo()
    os.close(reader)
