"""Reading files that anybody may have written: how much they unpack to is bounded, whatever they are packed with."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from roofline.base.errors import BadData, shown

if TYPE_CHECKING:
    import pandas as pd

#: Larger than any profile or table of measurements worth reading; a file (or what it unpacks to) beyond is refused.
MAX_BYTES = 400_000_000

#: Rows, columns and cells of a table: a small file may claim many of them.
MAX_ROWS, MAX_COLUMNS, MAX_CELLS = 2_000_000, 1_000, 30_000_000

_GZIP, _BZIP2, _XZ, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, if there is a regular file.

    Raises
    ------
    BadData
    """
    file = Path(path).expanduser()
    try:
        if file.is_file():
            return file
        what = "is a folder, expected a file" if file.is_dir() else "no such file"
        if file.exists() and not file.is_dir():
            what = "is a device or pipe, expected a file"
    except (OSError, ValueError) as error:  # a name too long, a NUL byte
        what = f"cannot be read: {error}"
    raise BadData(f"{shown(str(file))[1:-1]}: {what}")


def unpacked(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """What a file holds, unpacked where its first bytes are those of gzip, bzip2, xz or zip.

    Parameters
    ----------
    path : path
    most : int, optional
        Bytes beyond which it is refused, before and after unpacking; default :data:`MAX_BYTES`.

    Raises
    ------
    BadData
        When there is no such file, it cannot be unpacked, or holds more than `most`.
    """
    most = MAX_BYTES if most is None else most
    file = existing(path)
    try:
        with file.open("rb") as stream:
            head = stream.read(6)
            stream.seek(0)
            with _opened(stream, head) as inner:
                data: bytes = inner.read(most + 1)
    except BadData as error:
        raise BadData(f"{file}: {error}") from None
    except (OSError, EOFError) as error:
        raise BadData(f"{file}: cannot be read: {error}") from None
    except Exception as error:  # each library of compression has errors of its own for a damaged archive
        raise BadData(f"{file}: cannot be unpacked: {error}") from None
    if len(data) > most:
        packed = file.stat().st_size
        found = f"{packed:,}" if packed > most else f"a file of {packed:,} that unpacks to more"
        raise BadData(f"{file}: expected at most {most:,} bytes, found {found}")
    return data


def _opened(stream: IO[bytes], head: bytes) -> Any:
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(_BZIP2):
        return bz2.BZ2File(stream)
    if head.startswith(_XZ):
        return lzma.LZMAFile(stream)
    if head.startswith(_ZIP):
        archive = zipfile.ZipFile(stream)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise BadData(f"expected a zip archive of one file, found {len(names)}")
        return archive.open(names[0])
    return contextlib.nullcontext(stream)


def text(path: str | os.PathLike[str], most: int | None = None) -> str:
    """What :func:`unpacked` gives, as UTF-8 text (with or without the mark that Windows editors write).

    Raises
    ------
    BadData
    """
    try:
        return unpacked(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: expected UTF-8 text, found other bytes ({error.reason} at {error.start})") from None


def within(file: str, rows: int, columns: int) -> None:
    """Refuse a table that is larger than any real one.

    Raises
    ------
    BadData
        Names what there are too many of.
    """
    for what, found, most in (
        ("columns", columns, MAX_COLUMNS),
        ("rows", rows, MAX_ROWS),
        ("cells", rows * columns, MAX_CELLS),
    ):
        if found > most:
            raise BadData(f"{file}: expected at most {most:,} {what}, found {found:,}")


def csv_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A CSV, packed or not, under the names that its header has (pandas renames a column that is there twice).

    Raises
    ------
    BadData
        When it is too large, or no CSV: names the line where one can be named.
    """
    import pandas as pd

    file = existing(path)
    content = text(file)
    lines = content.count("\n") + content.count("\r") + 1
    options: dict[str, Any] = {"header": None, "nrows": 1, "dtype": str, "keep_default_na": False}
    try:
        header = pd.read_csv(io.StringIO(content), **options).iloc[0]
        within(str(file), 1, len(header))
        if lines * len(header) > MAX_CELLS:  # count them as CSV has them: a cell may hold line ends
            counted = len(pd.read_csv(io.StringIO(content), usecols=[0], header=None, dtype=str, nrows=MAX_ROWS + 1))
            within(str(file), counted - 1, len(header))
        frame = pd.read_csv(io.StringIO(content), low_memory=False)
    except BadData:
        raise
    except Exception as error:  # pandas raises many types for a broken file
        raise BadData(f"{file}: cannot be read as CSV: {_reason(error)}") from None
    within(str(file), *frame.shape)
    return frame.set_axis(list(header), axis=1) if len(header) == frame.shape[1] else frame


def parquet_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A Parquet file of plain columns.

    A file of kilobytes may say one value a billion times: what it claims is checked before anything is unpacked, and
    what comes out is counted batch by batch.

    Raises
    ------
    BadData
        When it is too large, no Parquet, has nested columns, or pyarrow is not installed.
    """
    file = existing(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BadData(f"{file}: reading Parquet needs pyarrow: pip install pyarrow ({error})") from None
    if file.stat().st_size > MAX_BYTES:
        raise BadData(f"{file}: expected at most {MAX_BYTES:,} bytes, found {file.stat().st_size:,}")
    try:
        with pq.ParquetFile(file) as looked_at:
            metadata, schema = looked_at.metadata, looked_at.schema_arrow
        within(str(file), metadata.num_rows, len(schema.names))
        for field in schema:
            if pa.types.is_nested(field.type):
                raise BadData(f"{file}: column {field.name!r}: expected plain values, found {shown(str(field.type))}")
        # Words stay numbers into a list of them: a long one that every row repeats is there once.
        words = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        with pq.ParquetFile(file, read_dictionary=words) as source:
            claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
            if claimed > MAX_BYTES:
                raise BadData(f"{file}: expected at most {MAX_BYTES:,} bytes unpacked, found {claimed:,}")
            batches, size = [], 0
            for batch in source.iter_batches(batch_size=_BATCH):
                size += batch.nbytes
                if size > MAX_BYTES:
                    raise BadData(f"{file}: expected at most {MAX_BYTES:,} bytes unpacked, found more")
                batches.append(batch)
            frame: pd.DataFrame = pa.Table.from_batches(batches, source.schema_arrow).to_pandas()
    except BadData:
        raise
    except Exception as error:  # pyarrow raises many types for a broken file
        raise BadData(f"{file}: cannot be read as Parquet: {_reason(error)}") from None
    return frame


#: Rows unpacked at a time.
_BATCH = 65_536


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
