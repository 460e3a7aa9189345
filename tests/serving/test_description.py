"""The description of the routes, taken at its word: requests made from it, and requests that contradict it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serving.servers import running
from tests.support.small_voices import save_small_voice

BEYOND_A_SCHEMA = (
    "nothing to say",
    "no character that this voice can say",
    "timestamps needs stream_format sse",
    "half of a surrogate pair",
    "speaker",
)
"""What a request may break although it is as described, as parts of the answer."""


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    root = tmp_path_factory.mktemp("voices")
    folders = {
        "one": str(save_small_voice(root / "one")),
        "two": str(save_small_voice(root / "two", seed=1, num_speakers=3, speaker_embedding_size=8)),
    }
    with running(folders, aliases={"nova": "two"}) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_route_does_what_its_description_says(described):
    operations = [found.ok() for found in described.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/audio/speech", "/synthesize", "/voices", "/health"}
    seen = set()

    def check(case):
        answer = case.call(timeout=60)
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])
        seen.add((case.path, answer.status_code))
        if answer.status_code == 400 and case.meta.generation.mode.is_positive:
            message = answer.json()["error"]["message"]
            assert any(part in message for part in BEYOND_A_SCHEMA), message

    for operation in operations:
        for mode in list(GenerationMode) if operation.method == "post" else [GenerationMode.POSITIVE]:
            strategy = operation.as_strategy(generation_mode=mode)
            run = settings(
                max_examples=20 if operation.method == "post" else 1,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(given(strategy)(check))
            run()
    for path in ("/v1/audio/speech", "/synthesize"):
        assert {(path, 200), (path, 400)} <= seen
