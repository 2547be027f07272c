"""Reads YAML: `read_yaml` and `load_yaml` for files that users write, `load_packaged_yaml` for files of Touchstone itself.

Files of users are read strictly, with the line of every key for messages:

- Keys are text as it is written (`null` and `on` too). Duplicate keys, which YAML resolves silently to the last one, are
  reported.
- There are no dates and no tags; `<<` merges as in YAML 1.1.
- Limits on nesting, digits, and the size with expanded aliases keep a small file from exhausting memory.

Error messages contain nothing of the file's text, which may hold a password. For the same reason the errors have no cause:
Dagster stores causes, with the text that they quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from touchstone.core.errors import BadInputError
from touchstone.core.files import MOST_CONFIGURATION_BYTES, read_regular

MAX_NODES: Final = 100_000
"""Maximum keys and values with expanded aliases. Real files have hundreds; 500 bytes can expand to billions."""
MAX_DIGITS: Final = 40
"""Maximum digits of a number: Python itself refuses to convert one of 5,000."""
INVALID_CHARACTERS: Final = re.compile(r"[\x00\ud800-\udfff]")
"""Null characters and surrogates, which are valid in no path, database or ledger."""

Location = tuple[str, ...]
"""The keys and indices that lead to a value."""


class InvalidYamlError(ValueError):
    """A file is not YAML, or not in the subset that is read.

    Attributes:
        problem: What is wrong, without text of the file.
        line: The line, counted from 1; None if it is unknown.
        column: The column, counted from 1; None if it is unknown.
    """

    def __init__(self, problem: str, line: int | None = None, column: int | None = None) -> None:
        """Stores the problem and its position."""
        self.problem, self.line, self.column = problem, line, column
        super().__init__(problem if line is None else f"{problem}, in line {line}, column {column}")


@dataclass(frozen=True)
class DuplicateKey:
    """A key that occurs more than once in a mapping.

    Attributes:
        location: The key's location.
        line: Line of the later occurrence.
        column: Column of the later occurrence.
        first_line: Line of the earlier occurrence.
    """

    location: Location
    line: int
    column: int
    first_line: int


@dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file.

    Attributes:
        content: The content; of duplicate keys, the last one.
        lines: The line of every location.
        duplicate_keys: The duplicate keys, in the order of their lines.
    """

    content: Any
    lines: Mapping[Location, int]
    duplicate_keys: tuple[DuplicateKey, ...]

    def line(self, location: Sequence[str | int]) -> int:
        """Returns the line of a location, or of the nearest enclosing location that exists."""
        parts = tuple(map(str, location))
        known = (self.lines[parts[:end]] for end in range(len(parts), 0, -1) if parts[:end] in self.lines)
        return next(known, 1)


def read_yaml(path: Path) -> YamlFile:
    """Reads a file that a user wrote, and reports duplicate keys in the result.

    Args:
        path: The file.

    Raises:
        InvalidYamlError: The file is not YAML, or not in the subset that is read.
        OSError: The file cannot be read.
    """
    content = read_regular(path, MOST_CONFIGURATION_BYTES)
    try:
        text = content.decode()
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        duplicate_keys = tuple(_locate(node, (), lines, set()))
        value = None if node is None else loader.construct_document(node)
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode(errors="replace"))
        raise InvalidYamlError("it is not UTF-8", line, column) from None
    except RecursionError:
        raise InvalidYamlError("it is nested too deep") from None
    except yaml.reader.ReaderError as error:
        raise InvalidYamlError("a character that YAML does not allow", *_position(text[: error.position])) from None
    except yaml.MarkedYAMLError as error:
        # PyYAML names the alias or tag, which may be a password that starts with * or !.
        problem = re.sub(r"^(found undefined (alias|tag handle)) .*", r"\1", error.problem or "", flags=re.DOTALL)
        mark = error.problem_mark
        raise InvalidYamlError(problem, *((mark.line + 1, mark.column + 1) if mark else ())) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise InvalidYamlError("a number or an escaped character in it cannot be read") from None
    return YamlFile(value, lines, duplicate_keys)


