"""Names of a model's classes: from its ONNX metadata or from a file."""

import ast
import json
from pathlib import Path
from typing import Optional, Tuple

from .errors import ModelError


def parse_names(value) -> Tuple[str, ...]:
    """Class names from a list, or from a dictionary of class number to name.

    Raises ModelError unless every class from 0 on has exactly one name.
    """
    if isinstance(value, dict):
        try:
            numbered = {int(number): name for number, name in value.items()}
        except (TypeError, ValueError):
            raise ModelError("class names: the keys of the dictionary must be class numbers") from None
        if sorted(numbered) != list(range(len(numbered))):
            raise ModelError(f"class names: numbers must be 0..{len(numbered) - 1}, each once; got {sorted(numbered)}")
        value = [numbered[i] for i in range(len(numbered))]
    if not isinstance(value, (list, tuple)) or not value:
        raise ModelError("class names must be a list of names or a dictionary of class number to name")
    if not all(isinstance(name, (str, int)) and str(name).strip() for name in value):
        raise ModelError("class names: every name must be a text that is not empty")
    return tuple(str(name).strip() for name in value)


def names_from_metadata(text: str) -> Optional[Tuple[str, ...]]:
    """Names as Ultralytics writes them into a model: the ``repr`` of a dict (or JSON). None if it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse_names(parse(text))
        except (ValueError, SyntaxError, ModelError, RecursionError, MemoryError):
            continue
    return None


def names_from_file(path) -> Tuple[str, ...]:
    """Names from a text file (one a line, class 0 first) or a JSON file (list, dictionary, or ``{"names": ...}``).

    Raises
    ------
    ModelError
        If the file cannot be read or has no names.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"class names {path}: {reason}; give a text file with one name a line, or JSON") from None
    except UnicodeDecodeError:
        raise ModelError(f"class names {path}: not UTF-8 text; give one name a line, or JSON") from None
    try:
        if path.suffix.lower() == ".json":
            try:
                value = json.loads(text)
            except ValueError as error:
                raise ModelError(f"not JSON ({error})") from None
            return parse_names(value["names"] if isinstance(value, dict) and "names" in value else value)
        if path.suffix.lower() in (".yaml", ".yml"):
            raise ModelError("YAML is not read; give a text file with one name a line, or JSON")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise ModelError("the file is empty; write one name a line, class 0 first")
        return parse_names(lines)
    except ModelError as error:
        raise ModelError(f"class names {path}: {error}") from None
