"""The size of a YAML text once its aliases are written out, found without building it."""

import yaml

from slimprune.errors import UsageError

DEEPEST = 20
"""Most levels of lists and mappings inside each other."""
MOST_VALUES = 100_000
"""Most values of a file, with those that aliases repeat."""


def check_size(text: str) -> None:
    """Check that a YAML text is neither deep nor, with its aliases written out, large.

    A few lines of aliases to aliases stand for billions of values, and deep nesting ends the parser's stack.

    Raises:
        UsageError: If it is too deep or too large, or an alias stands inside of what it repeats.
        yaml.YAMLError: If the text is not YAML.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise UsageError(f"expected no alias inside of what it repeats, got *{event.anchor}")
            total += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_nodes) > DEEPEST:
            raise UsageError(f"expected at most {DEEPEST} levels of lists and mappings, got more")
        if total > MOST_VALUES:
            raise UsageError(f"expected at most {MOST_VALUES:,} values, aliases written out, got more")
