#!/usr/bin/env bash
# onnxruntime 1.32.0: set_seed counts when a session is made, not when it runs.
#
# Piper's graphs draw their noise inside (RandomNormalLike). Setting the seed before each utterance changes nothing, one
# set before the session repeats the whole series of utterances, and two sessions made after one call speak alike.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("x", "noise")]
graph = helper.make_graph([helper.make_node("RandomNormalLike", ["x"], ["noise"])], "graph", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()


def session():
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def noise(of):
    return of.run(None, {"x": np.zeros(8, np.float32)})[0].tolist()


onnxruntime.set_seed(7)
first, second = session(), session()
series = [noise(first) for _ in range(2)]
alike = [noise(second) for _ in range(2)]
print("two sessions after one seed are alike:", series == alike)
onnxruntime.set_seed(7)
third = noise(first)
print("seeded again, the first session begins anew:", third == series[0])
anew = session()
print("a session made then does:", noise(anew) == series[0])
assert series[0] != series[1] and series == alike
assert third not in series
assert noise(session()) == series[0]
PY
