from slimprune.training import EpochRecord, top1
from slimprune.training.progress import TrainProgress


def test_remarks_are_heard_to_the_end_and_the_last_step_of_an_epoch_with_its_metric():
    heard = []
    progress = TrainProgress(lambda *event: heard.append(event), top1, epochs=2, steps_per_epoch=2)
    progress.step(1, 1)
    progress.remark("not captured")
    progress.step(1, 2)
    progress.epoch(EpochRecord(1, lr=0.1, train_loss=1.0, test_metric=0.51239, seconds=1.0))
    progress.step(2, 1)
    progress.epoch(EpochRecord(2, lr=0.1, train_loss=1.0, test_metric=0.6, seconds=1.0))
    assert heard == [
        ("train", 1, 4, "epoch 1"),
        ("train", 2, 4, "epoch 1, top1 51.24 %, not captured"),
        ("train", 3, 4, "epoch 2, top1 51.24 %, not captured"),
        ("train", 4, 4, "epoch 2, top1 60.00 %, not captured"),
    ]
