"""transformers' own tests for VITS, run with transformers' classes and with ours.

    python -m tests.dropin.transformers_tests CHECKOUT

CHECKOUT is a checkout of transformers at the tag of the installed version; nothing of it is kept here. What passes with
transformers' classes passes with ours, but for `EXCEPTIONS`. A voice from the hub that the tests ask for is a small
random one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_CHAT = "chats: a voice is given texts"

EXCEPTIONS: Mapping[str, str] = {
    # The model.
    "test_cannot_load_with_meta_device_context_manager": (
        "wants an error of from_pretrained where torch.device('meta') is set; here the model is loaded all the same"
    ),
    "test_gradient_checkpointing_enable_disable": (
        "looks for layers of a class of transformers; whole parts are computed anew here"
    ),
    "test_retain_grad_hidden_states_attentions": (
        "wants gradients of hidden states that are returned; of a padded batch they are copies with zeros for padding"
    ),
    # The tokenizer.
    "test_added_tokens_serialization": "looks at the private attribute _special_tokens_map",
    "test_chat_template": _CHAT,
    "test_chat_template_batched": _CHAT,
    "test_chat_template_dict": _CHAT,
    "test_chat_template_dict_saving": _CHAT,
    "test_chat_template_dict_saving_rejects_path_traversal": _CHAT,
    "test_chat_template_empty_conversation": _CHAT,
    "test_chat_template_file_priority": _CHAT,
    "test_chat_template_none_values": _CHAT,
    "test_continue_final_message": _CHAT,
    "test_continue_final_message_string_and_reasoning": _CHAT,
    "test_continue_final_message_with_decoy_earlier_message": _CHAT,
    "test_continue_final_message_with_trim": _CHAT,
    "test_jinja_loopcontrols": _CHAT,
    "test_jinja_strftime": _CHAT,
    "test_maximum_encoding_length_pair_input": "reads the logger transformers; ours is called fastvits",
    "test_maximum_encoding_length_single_input": "reads the logger transformers; ours is called fastvits",
    "test_prepare_seq2seq_batch": "gives max_target_length, for translation, which means nothing to a voice",
}
"""Tests that pass with transformers' classes and not with ours, each with the reason."""


BY_CHANCE = frozenset({"test_retain_grad_hidden_states_attentions"})
"""Exceptions that pass where their random masks have holes: such texts go layer by layer."""


def outcomes(checkout: Path, *, ours: bool) -> dict[str, bool]:
    """Which of transformers' tests for VITS pass, by name; those that are skipped are left out."""
    from tests.support.small_voices import save_small_voice

    with tempfile.TemporaryDirectory() as folder:
        save_small_voice(Path(folder) / "facebook" / "mms-tts-eng")  # found before the hub is asked
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
        command += ["--rootdir", str(checkout), "-c", str(checkout / "pyproject.toml"), f"--junitxml={report}"]
        command += ["-p", "transformers_shim"] if ours else []
        paths = os.pathsep.join(map(str, (HERE, ROOT, ROOT / "kernels")))
        done = subprocess.run(
            [*command, str(checkout / "tests" / "models" / "vits")],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.is_file():
            raise RuntimeError(f"the tests did not run:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        found: dict[str, bool] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            if "skipped" not in kinds:
                name = case.attrib["name"].partition(" ")[0]
                found[name] = found.get(name, True) and not kinds & {"failure", "error"}
        return found


def compare(checkout: Path) -> tuple[set[str], set[str], int]:
    """The tests that pass with transformers' classes alone, those of `EXCEPTIONS` among them that pass with ours, and
    how many pass with both."""
    theirs, ours = outcomes(checkout, ours=False), outcomes(checkout, ours=True)
    passing = {name for name, passed in theirs.items() if passed}
    failing = {name for name, passed in ours.items() if not passed}
    return (
        passing & failing,
        {name for name in EXCEPTIONS.keys() - BY_CHANCE if ours.get(name, False)},
        len(passing - failing),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a checkout of transformers")
    different, needless, same = compare(parser.parse_args().checkout.resolve())
    for name in sorted(different):
        print(f"{name}: {EXCEPTIONS.get(name, 'FAILS')}")
    for name in sorted(needless):
        print(f"{name}: passes now")
    print(f"{same} pass with both, {len(different & EXCEPTIONS.keys())} are excused")
    return int(bool(different - EXCEPTIONS.keys() or needless))


if __name__ == "__main__":
    sys.exit(main())
