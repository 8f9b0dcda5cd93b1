"""What a row of the table is made of."""

import dataclasses


@dataclasses.dataclass
class View:
    """One figure of a row's samples, and its two goals. basis: `ratio` to the best yardstick, `value`
    itself, or what it has `added` to the yardstick. against: only yardsticks whose name begins so."""
    what: str
    metric: str
    unit: str
    higher: bool
    must: float
    aim: float
    basis: str = "ratio"
    against: str = ""


@dataclasses.dataclass
class Row:
    key: str
    size: str
    yards: list          # of (name, function of the harness -> sample)
    bellhop: object      # the same
    views: list
    rounds: int = 0      # at most so many; 0: as many as asked for


def size_text(size):
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"
