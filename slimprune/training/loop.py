"""Training loop for every network, device, precision and execution."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor, nn

from slimprune.errors import UsageError
from slimprune.forward import ForwardFn, Loss
from slimprune.ranks.group import check_equal, copy_from_first
from slimprune.training.averaging import Averaging
from slimprune.training.batches import Batches, count_batches
from slimprune.training.checkpoint import Checkpoint, Restored
from slimprune.training.data_parallel import BY_ITSELF, AcrossRanks
from slimprune.training.distributed import rank
from slimprune.training.epoch import AfterStep, Epoch, Run
from slimprune.training.evaluation import eval_mode, tested
from slimprune.training.event_log import event_log
from slimprune.training.metrics import AnyMetric
from slimprune.training.mixing import mixing_of
from slimprune.training.objective import training_loss
from slimprune.training.partial_epoch import PartialEpoch
from slimprune.training.penalties import Penalty
from slimprune.training.progress import TrainProgress
from slimprune.training.result import EpochRecord, FurtherMetric, TrainResult
from slimprune.training.settings import TrainSettings, find_device
from slimprune.training.sparsity import digest_of_masks
from slimprune.training.strategy import Additions, open_execution
from slimprune.types import Listener, ignore


def train(
    model: nn.Module,
    train_batches: Batches,
    test_batches: Batches,
    settings: TrainSettings,
    *,
    loss: Loss,
    metric: AnyMetric,
    further: Sequence[AnyMetric] = (),
    progress: Listener = ignore,
    after_step: AfterStep = lambda done: None,
    checkpoint: Path | None = None,
    forward_fn: ForwardFn | None = None,
    teacher: nn.Module | None = None,
    penalty: Penalty | None = None,
    log: Path | None = None,
    validation_batches: Batches | None = None,
    masks: Mapping[str, Tensor] | None = None,
    earlier: Sequence[EpochRecord] = (),
    enough: Callable[[int], bool] = lambda epochs: False,
    across: AcrossRanks = BY_ITSELF,
) -> TrainResult:
    """Train the model in place, testing it after every epoch.

    Each epoch draws its random numbers from (seed, epoch), and the caller's generators are left unchanged. On the CPU,
    a run resumed from its checkpoint therefore ends with exactly the weights of an uninterrupted one. With a folder for
    checkpoints, SIGINT, SIGTERM and SIGHUP are put off to the end of the present step, where a checkpoint is written.

    Args:
        model: Model, moved to `settings.device` and left in eval mode; may be wrapped in `DistributedDataParallel`.
        train_batches: Pairs (inputs [N, ...], targets), iterated once per epoch; `set_epoch` is called if it exists.
        test_batches: Pairs (inputs [N, ...], targets) for testing.
        settings: Training settings.
        loss: Function (output, targets) of a batch -> mean loss, a scalar.
        metric: Metric on the test batches.
        further: Further metrics on the test batches, after the last epoch.
        progress: Called after every step with ("train", steps done, total steps, "epoch 2, top1 91.20 %").
        after_step: Called with the number of steps done, before the epoch is tested and stored.
        checkpoint: Folder for checkpoints and `metrics.jsonl`; if it holds a checkpoint, training resumes from it.
        forward_fn: Function (model, batch) -> output, for models that are not called with their inputs. Batches may
            then be anything that it accepts, loss and metric receive (output, batch), and training uses plain
            execution.
        teacher: Network whose outputs are imitated with `settings.distill`; moved to the device, not changed.
        penalty: Penalty on the weights, such as `Penalty("bn-l1", 1e-4, batch_norm_l1)`, that is added to the loss.
        log: Folder for TensorBoard event files.
        validation_batches: Pairs (inputs [N, ...], targets) on which the model is tested after every epoch; the test
            batches are then used once, after the last epoch.
        masks: Name of a parameter -> bool of its shape; weights where it is False are set to zero and stay exactly
            zero, in the optimizer's state too.
        earlier: Records of epochs that the model was trained for before, by the same settings. The training goes on
            behind them, with the learning rates of the later epochs and a new state of the optimizer.
        enough: Function of the number of epochs done: whether the training ends there, short of all its epochs.
        across: Ranks that train the network together, each on its share of every batch (batches with a method `shared`
            are divided here, others are the rank's share already). They start from the weights of the first one, which
            alone writes. The folder of each holds the same checkpoint, or none.

    Raises:
        UsageError: If the device is absent, the batches cannot be repeated, a folder cannot be written to,
            `tensorboard` is not installed, the loss cannot be smoothed or weighted, masks do not fit the model,
            or only one of `teacher` and `settings.distill` is given.
        DataError: If there are no batches, or they are not pairs and there is no `forward_fn`.
        UnsupportedModelError: If the model has no trainable parameters, the output does not fit the targets, or the
            loss is not a scalar.
        VerificationError: If the folder's checkpoint is damaged or has other settings.
        SlimpruneError: If the loss becomes nan or infinite.
    """
    device = find_device(settings.device)
    train_batches, test_batches = across.share_of(train_batches), across.share_of(test_batches)
    if validation_batches is not None:
        validation_batches = across.share_of(validation_batches)
    if (teacher is None) != (settings.distill is None):
        raise UsageError(f"expected distill with a teacher, got {settings.distill} with {_kind(teacher)}")
    steps = count_batches(train_batches)
    model.to(device)
    if across.ranks.several:
        check_equal({"number of training batches": steps})
        copy_from_first([*model.parameters(), *model.buffers()])
    told = TrainProgress(progress, metric, settings.epochs, steps)
    run = Run(model, settings, steps, told, after_step, device, forward_fn, across=across)
    loss = training_loss(loss, settings, device)
    run = replace(run, mixing=mixing_of(settings, model, train_batches, device, forward_fn))
    with ExitStack() as stack:
        stack.enter_context(across.synchronised(model))
        if teacher is not None:
            stack.enter_context(eval_mode(teacher.to(device)))
        additions = Additions(teacher, penalty, masks, across)
        execution = stack.enter_context(
            open_execution(model, settings, loss, device, told.remark, forward_fn, additions)
        )
        run = replace(run, averaging=Averaging(model, settings.ema) if settings.ema is not None else None)
        store = _open_store(run, metric, additions, checkpoint)
        restored = store.restore(model, execution.optimizer, run.averaging) if store else Restored()
        history, begun = restored.history or list(earlier), restored.begun
        if begun is not None:
            begun.restore_buffers(run.buffers(), across.ranks)
        if store and rank() == 0:
            store.start_metrics(history)
        watched = test_batches if validation_batches is None else validation_batches
        write = stack.enter_context(event_log(log if rank() == 0 else None, metric.name))
        for record in history:
            write(record)

        def keep(begun: PartialEpoch | None) -> None:
            if store and rank() == 0:
                store.save(model, execution.optimizer, history, run.averaging, begun)

        while not (ended := enough(len(history))) and _goes_on(history, settings):
            epoch = Epoch(run, len(history) + 1, begun or PartialEpoch(), keep if store else None)
            with epoch.begun():
                epoch.train(execution.step, train_batches)
                with run.averaged():
                    value = tested(model, execution.forward, watched, metric, device, forward_fn, across.ranks)
            history.append(epoch.record(value))
            keep(None)
            begun = None
            write(history[-1])
            told.epoch(history[-1])
        if ended:
            told.ended(history[-1])
        elif len(history) < settings.epochs:
            told.stopped(history[-1])
        if run.averaging is not None:
            run.averaging.hand_over()
        final = None
        if validation_batches is not None:
            final = tested(model, execution.forward, test_batches, metric, device, forward_fn, across.ranks)
        beside = tuple(
            FurtherMetric(
                one.name,
                tested(model, execution.forward, test_batches, one, device, forward_fn, across.ranks),
                one.scale,
            )
            for one in further
        )
    model.eval()
    return TrainResult.of(metric, history, final, beside)


def _kind(teacher: nn.Module | None) -> str:
    return "none" if teacher is None else type(teacher).__name__


def _goes_on(history: Sequence[EpochRecord], settings: TrainSettings) -> bool:
    return len(history) < settings.epochs and not _stalled(history, settings.patience)


def _stalled(history: Sequence[EpochRecord], patience: int | None) -> bool:
    """Return whether the last `patience` epochs had no smaller mean training loss than an epoch before them."""
    if patience is None or len(history) <= patience:
        return False
    losses = [record.train_loss for record in history]
    return min(losses[-patience:]) >= min(losses[:-patience])


def _open_store(run: Run, metric: AnyMetric, additions: Additions, folder: Path | None) -> Checkpoint | None:
    if folder is None:
        return None
    # Device and execution are left out: they do not define the training, and the ranks of a run differ in device.
    # Every execution keeps the same float32 weights and momentum buffers, and its rounding differs less than that of
    # another device.
    settings = {key: value for key, value in asdict(run.settings).items() if key not in ("device", "fast")}
    settings["class_weights"] = ",".join(f"{weight:g}" for weight in run.settings.class_weights)
    settings["milestones"] = ",".join(map(str, run.settings.milestones)) or None
    if (penalty := additions.penalty) is not None:
        settings |= {"penalty": penalty.name, "penalty_strength": penalty.strength}
    if additions.masks is not None:
        settings["masks"] = digest_of_masks(additions.masks)
    known = {key: value for key, value in settings.items() if value is not None}
    return Checkpoint(folder, {**known, "metric": metric.name, "steps_per_epoch": run.steps_per_epoch})
