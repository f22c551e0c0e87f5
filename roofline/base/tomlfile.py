"""TOML files that anybody may have written: read within bounds, every refusal naming the file; and written back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeAlias

from roofline.base.errors import BadDescriptor, shown
from roofline.base.kept import digest

#: What TOML calls a table: keys, and what they hold.
Table: TypeAlias = dict[str, Any]

#: Larger than any honest descriptor; a file beyond one of these is refused.
MAX_FILE_BYTES = 500_000
MAX_LINE = 4000
MAX_DEPTH = 16
MAX_BITS = 64  # of a whole number, as TOML has it

# A key of this many dots takes the parser quadratic time, and its result is too deep to walk.
_DEEP = re.compile(r"""\s*\[*\s*(?:(?:[\w-]+|"[^"]*"|'[^']*')\s*\.\s*){16}""")
# What could redraw a terminal or reverse the reading order of a page.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read(path: Path, most_bytes: int = MAX_FILE_BYTES, most_line: int = MAX_LINE) -> Table:
    """Parse one TOML file of at most so many bytes, in lines of at most so many characters.

    Raises
    ------
    BadDescriptor
        When it is no file, too large, not text, not TOML (with the line), or nested too deeply.
    """
    return _parsed(content(path, most_bytes), path, most_line)


def read_with_digest(path: Path) -> tuple[Table, str]:
    """A parsed TOML file, as :func:`read` gives it, and the digest of the very bytes that it was parsed from."""
    data = content(path)
    return _parsed(data, path, MAX_LINE), digest(data)


def _parsed(data: bytes, path: Path, most_line: int) -> Table:
    try:
        text = data.decode("utf-8-sig")  # Windows editors write the mark that this drops
    except UnicodeDecodeError as error:
        raise BadDescriptor(str(path), [f"cannot be read: expected UTF-8 text, found other bytes ({error})"]) from None
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > most_line:
            found = f"expected at most {most_line:,} characters, found {len(line):,}"
            raise BadDescriptor(str(path), [f"line {number}: {found}"])
        if _DEEP.match(line):
            raise BadDescriptor(str(path), [f"line {number}: nested too deeply"])
    import tomllib

    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise BadDescriptor(str(path), ["nested too deeply"]) from None
    except ValueError as error:  # tomllib's own error, with the line; int() on a number of thousands of digits
        raise BadDescriptor(str(path), [f"not valid TOML: {error}"]) from None
    problems = _unsafe(raw)
    if problems:
        raise BadDescriptor(str(path), problems)
    return raw


def content(path: Path, most_bytes: int = MAX_FILE_BYTES) -> bytes:
    """What stands in a file of at most so many bytes.

    Raises
    ------
    BadDescriptor
        When it is no file, too large, or cannot be read.
    """
    try:
        if path.is_dir():
            raise BadDescriptor(str(path), ["cannot be read: expected a file, found a folder"])
        if path.exists() and not path.is_file():
            raise BadDescriptor(str(path), ["cannot be read: expected a file, found a device or pipe"])
        with path.open("rb") as stream:
            data = stream.read(most_bytes + 1)
        if len(data) > most_bytes:
            size = path.stat().st_size
            raise BadDescriptor(str(path), [f"expected at most {most_bytes:,} bytes, found {size:,}"])
        return data
    except BadDescriptor:  # a ValueError, as a path that holds a NUL gives
        raise
    except ValueError as error:
        raise BadDescriptor(str(path), [f"not valid TOML: {error}"]) from None
    except OSError as error:
        raise BadDescriptor(str(path), [f"cannot be read: {error.strerror or error}"]) from None


def _unsafe(raw: Table) -> list[str]:
    """Nesting that nothing downstream could walk, numbers that no float holds, control characters in keys or text."""
    problems: list[str] = []
    waiting: list[tuple[str, object, int]] = [("", raw, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return [f"{path[:80]}: nested too deeply"]
        if isinstance(value, dict):
            for key, child in value.items():
                if _CONTROL.search(key):
                    problems.append(f"{path or 'top level'}: control character in the key {shown(key)}")
                else:
                    waiting.append((f"{path}.{key}" if path else key, child, depth + 1))
        elif isinstance(value, list):
            waiting += [(path, child, depth + 1) for child in value]
        elif type(value) is int and value.bit_length() >= MAX_BITS:
            problems.append(f"{path}: expected a number of at most {MAX_BITS} bits, found {shown(value)}")
        elif isinstance(value, str) and _CONTROL.search(value):
            problems.append(f"{path}: control character in {shown(value)}")
    return problems


def write(table: Table) -> str:
    """A table as TOML text; a table with a ``value`` (a figure) stands on one line. None is left out."""
    lines: list[str] = []
    _write(table, "", lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write(table: Table, path: str, lines: list[str]) -> None:
    inner = {key: v for key, v in table.items() if isinstance(v, dict) and "value" not in v}
    plain = {key: v for key, v in table.items() if key not in inner and v is not None}
    if path and (plain or not inner):
        lines += ["", f"[{path}]"]
    lines += [f"{_key(key)} = {_value(v)}" for key, v in plain.items()]
    for key, child in inner.items():
        _write(child, f"{path}.{_key(key)}" if path else _key(key), lines)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)  # TOML writes these as JSON does
    raise TypeError(f"cannot write {type(value).__name__} as TOML")
