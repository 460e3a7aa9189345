"""Settings of a model that its configuration has too."""

from typing import Any


class ConfiguredSetting:
    """An attribute that begins with the configuration's value of the same name; whichever is set last counts.

    So `model.noise_scale = 0.5` and `model.config.noise_scale = 0.5` are both heard by the next call.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.slot = name, f"_{name}"

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        if model is None:
            return self
        configured = getattr(model.config, self.name)
        value, seen = model.__dict__.get(self.slot, (configured, configured))
        return value if configured == seen else configured

    def __set__(self, model: Any, value: Any) -> None:
        model.__dict__[self.slot] = value, getattr(model.config, self.name)
