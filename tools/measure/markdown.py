"""Make Markdown tables and insert them into a document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mbv2_backbone.common.messages import UserError


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)


def put_between(path: str, name: str, content: str) -> None:
    """Replace what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->` in a file.

    Raises:
        UserError: If the file has not one pair of these lines.
    """
    begin, end = f'<!-- {name}:begin -->', f'<!-- {name}:end -->'
    try:
        text = Path(path).read_text(encoding='utf-8')
    except OSError as error:
        raise UserError(f'cannot read {path}: {error}') from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f'{path} needs one line {begin} and after it one line {end}')
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    Path(path).write_text(f'{head}{begin}\n{content}\n{end}{tail}', encoding='utf-8')
