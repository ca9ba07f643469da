"""What a survey finds: errors, warnings and facts, each a sentence with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reidtune.data.scan import show

ERROR, WARNING, FACT = "error", "warning", "fact"
LEVELS = (ERROR, WARNING, FACT)
EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """Something found: an ``error`` (the data cannot be trained on or evaluated as it is), a ``warning`` (numbers
    will mean less than they seem) or a ``fact``. ``kind`` names it for programs, ``count`` is how many it is about,
    ``hint`` what to do, ``examples`` some of them."""

    level: str
    kind: str
    count: int
    sentence: str
    hint: str = ""
    examples: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def counted(number: int, one: str, many: str = "") -> str:
    """``1 image``, ``1,234 images``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some(names: Iterable[str]) -> list[str]:
    """The first few, as they may be printed."""
    found = []
    for name in names:
        found.append(show(name))
        if len(found) == EXAMPLES:
            break
    return found


def below(path: Path, root: Path) -> str:
    """``path`` relative to ``root`` where it lies there."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then facts."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
