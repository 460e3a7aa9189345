#!/usr/bin/env bash
# onnx 1.23.2: set_model_props forgets the metadata that was there, and a key that is added twice is there twice.
#
# sherpa-onnx reads a voice's sampling rate, speakers and kind from the metadata. Setting one more of them by the helper
# leaves that one alone. Adding entries by hand keeps both of a key; onnxruntime takes the last, and only the checker
# minds.
source "$(dirname "$0")/in_a_venv.sh"
in_a_venv onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 <<'PY'
import onnx
import onnxruntime
from onnx import TensorProto, helper

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "graph", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
helper.set_model_props(model, {"sample_rate": "16000", "n_speakers": "1"})
helper.set_model_props(model, {"language": "English"})
left = {entry.key: entry.value for entry in model.metadata_props}
print("after setting rate and speakers, then the language:", left)
assert left == {"language": "English"}
for rate in ("16000", "22050"):
    model.metadata_props.add(key="sample_rate", value=rate)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
seen = session.get_modelmeta().custom_metadata_map
print("of two sampling rates onnxruntime sees", seen["sample_rate"])
assert seen == {"language": "English", "sample_rate": "22050"}
try:
    onnx.checker.check_model(model)
except onnx.checker.ValidationError as error:
    print("the checker:", error)
else:
    raise AssertionError("the checker accepts a key twice")
PY
