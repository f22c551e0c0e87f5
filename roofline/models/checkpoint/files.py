"""What lies beside a ``config.json``: the quantiser's own file, the index of the weights, the weights' headers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from roofline.models.checkpoint.modules import BESIDE
from roofline.models.fields import Fields, read_json

INDEX = "model.safetensors.index.json"

#: How much of an index is looked at for its total, at either end; an index of 100,000 tensors is 10 MB.
_ENDS = 1 << 16
_TOTAL = re.compile(rb'"total_size"\s*:\s*"?([0-9]{1,18})(?:\.0*)?"?\s*[,}]')

#: No header is larger (safetensors' own limit), and no checkpoint has more files.
_MOST_HEADER, _MOST_FILES = 100_000_000, 10_000
_MOST_INDEX = 200_000_000


@dataclass(frozen=True)
class Files:
    """The weights' files of a checkpoint.

    Attributes
    ----------
    size : int
        Bytes of all tensors.
    source : str
        What says so: ``"model.safetensors.index.json"``, ``"the headers of 4 safetensors files"``.
    folder : Path
        Where they lie.
    """

    size: int
    source: str
    folder: Path

    def beside(self, depth: int) -> list[str]:
        """Parts in the files that are no layer of a model of `depth` layers: prediction heads, towers."""
        found = {_part(name, depth) for name in tensors(self.folder)}
        return sorted(part for part in found if part)


def quantiser_file(folder: Path) -> Fields | None:
    """The ``hf_quant_config.json`` that ModelOpt writes beside a ``config.json``; None where there is none."""
    path = folder / "hf_quant_config.json"
    return Fields(read_json(path), str(path)) if path.is_file() else None


def weight_files(folder: Path) -> Files | None:
    """The size that a folder's index or headers say its weights have; None where neither can be read."""
    index = folder / INDEX
    if index.is_file() and (size := _index_total(index)):
        return Files(size, INDEX, folder)
    headers = [_header(path) for path in _shards(folder)]
    if not headers or not all(headers):
        return None
    size = sum(_tensor_bytes(header) for header in headers if header)
    plural = "s" if len(headers) > 1 else ""
    return Files(size, f"the header{plural} of {len(headers)} safetensors file{plural}", folder) if size else None


def tensors(folder: Path) -> list[str]:
    """The names of all tensors, as the index or the headers have them."""
    try:
        index = folder / INDEX
        if index.is_file() and index.stat().st_size <= _MOST_INDEX:
            found = json.loads(index.read_bytes()).get("weight_map")
            return list(found) if isinstance(found, dict) else []
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    return [name for path in _shards(folder) for name in _header(path) or {} if name != "__metadata__"]


def _part(name: str, depth: int) -> str:
    """The part that a tensor belongs to, if it is none of the layers; ``"layer 61"`` beyond the last."""
    known = next((part for part in BESIDE if name.startswith(f"{part}.") or f".{part}." in name), "")
    if known:
        return known
    layer = re.search(r"(?:^|\.)layers\.([0-9]+)\.", name)
    return f"layer {layer[1]}" if layer and int(layer[1]) >= depth else ""


def _index_total(path: Path) -> int:
    """The `total_size` of an index, found at either end of it; 0 where it has none."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_ENDS)
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _ENDS))
            found = _TOTAL.search(start) or _TOTAL.search(stream.read(_ENDS))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))[:_MOST_FILES]


def _header(path: Path) -> dict[str, dict[str, object]]:
    """The header of a safetensors file; empty for what is none, such as a pointer to one that was not fetched."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= min(_MOST_HEADER, path.stat().st_size):
                return {}
            header = json.loads(stream.read(length))
    except (OSError, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _tensor_bytes(header: dict[str, dict[str, object]]) -> int:
    spans = (tensor.get("data_offsets") for name, tensor in header.items() if name != "__metadata__")
    return sum(int(span[1]) - int(span[0]) for span in spans if _is_span(span) and isinstance(span, list))


def _is_span(span: object) -> bool:
    return isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)


def told(parts: Iterable[str]) -> str:
    """Parts as a phrase: ``"layer 61 and vision_tower"``."""
    *most, last = list(parts)
    return f"{', '.join(most)} and {last}" if most else last
