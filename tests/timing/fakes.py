"""Engines and places whose calls take the time that a formula says."""

from slimprune.timing import Engine, Place, Stopwatch


class FakeTime:
    """Seconds that pass only while something is called."""

    def __init__(self):
        self.now, self.prepared = 0.0, 0

    def engine(self, seconds):
        """An engine that takes seconds(module, inputs) for a call."""

        def prepare(subject, inputs, place):
            self.prepared += 1
            took = seconds(subject.module, inputs)

            def call():
                self.now += took

            return call

        return Engine("fake", "", prepare)

    def place(self, device, threads=1):
        """A place whose stopwatch shows this time."""
        place = _FakePlace(device, threads)
        object.__setattr__(place, "time", self)
        return place


class _FakePlace(Place):
    @property
    def stopwatch(self):
        return Stopwatch(lambda: self.time.now)


def blocked_seconds(layer, block=16):
    """By blocks of channels; half as long again where outputs are no multiple of 4; and a microsecond on top."""
    size = layer.size[0] * layer.size[-1] if layer.size else 1
    if layer.outputs % 4:
        return 1e-6 + 6e-11 * size * layer.inputs * layer.outputs
    return 1e-6 + 4e-11 * size * block**2 * -(-layer.inputs // block) * -(-layer.outputs // block)
