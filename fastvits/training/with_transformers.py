"""transformers' `Trainer` for our model: checkpoints get the `config.json` that a state alone lacks.

The model by itself works under `Trainer` too (its output begins with the loss); but of a model that is no
`PreTrainedModel` `Trainer` saves the tensors only. It has one optimiser, so it trains without discriminators; the whole
recipe is `fastvits.training.run.train`.
"""

from typing import Any

from transformers import Trainer

__all__ = ["VitsTrainer"]


class VitsTrainer(Trainer):
    """`Trainer` that saves a voice as `save_pretrained` does, `config.json` beside the weights, and that measures the
    loss of every batch with `labels`, whether or not it has `labels_attention_mask`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.args.label_names is None:
            self.label_names = ["labels"]  # Trainer takes every parameter of `forward` with "label" in its name

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            model: Any = self.accelerator.unwrap_model(self.model)
            model.save_pretrained(self.args.output_dir if output_dir is None else output_dir)
