"""The trainer: one for every architecture, on one process or several (`torchrun`)."""

import logging
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from my_submission.models import ChunkModel
from my_submission.models.precision import computing
from my_submission.schema import choice_text
from my_submission.weights import load_manifest, require
from my_submission.weights.errors import first_sentence
from my_submission.weights.trial import admit
from training import curves
from training.config import ConfigError, OptimisationSettings, TrainingConfig, as_document
from training.data import Examples, find_tracks
from training.losses import waveform_loss
from training.state import Average, RunState, Weights, load_state, save_state
from training.validation import Scores, load_held_out, trivial_scores, validate

log = logging.getLogger(__name__)

LOG_EVERY = 20


@dataclass(frozen=True)
class Process:
    """Which of the run's processes this is, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0


@contextmanager
def join_processes() -> Iterator[Process]:
    """This process's part in the run: alone, or one of those that `torchrun` started."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if count > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(rank, count, device)
    finally:
        if count > 1:
            torch.distributed.destroy_process_group()


def learning_rate(settings: OptimisationSettings, step: int) -> float:
    """Linear warm-up, then a cosine from `learning_rate` at its end to `final_share` of it at `steps`."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = min(1.0, (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return settings.learning_rate * (settings.final_share + (1 - settings.final_share) * cosine)


def seed_step(seed: int, process: int, step: int) -> None:
    """Make everything random in networks depend only on seed, process and step, so that no state is needed."""
    value = hash((seed, process, step)) % 2**32
    random.seed(value)
    torch.manual_seed(value)


def initial_network(config: TrainingConfig) -> torch.nn.Module:
    """The network before step 0: fresh from the seed, or with the weights that the configuration names.

    If those are for other sources, the layers that depend on the number of sources keep their fresh weights.
    Raises ConfigError if they are of another architecture or no network can be made as configured, WeightsError if
    the file is missing or wrong.
    """
    torch.manual_seed(config.seed)
    try:
        network = config.model.build()
    except (ValueError, TypeError, ArithmeticError, AssertionError, RuntimeError) as error:
        raise ConfigError(f"model: no network can be made as configured: {first_sentence(error)}") from error
    weights = _start_weights(config)
    if weights is None:
        return network
    own = network.state_dict()
    if set(weights) != set(own):
        odd = sorted(set(weights) ^ set(own))[0]
        raise ConfigError(f"{config.name}: the weights to start from fit another architecture: {odd}")
    fitting = {key: value for key, value in weights.items() if value.shape == own[key].shape}
    log.info("%d of %d tensors come from the weights to start from", len(fitting), len(own))
    network.load_state_dict({**own, **fitting})
    return network


def _start_weights(config: TrainingConfig) -> Weights | None:
    if config.start_run is not None:
        state = load_state(config.start_run)
        if state is None:
            raise ConfigError(f"start_run: {config.start_run} has no saved run; give the folder of one")
        return state.average
    if config.start_checkpoint is None:
        return None
    checkpoints = load_manifest().checkpoints
    if config.start_checkpoint not in checkpoints:
        raise ConfigError(f"start_checkpoint: {choice_text(config.start_checkpoint, checkpoints)}")
    checkpoint = checkpoints[config.start_checkpoint]
    path = require([checkpoint])[checkpoint.name]
    admit(checkpoint, path)
    return dict(config.model.read_weights(path, checkpoint))


class Trainer:
    """Owns the network, its average, the optimiser and the run's folder."""

    def __init__(self, config: TrainingConfig, folder: Path, process: Process) -> None:
        self.config, self.folder, self.process = config, folder, process
        self.settings = config.optimisation
        torch.set_num_threads(self.settings.threads)
        self.network = initial_network(config).to(process.device)
        if self.settings.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.network, self.settings.ema_decay)
        self.optimiser = torch.optim.AdamW(
            config.model.parameter_groups(self.network),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
        )
        self.step, self.seconds = 0, 0.0
        self._recent: list[tuple[float, float]] = []
        self._resume()
        self.parallel: torch.nn.Module = self.network
        if process.count > 1:
            self.parallel = DistributedDataParallel(self.network)
        self.examples = Examples(
            data=config.data,
            tracks=tuple(tuple(find_tracks(data, data.train)) for data in config.data),
            sources=config.model.sources,
            augmentation=config.augmentation,
            samples=config.model.example_samples,
            batch=self.settings.batch,
            seed=config.seed,
            process=process.rank,
        )
        self.held_out = load_held_out(config) if process.is_first else []

    def _resume(self) -> None:
        state = load_state(self.folder)
        if state is None:
            return
        if state.config["model"] != as_document(self.config)["model"]:
            raise ConfigError(
                f"{self.folder}: has a run of another model, {state.config['model']}; choose another folder"
            )
        self.network.load_state_dict(state.weights)
        self.average.weights = {key: value.to(self.process.device) for key, value in state.average.items()}
        self.optimiser.load_state_dict(state.optimiser)
        self.step, self.seconds = state.step, state.seconds
        if self.process.is_first:
            for name in (curves.TRAINING_FILE, curves.VALIDATION_FILE):
                curves.drop_rows_after(self.folder / name, state.step)
            log.info("resumed %s at step %d", self.folder, state.step)

    def save(self) -> None:
        """Write the run's state, and its configuration for people."""
        if self.process.is_first:
            document = as_document(self.config)
            state = RunState(
                self.step,
                self.seconds,
                document,
                self.network.state_dict(),
                self.average.weights,
                self.optimiser.state_dict(),
            )
            save_state(self.folder, state)

    def run(self, minutes: float = math.inf) -> None:
        """Train to the configured number of steps, or for `minutes`, or until SIGTERM or SIGINT; then save."""
        self.folder.mkdir(parents=True, exist_ok=True)
        started, seconds_before = time.monotonic(), self.seconds
        last = self.settings.steps
        steps = range(self.step, last)
        batches = DataLoader(
            self.examples, batch_size=None, sampler=steps, num_workers=self.settings.workers, pin_memory=False
        )
        shown = tqdm(batches, initial=self.step, total=last, disable=not self._shows_bar, unit="step")
        with stop_on_signal() as stopped:
            for mixtures, references in shown:
                loss, norm = self._learn(mixtures.to(self.process.device), references.to(self.process.device))
                self.seconds = seconds_before + time.monotonic() - started
                self._record(loss, norm, shown)
                ending = self._agree(
                    stopped() or self.seconds - seconds_before > 60 * minutes or self.step == last
                )
                if self.step % self.config.validation.every == 0 or self.step == last:
                    self._validate()
                if self.step % self.config.checkpoint_every == 0 or ending:
                    self.save()
                if ending:
                    break

    @property
    def _shows_bar(self) -> bool:
        return self.process.is_first and sys.stderr.isatty()

    def _learn(self, mixtures: Tensor, references: Tensor) -> tuple[float, float]:
        """One step; its loss and the norm of its gradient before clipping."""
        settings = self.settings
        seed_step(self.config.seed, self.process.rank, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = group["scale"] * learning_rate(settings, self.step)
        self.parallel.train()
        with self._lower_precision() if settings.precision == "bf16" else nullcontext():
            estimates = self.parallel(mixtures)
        loss = waveform_loss(settings.loss, mixtures, references, estimates.float(), self._source_weights())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        if not torch.isfinite(norm):
            raise ConfigError(
                f"optimisation.learning_rate: at step {self.step} the gradient's norm is {norm.item()}, the loss"
                f" {loss.item()}; resume from the last state in {self.folder} with a lower one"
            )
        self.optimiser.step()
        self.average.update(self.network, self.step)
        self.step += 1
        return loss.item(), norm.item()

    @contextmanager
    def _lower_precision(self) -> Iterator[None]:
        """Autocast to bfloat16; on a processor that lacks it, too, where torch has no LSTM for it."""
        device = self.process.device
        on_cpu = device.type == "cpu"
        with (
            computing(device, torch.bfloat16) if on_cpu else nullcontext(),
            torch.autocast(device.type, torch.bfloat16),
        ):
            yield

    def _source_weights(self) -> Tensor | None:
        given = self.settings.source_weights
        if not given:
            return None
        weights = [given.get(source, 1.0) for source in self.config.model.sources]
        return torch.tensor(weights, device=self.process.device)

    def _agree(self, ending: bool) -> bool:
        """Whether any process wants to end: all of them must do so after the same step."""
        if self.process.count == 1:
            return ending
        flag = torch.tensor(float(ending), device=self.process.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def _record(self, loss: float, norm: float, shown: "tqdm[tuple[Tensor, Tensor]]") -> None:
        """Every LOG_EVERY steps, write the means since the last time to the curves, the bar or the log."""
        self._recent.append((loss, norm))
        if self.step % LOG_EVERY or not self.process.is_first:
            return
        losses, norms = zip(*self._recent, strict=True)
        self._recent = []
        row = {
            "step": self.step,
            "seconds": self.seconds,
            "loss": sum(losses) / len(losses),
            "gradient_norm": sum(norms) / len(norms),
            "learning_rate": learning_rate(self.settings, self.step - 1),
        }
        curves.append_row(self.folder / curves.TRAINING_FILE, row)
        shown.set_postfix(loss=f"{row['loss']:.4f}")
        if not self._shows_bar:
            left = (self.settings.steps - self.step) * self.seconds / self.step
            log.info(
                "step %d of %d, loss %.5f, gradient norm %.3f, %.1f min so far, about %.1f min left",
                *(self.step, self.settings.steps, row["loss"], row["gradient_norm"]),
                *(self.seconds / 60, left / 60),
            )

    def _validate(self) -> None:
        """Score the averaged weights on the held-out tracks; the first process does so."""
        if self.process.is_first:
            scores = validate(self.averaged_model(), self.held_out, self.config.validation)
            mean = sum(scores.values()) / len(scores)
            row = {"step": self.step, "seconds": self.seconds, "mean": mean, **scores}
            curves.append_row(self.folder / curves.VALIDATION_FILE, row)
            curves.draw(self.folder)
            log.info("step %d, validation SDR (dB): %s", self.step, format_scores({"mean": mean, **scores}))
        if self.process.count > 1:
            torch.distributed.barrier()

    def averaged_model(self) -> ChunkModel:
        """A copy of the network with the averaged weights, as inference takes it."""
        network = self.config.model.build()
        network.load_state_dict(self.average.weights)
        return self.config.model.chunk_model(network, self.process.device)


def format_scores(scores: Scores) -> str:
    """Scores on one line."""
    return ", ".join(f"{name} {score:.2f}" for name, score in scores.items())


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Inside this context, SIGTERM and SIGINT only make the yielded function return true."""
    received: list[int] = []
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [
        signal.signal(number, lambda received_number, _: received.append(received_number))
        for number in wanted
    ]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(wanted, before, strict=True):
            signal.signal(number, handler)


def fit(config: TrainingConfig, folder: Path, minutes: float = math.inf) -> None:
    """Train a run in `folder`, or continue the one that is there.

    minutes: stop after this time; the run can be continued.
    Raises ConfigError if data or weights are not as configured, or it does not converge.
    """
    with join_processes() as process:
        trainer = Trainer(config, folder, process)
        if process.is_first:
            count = sum(value.numel() for value in trainer.network.parameters())
            hours = [
                sum(track.samples for track in tracks) / 44100 / 3600 for tracks in trainer.examples.tracks
            ]
            log.info(
                "%s: %.2f M parameters, training data %s h",
                config.name,
                count / 1e6,
                " + ".join(f"{h:.2f}" for h in hours),
            )
            for name, scores in trivial_scores(trainer.held_out, config.model.sources).items():
                log.info("held out, %s: SDR (dB) %s", name, format_scores(scores))
        trainer.run(minutes)
