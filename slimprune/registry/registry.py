"""Objects of one kind by name: slimprune's own, those of installed packages, and the user's code."""

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
    """One named object.

    Attributes:
        name: Name under which it is found.
        description: One line for users.
        load: Function that imports and returns the object.
        takes: Placeholder for the text after the name and a colon, such as "DIR"; "" if there is none.
        module: Module that registered it; "" for an entry point of a package.
    """

    name: str
    description: str
    load: Callable[[], T]
    takes: str = ""
    module: str = ""

    @property
    def shown(self) -> str:
        """The name with the placeholder of what follows it, as shown to users."""
        return f"{self.name}:{self.takes}" if self.takes else self.name

    @property
    def built_in(self) -> bool:
        """Whether the object is slimprune's own."""
        return self.module.partition(".")[0] == __package__.partition(".")[0]


class Registry(Generic[T]):
    """All objects of one kind by name.

    A name is looked up first among the registered objects, then among the entry points of installed packages. Otherwise
    it refers to the user's code, as `file.py:NAME` or `package.module:NAME`. Entry points are imported only when they
    are needed, and cannot take the name of a registered object.

    Args:
        what: Kind with its article, as used in errors: "a criterion".
        group: Group of the entry points that are entries.
        noun: Expected kind of user code, with its article: "a criterion class".
        adapt: Function of the name and the object that an entry point or the user's code provides under it; returns the
            adapted object or raises `failure`.
        failure: Error to raise if code fails.
        others: Names that are handled elsewhere, for error messages.
        listing: Command that lists the names, for kinds with more names than fit an error message.
        code: Whether a name may refer to the user's code.
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
        """Register an object; a module may register the same name again, for instance when it is reloaded.

        Args:
            name: A name that is not taken.
            description: One line for users.
            thing: Object to register.
            module: Name of the module that defines it; None at an interactive prompt.
            takes: Placeholder for the text after the name and a colon; "" if there is none.

        Raises:
            UsageError: If the name is empty or taken.
        """
        self._put(Entry(name, description, lambda: thing, takes, module or "__main__"))

    def declare(self, name: str, description: str, target: str, *, takes: str = "") -> None:
        """Register the object at "package.module:attribute" without importing it; see `add` for the arguments."""
        module, _, attribute = target.partition(":")

        def load() -> T:
            return self._adapt(name, getattr(import_module(module), attribute))

        self._put(Entry(name, description, load, takes, module))

    def find(self, name: str) -> T:
        """Return the object of that name.

        Raises:
            UsageError: If the name is unknown.
            SlimpruneError: If the code that provides it fails or provides something else; the type is the `failure` of
                the registry.
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
        """Split a name from the text after it: "folder:images" into ("folder", "images").

        For a complete name or the user's code, the second part is empty. `unet:depth=3` is "unet" with "depth=3", but
        `unet:build` is code, because the built-in entry "unet" declares no text after its name.
        """
        head, _, rest = name.partition(":")
        entry = self.entry(head)
        if self.entry(name) is not None or entry is None:
            return name, ""
        whole = entry.built_in and not entry.takes and names_code(name)
        return (name, "") if whole else (head, rest)

    def is_user_code(self, name: str) -> bool:
        """Return whether the name refers to code that is neither slimprune's nor an installed package's."""
        return self._code and names_code(name) and self.entry(self.split(name)[0]) is None

    def entry(self, name: str) -> Entry[T] | None:
        """Return the entry of exactly that name, registered or from an installed package; None if there is none."""
        return self._entries.get(name) or self._plugins().get(name)

    def entries(self) -> list[Entry[T]]:
        """Return all entries, the registered ones first; those of installed packages may fail to load."""
        return [*self._entries.values(), *self._plugins().values()]

    def available(self) -> dict[str, T]:
        """Return all objects that can be loaded, by name."""
        found = {}
        for entry in self.entries():
            try:
                found[entry.name] = entry.load()
            except SlimpruneError:
                continue
        return found

    def rows(self) -> list[tuple[str, str]]:
        """Return for every entry how it is written, and its description or why it is unavailable."""
        refused = [(name, f"unavailable: {why}") for name, why in self._refused()]
        return [*((entry.shown, self._described(entry)) for entry in self.entries()), *refused]

    def unknown(self, name: str) -> UsageError:
        """Return the error for an unknown name."""
        written = [*(entry.shown for entry in self.entries()), *self._others]
        known = [f"a name of `{self._listing}`"] if self._listing else written
        accepted = ", ".join([*known, *([OWN_CODE] if self._code else [])])
        return UsageError(f"expected {self._what} ({accepted}), got {name!r}{did_you_mean(name, written)}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of all entries."""
        return (entry.name for entry in self.entries())

    def __contains__(self, name: object) -> bool:
        """Return whether there is an entry of that name."""
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
        """Return the entries of installed packages whose names are not taken."""
        points: dict[str, list[EntryPoint]] = {}
        for point in packages.entry_points(self._group):
            if point.name not in self._entries:
                points.setdefault(point.name, []).append(point)
        return {name: Entry(name, "", partial(self._load, *same)) for name, same in sorted(points.items())}

    def _load(self, point: EntryPoint, *others: EntryPoint) -> T:
        """Load the object of one package; raise `UsageError` if several packages use the same name."""
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
        """Yield the name and the reason for each entry point that has the name of a built-in entry."""
        for point in packages.entry_points(self._group):
            if point.name in self._entries and self._entries[point.name].built_in:
                package = packages.package_of(point)
                yield point.name, f"package {package} cannot take the name of slimprune's own {point.name}"


def description_of(thing: object) -> str:
    """Return the `description` of an object, or the first line of its docstring."""
    text = getattr(thing, "description", None) or inspect.getdoc(thing) or "without a description"
    return str(text).splitlines()[0]


def kind_of(thing: object) -> str:
    """Return what an object is, for errors that expected something else."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__} object"
