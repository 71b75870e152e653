"""Extension by name: objects built into slimprune, offered by installed packages, or in the user's own code."""

from slimprune.registry.registry import Entry, Registry, description_of, kind_of
from slimprune.registry.user_code import call_with, code_file, importable, names_code

__all__ = ["Entry", "Registry", "call_with", "code_file", "description_of", "importable", "kind_of", "names_code"]