def load_yaml(path: Path) -> Any:
    """Returns the content of a file that a user wrote.

    Args:
        path: The file.

    Raises:
        InvalidYamlError: The file is not YAML, not in the subset that is read, or has duplicate keys.
        OSError: The file cannot be read.
    """
    file = read_yaml(path)
    for key in file.duplicate_keys:
        raise InvalidYamlError(f"the key {key.location[-1]!r} is given twice", key.line, key.column)
    return file.content


def load_packaged_yaml(path: Path) -> Any:
    """Returns the content of a YAML file that is part of Touchstone.

    It uses libyaml, which takes a tenth of the time: the descriptions of the dbt project are long.

    Args:
        path: The file.

    Raises:
        BadInputError: The file cannot be read, or is not YAML: the installation is damaged.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInputError(f"{path} cannot be read as YAML: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    """YAML without dates and tags, whose keys are text, and with limits."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML keeps it as a plain attribute of the class
        first: [
            (tag, pattern)
            for tag, pattern in kinds
            if tag.rpartition(":")[2] in {"null", "bool", "int", "float", "merge"}
        ]
        for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Composes a node without a tag: tags create objects of other types, or fail on their values."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-pyyaml gives it no types
        if getattr(event, "tag", None) is not None:
            raise _invalid(
                "what starts with ! is a tag, and has no place here; if it is text, put it into quotes", event
            )
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Composes a scalar."""
        node = super().compose_scalar_node(anchor)
        if INVALID_CHARACTERS.search(node.value):
            raise _invalid("a null character or half a character (a surrogate) has no place here", node)
        if node.tag.endswith((":int", ":float")) and len(node.value) > MAX_DIGITS:
            raise _invalid(f"a number has more than {MAX_DIGITS} digits; if it is text, put it into quotes", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Composes a mapping whose keys are text."""
        node = super().compose_mapping_node(anchor)
        for index, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                raise _invalid("a key is a map or a list, and must be a word", key)
            if not _is_merge(key):
                text = yaml.ScalarNode(self.DEFAULT_SCALAR_TAG, key.value, key.start_mark, key.end_mark)
                node.value[index] = (text, value)
        return node

    def construct_document(self, node: Any) -> Any:
        """Constructs the content, unless it is too large with expanded aliases."""
        _count(node, {})
        return super().construct_document(node)


def _is_merge(key: yaml.Node) -> bool:
    return key.tag == "tag:yaml.org,2002:merge"


def _locate(
    node: yaml.Node | None, location: Location, lines: dict[Location, int], seen: set[int]
) -> Iterator[DuplicateKey]:
    """Stores the line of each location, and yields the duplicate keys."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, member in enumerate(node.value):
            yield from _locate(member, (*location, str(index)), lines, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner, mark = (*location, str(key.value)), key.start_mark
            if inner in lines and not _is_merge(key):
                yield DuplicateKey(inner, mark.line + 1, mark.column + 1, lines[inner])
            lines[inner] = mark.line + 1
            yield from _locate(value, inner, lines, seen)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Returns the number of nodes below a node with expanded aliases; refuses too many, and cycles."""
    if counts.get(id(node)) == 0:
        raise _invalid("a map or list holds itself", node)
    if id(node) not in counts:
        counts[id(node)] = 0
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        count = 1
        for child in children:
            count += _count(child, counts)
            if count > MAX_NODES:
                raise _invalid(f"with its aliases written out it has more than {MAX_NODES:,} keys and values", node)
        counts[id(node)] = count
    return counts[id(node)]


def _invalid(problem: str, node: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _position(text: str) -> tuple[int, int]:
    """Returns line and column of the character after a text."""
    return text.count("\n") + 1, len(text) - text.rfind("\n")
