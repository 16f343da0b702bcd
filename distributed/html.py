"""How things look in a notebook."""

from __future__ import annotations

from html import escape


def as_table(shown: str) -> str:
    """A `repr` of the form `<Title: name: value, ...>` as a small table of HTML, in which all is text.

    >>> as_table("<Future: status: finished, key: a&b>")[-45:]
    '<tr><td>key</td><td>a&amp;b</td></tr></table>'
    """
    title, _, rest = shown.strip("<>").partition(": ")
    head = f'<tr><th colspan="2" style="text-align: left">{escape(title)}</th></tr>'
    return f"<table>{head}{''.join(map(_row, rest.split(', ')))}</table>"


def _row(part: str) -> str:
    name, separator, value = part.partition(": ")
    cells = (name, value) if separator else ("", part)
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
