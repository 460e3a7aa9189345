"""A training run: from a voice and a folder of recordings to a voice, stopped and continued as one likes.

The output folder is the voice itself (`config.json`, `model.safetensors`, the tokenizer's files, written anew at each
checkpoint), and beside it `checkpoints/`, `samples/`, `events/`, `prepared/` and `report.html`.
"""

import dataclasses
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ..models.vits import VitsModel
from ..progress import ProgressLine, clock
from . import checkpoints
from .adaptation import (
    TRAINING_PARTS,
)
from .batches import Batch, batches_an_epoch, epoch_batches, item_seed, make_batch
from .discriminator import VitsDiscriminator
from .huge_pages import use_huge_pages
from .inspection import DataReport, Example, inspect_clips
from .processes import Processes
from .recordings import Clip, Problem, read_clips
from .report import Events, Sample, write_report, write_sample
from .settings import TrainingSettings
from .updates import Networks, Outcome
from .validation import make_sample, split_examples, validate
from .voices import NotTrainable, choose_parameters, save_voice, starting_voice
from .weight_norm import apply_weight_norm

__all__ = ["NotTrainable", "TrainingFailed", "TrainingReport", "UnusableData", "train"]

logger = logging.getLogger("fastvits")

_HISTORY_INTERVAL = 10
_SKIPPED_IN_A_ROW = 3


class UnusableData(ValueError):
    """Data of which nothing, or with `strict` not everything, can be learnt from; the message is the report."""


class TrainingFailed(RuntimeError):
    """A run that cannot go on: NaN or infinity in several updates in a row."""


@dataclasses.dataclass
class TrainingReport:
    """What a run did.

    Attributes:
        step: updates done, in this run and before.
        folder: where the voice is.
        data: what there was to learn from.
        training, validation: the losses' histories, a dictionary a line with `step`.
        skipped: updates left out for NaN or infinity, with the clips they were of.
        report: the page that tells all of it.
    """

    step: int
    folder: Path
    data: DataReport
    training: list[dict[str, float]]
    validation: list[dict[str, float]]
    skipped: list[tuple[int, list[str]]]
    report: Path


def train(
    data: str | os.PathLike[str],
    voice: str | os.PathLike[str],
    output: str | os.PathLike[str],
    settings: TrainingSettings | None = None,
    *,
    layout: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    extend_vocabulary: bool = False,
    from_scratch: bool = False,
    only_posterior: bool = False,
    discriminator: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    events: bool = True,
    progress: bool = False,
    on_report: Callable[[DataReport], None] | None = None,
) -> TrainingReport:
    """Train, or go on with a run in the same folder from its newest checkpoint.

    Args:
        data: see `read_clips`.
        voice: what `VitsModel.from_pretrained` reads: a folder or the id of a repository.
        output: the folder of the run, made if missing.
        settings: see `TrainingSettings`; None: its defaults.
        layout: of the data; None finds out.
        tokenizer: a folder whose tokenizer takes the place of the voice's; tokens that both have keep their embedding.
        extend_vocabulary: add the characters of the data that the vocabulary lacks.
        from_scratch: take the voice's architecture and tokenizer, and no weights.
        only_posterior: give a voice without a posterior encoder a new one, and train nothing but it and the other parts
            that only training needs, without discriminators.
        discriminator: a discriminator's checkpoint to begin with (`load_discriminator`); None: a new one.
        device: None: a CUDA device where there is one, else the CPU.
        events: write TensorBoard events.
        progress: show a line on standard error.
        on_report: called with the report on the data before anything is trained.

    Raises:
        UnusableData: no clip can be used, or not every one with `settings.strict`.
        NotTrainable: the voice lacks parts that training needs.
        TrainingFailed: NaN or infinity in three updates in a row.
        ValueError: a folder whose checkpoint is damaged or is another run's; settings or data that do not fit.
        OSError: files that cannot be read or written.
        ImportError: a package of the extra `train` is needed and missing.
    """
    settings = TrainingSettings() if settings is None else settings
    processes = Processes(device)
    if processes.device.type == "cpu":
        use_huge_pages()
    try:
        run = _Run(Path(output), settings, processes, events, progress)
        torch.manual_seed(item_seed(settings.seed, "start", ""))
        run.prepare(
            data, voice, layout, tokenizer, extend_vocabulary, from_scratch, only_posterior, discriminator, on_report
        )
        return run.run()
    finally:
        processes.close()


