"""YAML files in which a key that appears twice is an error rather than the last one winning."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Parse one YAML file into plain lists, dicts and scalars.

    Raises OSError if it cannot be read and yaml.YAMLError (with line and column) if it is no YAML,
    repeats a key, or asks for anything but plain data.
    """
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=_UniqueKeyLoader)
