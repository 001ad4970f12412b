"""YAML that people write: no bombs of aliases, no key that silently replaces another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from trainer.data.files import cut, read_text
from trainer.errors import UserError

_MOST_BYTES, _MOST_VALUES = 1_000_000, 10_000  # our choice: a config has some 200 values


def read_yaml(path: str | Path, what: str) -> Any:
    """The value in a file; see `load_yaml`.

    Raises:
      UserError: it cannot be read, or is too long.
    """
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size > _MOST_BYTES:
        raise UserError(f"{path}: {size} bytes are too many; give {what}")
    return load_yaml(read_text(path, what), str(path))


def load_yaml(text: str, where: str) -> Any:
    """The value that a text stands for; aliases are copies, so that a change of one (`--set`) is none of the others.

    Args:
      where: the file or option, for messages.

    Raises:
      UserError: no YAML, too many values, or a key given twice; on one line.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, where, {}) > _MOST_VALUES:
            raise UserError(f"{where}: stands for more than {_MOST_VALUES} values; do aliases (*name) multiply them?")
        return _apart(loader.construct_document(node))
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"{where}: not valid YAML (nested too deeply, or an alias inside itself)") from None
    except Exception as error:  # PyYAML raises many kinds on odd values, such as the date 2024-99-99
        raise UserError(f"{where}: not valid YAML ({cut(' '.join(str(error).split()), 300)})") from None
    finally:
        if loader is not None:
            loader.dispose()


def _apart(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _apart(one) for key, one in value.items()}
    return [_apart(one) for one in value] if isinstance(value, list) else value


def _size(node: yaml.Node, where: str, sizes: dict[yaml.Node, int]) -> int:
    """Values behind a node with every alias written out."""
    if node not in sizes:
        total = 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            total += sum(_size(value, where, sizes) + _size(key, where, sizes) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(_size(value, where, sizes) for value in node.value)
        sizes[node] = total
    return sizes[node]


def _check_keys(node: yaml.MappingNode, where: str) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise UserError(f"{where}: line {line}: the key '{cut(key.value)}' is given twice; keep one")
            seen.add(key.value)
