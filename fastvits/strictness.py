"""Whether what transformers does in silence is an error here, or is done with a warning.

Some calls mean something else than they say: a model of several speakers called without one, a keyword that no call
knows. They raise an error that says what to write instead. `fastvits.strict(False)`, or the environment variable
`FASTVITS_STRICT=0`, has them do what transformers does, with one warning each.
"""

import os
import warnings

ENVIRONMENT_VARIABLE = "FASTVITS_STRICT"

_chosen: bool | None = None
_said: set[str] = set()


def strict(enabled: bool = True) -> None:
    """Whether calls that transformers takes otherwise than they read are refused, in this process from now on.

    Args:
        enabled: True, the default, refuses them with an error that says what to write instead; False does what
            transformers does, with one warning each. Before any call of this function the environment variable
            `FASTVITS_STRICT` decides: `0` means False, `1` and nothing mean True.

    Raises:
        TypeError: `enabled` is no bool.
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"strict takes True or False, got {enabled!r}")
    global _chosen
    _chosen = enabled
    _said.clear()


def is_strict() -> bool:
    """Whether such calls are refused. Raises ValueError where the environment variable is neither 0 nor 1."""
    if _chosen is not None:
        return _chosen
    value = os.environ.get(ENVIRONMENT_VARIABLE) or "1"
    if value not in ("0", "1"):
        raise ValueError(f"{ENVIRONMENT_VARIABLE} is {value!r}; choose 0 or 1")
    return value == "1"


def tolerated(message: str) -> bool:
    """Whether a call is not refused but taken as transformers takes it, which `message` tells once as a warning."""
    if is_strict():
        return False
    if message not in _said:
        _said.add(message)
        warnings.warn(message, stacklevel=3)
    return True
