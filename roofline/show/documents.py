"""Tables and pictures as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

from roofline.show.table import Table


def markdown(tables: Iterable[Table]) -> str:
    """Tables as Markdown."""
    out = []
    for table in tables:
        title, _, under = table.title.partition("\n")
        out += [f"## {_md(title)}", ""] + ([_md(under), ""] if under else [])
        out.append("| " + " | ".join(_md(c.lstrip(">")) for c in table.columns) + " |")
        out.append("| " + " | ".join("---:" if c.startswith(">") else "---" for c in table.columns) + " |")
        out += ["| " + " | ".join(_md(cell) for cell in row) + " |" for row in table.rows]
        out += [""] + [f"{_md(note)}\n" for note in table.notes]
    return "\n".join(out)


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .6rem 0 1rem; font-variant-numeric: tabular-nums; }
th, td { padding: .18rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
.r { text-align: right; } h2 { margin: 1.8rem 0 .2rem; font-size: 1.15rem; } svg { max-width: 100%; height: auto; }
"""


def html_page(title: str, tables: Iterable[Table], pictures: Sequence[Any] = ()) -> str:
    """One self-contained page: tables, and matplotlib Axes as inline SVG. Nothing is loaded from elsewhere."""
    import html

    body = []
    for table in tables:
        heading, _, under = table.title.partition("\n")
        body.append(f"<h2>{html.escape(heading)}</h2>" + (f"<p>{html.escape(under)}</p>" if under else ""))
        side = ["r" if c.startswith(">") else "" for c in table.columns]
        body.append(
            "<table><thead><tr>"
            + "".join(
                f'<th class="{s}">{html.escape(c.lstrip(">"))}</th>' for c, s in zip(table.columns, side, strict=True)
            )
            + "</tr></thead><tbody>"
        )
        for row in table.rows:
            cells = (f'<td class="{s}">{html.escape(cell)}</td>' for cell, s in zip(row, side, strict=True))
            body.append("<tr>" + "".join(cells) + "</tr>")
        body.append("</tbody></table>")
        body += [f"<p>{html.escape(note)}</p>" for note in table.notes]
    for ax in pictures:
        buffer = io.StringIO()
        ax.figure.savefig(buffer, format="svg")
        body.append(buffer.getvalue()[buffer.getvalue().index("<svg") :])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
