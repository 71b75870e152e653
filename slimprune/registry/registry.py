"""Named things of one kind: slimprune's own, those of installed packages, and code that a name leads to."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Generic, TypeVar

from slimprune.errors import SlimpruneError, UsageError, did_you_mean
from slimprune.registry import packages
from slimprune.registry.user_code import Failure, NoSuchModuleError, load_code, names_code

T = TypeVar("T")

OWN_CODE = "file.py:NAME or package.module:NAME"


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One thing that goes by a name.

    Attributes:
        name: What finds it.
        description: One line for people.
        load: Imports and returns the thing.
        takes: What is to be written after its name and a colon, such as "DIR"; "" for nothing.
        module: Where it was registered.
    """

    name: str
    description: str
    load: Callable[[], T]
    takes: str = ""
    module: str = ""

    @property
    def shown(self) -> str:
        """How the name is written."""
        return f"{self.name}:{self.takes}" if self.takes else self.name

    @property
    def built_in(self) -> bool:
        """Whether it is slimprune's own."""
        return self.module.partition(".")[0] == __package__.partition(".")[0]


class Registry(Generic[T]):
    """All things of one kind by name.

    A name is looked up among what was registered, then among the entry points of installed packages, and then taken
    as the user's code, `file.py:NAME` or `package.module:NAME`. What a package offers is imported when it is asked
    for, and cannot take the name of something that was registered.

    Args:
        what: The kind with its article, as errors call it: "a criterion".
        group: Entry points of this group are entries.
        noun: What code is expected to be, with its article: "a criterion class".
        adapt: Takes the name and what an entry point or the user's code holds under it; returns the thing, or raises
            `failure`.
        failure: What is raised where code fails.
        others: Names that are understood elsewhere, for the errors.
        listing: Where the names are listed, for kinds with more names than fit an error.
        code: Whether a name may be the user's code.
    """

    def __init__(
        self,
        what: str,
        group: str,
        noun: str,
        adapt: Callable[[str, object], T],
        *,
        failure: Failure = UsageError,
        others: Sequence[str] = (),
        listing: str = "",
        code: bool = True,
    ) -> None:
        self._what, self._group, self._noun, self._adapt = what, group, noun, adapt
        self._failure, self._others, self._listing, self._code = failure, others, listing, code
        self._entries: dict[str, Entry[T]] = {}

    def add(self, name: str, description: str, thing: T, *, module: str | None, takes: str = "") -> None:
        """Register a thing; the module that registered a name may do so again, as when it is loaded again.

        Args:
            name: A name that is not taken.
            description: One line for people.
            thing: What goes by the name.
            module: Name of the module that it comes from; None at a prompt.
            takes: What is to be written after the name and a colon.

        Raises:
            UsageError: If the name is empty or taken.
        """
        self._put(Entry(name, description, lambda: thing, takes, module or "__main__"))

    def declare(self, name: str, description: str, target: str, *, takes: str = "") -> None:
        """Register what "package.module:attribute" holds without importing it; for the rest see `add`."""
        module, _, attribute = target.partition(":")

        def load() -> T:
            return self._adapt(name, getattr(import_module(module), attribute))

        self._put(Entry(name, description, load, takes, module))

    def find(self, name: str) -> T:
        """The thing of that name.

        Raises:
            UsageError: If there is none.
            SlimpruneError: The kind's own failure, if the code that is to give it fails or gives something else.
        """
        entry = self.entry(name)
        if entry is not None:
            return entry.load()
        if not self.is_user_code(name):
            raise self.unknown(name)
        try:
            found = load_code(name, self._noun, self._failure)
        except NoSuchModuleError as error:
            raise UsageError(f"{self.unknown(name)}; {error}") from error
        return self._adapt(name, found)

    def split(self, name: str) -> tuple[str, str]:
        """A name and what was written after it: "folder:images" as ("folder", "images").

        A whole name and the user's code have nothing after them. `unet:depth=3` is "unet" with "depth=3", but
        `unet:build` is code, as long as there is no entry that takes something like it.
        """
        head, _, rest = name.partition(":")
        entry = self.entry(head)
        if self.entry(name) is not None or entry is None:
            return name, ""
        whole = entry.built_in and not entry.takes and names_code(name)
        return (name, "") if whole else (head, rest)

    def is_user_code(self, name: str) -> bool:
        """Whether the name leads to code that is neither slimprune's nor an installed extension's."""
        return self._code and names_code(name) and self.entry(self.split(name)[0]) is None

    def entry(self, name: str) -> Entry[T] | None:
        """The entry of exactly that name, registered or an installed package's."""
        return self._entries.get(name) or self._plugins().get(name)

    def entries(self) -> list[Entry[T]]:
        """All entries, in order of registration, then those of installed packages, which may fail to load."""
        return [*self._entries.values(), *self._plugins().values()]

    def available(self) -> dict[str, T]:
        """All things that can be loaded, by name."""
        found = {}
        for entry in self.entries():
            try:
                found[entry.name] = entry.load()
            except SlimpruneError:
                continue
        return found

    def rows(self) -> list[tuple[str, str]]:
        """How every entry is written and its description, or why it is unavailable."""
        refused = [(name, f"unavailable: {why}") for name, why in self._refused()]
        return [*((entry.shown, self._described(entry)) for entry in self.entries()), *refused]

    def unknown(self, name: str) -> UsageError:
        """The error for a name that is not known."""
        written = [*(entry.shown for entry in self.entries()), *self._others]
        known = [f"a name of `{self._listing}`"] if self._listing else written
        accepted = ", ".join([*known, *([OWN_CODE] if self._code else [])])
        return UsageError(f"expected {self._what} ({accepted}), got {name!r}{did_you_mean(name, written)}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of all entries."""
        return (entry.name for entry in self.entries())

    def __contains__(self, name: object) -> bool:
        """Whether there is an entry of that name."""
        return isinstance(name, str) and self.entry(name) is not None

    def _put(self, entry: Entry[T]) -> None:
        if not entry.name:
            raise UsageError(f"expected a name for {self._what}, got ''")
        former = self._entries.get(entry.name)
        if former is not None and former.module != entry.module:
            raise UsageError(
                f"expected a name for {self._what} of {entry.module} that is not taken, got {entry.name!r}, "
                f"which {former.module} has registered"
            )
        self._entries[entry.name] = entry

    def _plugins(self) -> dict[str, Entry[T]]:
        """Entries of installed packages whose names are not taken."""
        points: dict[str, list[EntryPoint]] = {}
        for point in packages.entry_points(self._group):
            if point.name not in self._entries:
                points.setdefault(point.name, []).append(point)
        return {name: Entry(name, "", partial(self._load, *same)) for name, same in sorted(points.items())}

    def _load(self, point: EntryPoint, *others: EntryPoint) -> T:
        """What one package offers; of several packages with one name, none is preferred."""
        if others:
            named = ", ".join(packages.package_of(one) for one in (point, *others))
            raise UsageError(f"expected one package with {self._what} {point.name!r}, got {named}")
        found = packages.load(point, self._what, self._failure)
        try:
            return self._adapt(point.name, found)
        except SlimpruneError as error:
            raise type(error)(f"package {packages.package_of(point)}: {error}") from error

    def _described(self, entry: Entry[T]) -> str:
        if entry.module:
            return entry.description
        try:
            entry.load()
        except SlimpruneError as error:
            return f"unavailable: {error}"
        point = next(one for one in packages.entry_points(self._group) if one.name == entry.name)
        return f"{description_of(point.load())} ({packages.package_of(point)})"

    def _refused(self) -> Iterator[tuple[str, str]]:
        """Entry points that have the name of something of slimprune's own."""
        for point in packages.entry_points(self._group):
            if point.name in self._entries and self._entries[point.name].built_in:
                package = packages.package_of(point)
                yield point.name, f"package {package} cannot take the name of slimprune's own {point.name}"


def description_of(thing: object) -> str:
    """The `description` of a thing, or the first line of its docstring."""
    text = getattr(thing, "description", None) or inspect.getdoc(thing) or "without a description"
    return str(text).splitlines()[0]


def kind_of(thing: object) -> str:
    """What a thing is, for errors that expected something else."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__} object"