class _Run:
    """One run: its networks, its data, and how far it is."""

    def __init__(
        self, output: Path, settings: TrainingSettings, processes: Processes, events: bool, progress: bool
    ) -> None:
        self.output, self.settings, self.processes = output, settings, processes
        self.wants_events, self.wants_progress = events, progress
        self.step = self.epoch = self.place = 0  # updates done; batches of the epoch that are used up
        self.skips = 0  # in a row
        self.training: list[dict[str, float]] = []
        self.validation: list[dict[str, float]] = []
        self.skipped: list[tuple[int, list[str]]] = []
        self.recent: list[dict[str, float]] = []
        self.samples: list[Sample] = []

    def prepare(
        self,
        data: str | os.PathLike[str],
        voice: str | os.PathLike[str],
        layout: str | None,
        tokenizer: str | os.PathLike[str] | None,
        extend_vocabulary: bool,
        from_scratch: bool,
        only_posterior: bool,
        discriminator: str | os.PathLike[str] | None,
        on_report: Callable[[DataReport], None] | None,
    ) -> None:
        """Everything before the first update; bad data and bad voices are refused here."""
        settings = self.settings
        state = checkpoints.load_newest(self.output)
        clips = list(read_clips(data, layout))
        model, self.tokenizer, speakers = starting_voice(
            voice, clips, tokenizer, extend_vocabulary, from_scratch, only_posterior
        )
        if only_posterior:
            settings = self.settings = dataclasses.replace(settings, trained=TRAINING_PARTS, adversarial=False)
        self.report = self._inspect(clips, model, speakers, on_report)
        self.examples, self.held_back = split_examples(self.report.examples, settings)
        choose_parameters(model, settings.trained)
        if any(parameter.requires_grad for parameter in model.decoder.parameters()):
            apply_weight_norm(model.decoder)
        self.model = model.to(self.processes.device)
        network = None
        if settings.adversarial:
            from .discriminator_files import load_discriminator

            network = VitsDiscriminator() if discriminator is None else load_discriminator(discriminator)
            network = network.to(self.processes.device)
        elif discriminator is not None:
            raise ValueError("a discriminator is given, but training is not adversarial")
        self.networks = Networks(self.model, network, settings, self.processes)
        if state is not None:
            self._restore(state)
        self._set_modes()
        # Bad sizes are refused now and not after an epoch.
        epoch_batches(self.examples, settings.batch_size, settings.seed, 0, self.processes.world)

    def _inspect(
        self,
        clips: Sequence[Clip | Problem],
        model: VitsModel,
        speakers: dict[str, int],
        on_report: Callable[[DataReport], None] | None,
    ) -> DataReport:
        prepared = self.output / "prepared"
        line = ProgressLine(len(clips)) if self.wants_progress and self.processes.first else None

        def tell(done: int) -> None:
            if line is not None:
                line.update(done, done, None, 0, last=done == len(clips))

        if not self.processes.first:
            self.processes.wait()  # until the first one has prepared all files
        report = inspect_clips(clips, self.tokenizer, model.config, speakers, self.settings, prepared, tell)
        if self.processes.first:
            self.processes.wait()
        if on_report is not None and self.processes.first:
            on_report(report)
        if report.problems and self.settings.strict:
            raise UnusableData(f"not all of the data can be used, and strict was asked for.\n{report}")
        if not report.examples:
            raise UnusableData(f"none of the data can be used.\n{report}")
        return report

    def _set_modes(self) -> None:
        """Training mode for what learns; parts that stay as they are have no dropout either."""
        self.model.train()
        for part in self.model.children():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()

    # --- The loop -----------------------------------------------------------------------------------------------------

    def run(self) -> TrainingReport:
        """All updates that are left."""
        settings, first = self.settings, self.processes.first
        events = Events(self.output, self.step) if self.wants_events and first else None
        line = ProgressLine(settings.steps) if self.wants_progress and first else None
        begun, started = self.step, time.monotonic()
        if not self.validation:
            self._validate(events)
        try:
            with ThreadPoolExecutor(1) as loader:
                for batches, ended in self._ahead(loader):
                    outcome = self.networks.update(batches, self.step)
                    self.step += 1
                    for _ in range(ended):
                        self.networks.end_epoch()
                    self._note(outcome, events, line)
                    if line is not None:
                        line.update(
                            self.step, self.step - begun, None, len(self.skipped), last=self.step == settings.steps
                        )
                    last = self.step == settings.steps
                    if last or self.step % settings.validation_interval == 0:
                        self._validate(events)
                    if last or self.step % settings.checkpoint_interval == 0:
                        self._save()
        finally:
            if events is not None:
                events.close()
        logger.debug("%d updates in %s", self.step - begun, clock(time.monotonic() - started))
        return TrainingReport(
            self.step,
            self.output,
            self.report,
            self.training,
            self.validation,
            self.skipped,
            self.output / "report.html",
        )

    def _ahead(self, loader: ThreadPoolExecutor) -> Iterator[tuple[list[Batch], int]]:
        """The batches of each update that is left, and how many epochs end with it; the next ones are read while one
        is learnt from. `epoch` and `place` become those behind the update."""
        plan = self._plan()
        waiting = None
        for names, epoch, place, ends in itertools.chain(plan, [(None, 0, 0, 0)]):
            coming = None if names is None else (loader.submit(self._read, names[0], names[1]), epoch, place, ends)
            if waiting is not None:
                batches, self.epoch, self.place, ended = waiting[0].result(), *waiting[1:]
                yield batches, ended
            waiting = coming

    def _plan(self) -> Iterator[tuple[tuple[int, list[list[Example]]], int, int, int]]:
        """(update, its batches), the epoch and the place behind it, and how many epochs end with it."""
        settings = self.settings
        step, epoch, place = self.step, self.epoch, self.place
        batches = self._epoch(epoch)
        while step < settings.steps:
            chosen: list[list[Example]] = []
            ended = 0
            while len(chosen) < settings.accumulation:
                chosen.append(batches[place])
                place += 1
                if place == len(batches):
                    epoch, place, ended = epoch + 1, 0, ended + 1
                    batches = self._epoch(epoch)
            yield (step, chosen), epoch, place, ended
            step += 1

    def _epoch(self, epoch: int) -> list[list[Example]]:
        settings = self.settings
        return epoch_batches(self.examples, settings.batch_size, settings.seed, epoch, self.processes.world)

    def _read(self, step: int, chosen: list[list[Example]]) -> list[Batch]:
        """The tensors of this process's share of an update. A clip's noise is that of the update, so that batches that
        are accumulated, and processes, learn what one large batch would."""
        rank, world, settings = self.processes.rank, self.processes.world, self.settings
        return [
            make_batch(examples[rank::world], self.model.config, settings.seed, f"update {step}").to(
                self.processes.device
            )
            for examples in chosen
        ]

    def _note(self, outcome: Outcome, events: Events | None, line: ProgressLine | None) -> None:
        """Remember the losses, or count a skipped update."""
        if outcome.skipped is not None:
            self.skips += 1
            self.skipped.append((self.step, outcome.skipped))
            message = f"update {self.step} met NaN or infinity and was skipped (clips {', '.join(outcome.skipped)})"
            if line is not None:
                line.message(f"fastvits: {message}")
            else:
                logger.warning("%s", message)
            if self.skips == _SKIPPED_IN_A_ROW:
                clips = [name for _, names in self.skipped[-_SKIPPED_IN_A_ROW:] for name in names]
                raise TrainingFailed(
                    f"NaN or infinity in {self.skips} updates in a row, the last of them {self.step}: the run stops; "
                    f"the clips were {', '.join(dict.fromkeys(clips))}"
                )
            return
        self.skips = 0
        self.recent.append(outcome.losses)
        if self.step % _HISTORY_INTERVAL == 0 or self.step == self.settings.steps:
            # Not every update has every loss: in the warm-up of a discriminator some are not computed.
            names = dict.fromkeys(name for losses in self.recent for name in losses)
            row: dict[str, float] = {"step": self.step}
            for name in names:
                values = [losses[name] for losses in self.recent if name in losses]
                row[name] = sum(values) / len(values)
            self.training.append(row)
            self.recent = []
            if events is not None:
                events.losses("training", row, self.networks.optimisers[0].param_groups[0]["lr"])

    def _validate(self, events: Events | None) -> None:
        """Measure on the clips held back, draw and speak some of them, and write the page; the first process does."""
        if not self.processes.first:
            return
        if self.held_back:
            losses = validate(self.model, self.held_back, self.settings, self.processes.device)
            self._set_modes()
            row = {"step": float(self.step), **losses}
            self.validation.append(row)
            if events is not None:
                events.losses("validation", row)
        rate = self.model.config.sampling_rate
        chosen = (self.held_back or self.examples)[: self.settings.samples]
        self.samples = [make_sample(self.model, example, self.settings, self.processes.device) for example in chosen]
        self._set_modes()
        for sample in self.samples:
            write_sample(self.output, sample, self.step, rate)
            if events is not None:
                events.sample(sample, self.step, rate)
        if events is not None:
            events.flush()
        self._write_report()

    def _write_report(self) -> None:
        settings, report = self.settings, self.report
        an_epoch = batches_an_epoch(len(self.examples), settings.batch_size)
        facts = {
            "updates": f"{self.step} of {settings.steps}",
            "epochs": f"{self.epoch + self.place / an_epoch:.2f}",
            "clips": f"{len(self.examples)} to learn from, {len(self.held_back)} held back, "
            f"{report.seconds / 60:.1f} minutes in all; {len(report.problems)} left out",
            "processes": str(self.processes.world),
            "updates skipped for NaN or infinity": str(len(self.skipped)),
            **{name: str(value) for name, value in settings.to_dict().items()},
        }
        notes = [f"{problem.kind}: {problem}" for problem in report.problems[:50]]
        notes += [f"update {step} was skipped: {', '.join(names)}" for step, names in self.skipped[-50:]]
        write_report(
            self.output,
            title=f"Training of {self.output.name}",
            facts=facts,
            training=self.training,
            validation=self.validation,
            samples=self.samples,
            sampling_rate=self.model.config.sampling_rate,
            notes=notes,
        )

    # --- Stopping and going on ----------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint has to have in common with the run that goes on from it."""
        return {
            "settings": self.settings.to_dict(),
            "data": self.report.fingerprint(),
            "config": self.model.config.to_json_string(),
            "world": self.processes.world,
        }

    def _save(self) -> None:
        """A checkpoint, and the voice."""
        if self.processes.first:
            networks = self.networks
            state = {
                "step": self.step,
                "epoch": self.epoch,
                "place": self.place,
                "skips": self.skips,
                "skipped": [[step, names] for step, names in self.skipped],
                "training": self.training,
                "validation": self.validation,
                "recent": self.recent,
                "identity": self._identity(),
                "generator": self.model.state_dict(),
                "discriminator": None if networks.discriminator is None else networks.discriminator.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in networks.optimisers],
                "schedules": [schedule.state_dict() for schedule in networks.schedules],
                "scalers": [scaler.state_dict() for scaler in networks.scalers],
            }
            checkpoints.save(self.output, self.step, state, self.settings.kept_checkpoints)
            save_voice(self.model, self.tokenizer, self.output)
            if networks.discriminator is not None:
                from .discriminator_files import save_discriminator

                save_discriminator(networks.discriminator, self.output)
            self._write_report()
        self.processes.wait()

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; refused where it is of another run."""
        checkpoints.refuse_another_run(self.output, self.settings, self._identity(), state)
        networks = self.networks
        self.model.load_state_dict(state["generator"])
        if networks.discriminator is not None:
            networks.discriminator.load_state_dict(state["discriminator"])
        for name, objects in (
            ("optimisers", networks.optimisers),
            ("schedules", networks.schedules),
            ("scalers", networks.scalers),
        ):
            for one, values in zip(objects, state[name], strict=True):
                one.load_state_dict(values)  # type: ignore[attr-defined]
        self.step, self.epoch, self.place, self.skips = (state[name] for name in ("step", "epoch", "place", "skips"))
        self.skipped = [(step, names) for step, names in state["skipped"]]
        self.training, self.validation, self.recent = state["training"], state["validation"], state["recent"]
