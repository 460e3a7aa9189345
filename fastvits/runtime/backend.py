"""What names a backend: the text that a model's `backend`, a keyword or an environment variable holds."""

from fastvits_kernels.dispatch import registry
from fastvits_kernels.dispatch.registry import Selection


def parse_backend(backend: str | None) -> Selection | None:
    """The checked selection for `backend`, as the environment variable spells it: `triton`, or
    `auto,spline_coupling=eager`.

    Raises TypeError for what is neither a string nor None, ValueError for an unknown backend or op.
    """
    if backend is None:
        return None
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a string such as 'auto' or 'triton', or None, got {type(backend).__name__}")
    if not backend.strip():
        raise ValueError(f"backend is empty; choose one of {', '.join(registry.BACKENDS)}")
    return registry.parse_selection(backend, "backend")
