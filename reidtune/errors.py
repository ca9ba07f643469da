"""What users see when something is wrong: what happened, with which value, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReidtuneError(Exception):
    """An error meant for the user. ``message`` says what happened and with which value, ``hint`` what to do next.

    The command line prints both and leaves with :attr:`exit_code`; the Python API raises it as it is.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[ReidtuneError], tuple[str, str]]:
        return type(self), (self.message, self.hint)  # both parts survive a worker process


class SettingsError(ReidtuneError):
    """Usage or settings are wrong, or a named delta, recipe or backbone does not exist."""

    exit_code = 2


class DeltaError(ReidtuneError):
    """The delta does not fit the backbone, or is damaged."""

    exit_code = 3


class DataError(ReidtuneError):
    """The data is missing or bad."""

    exit_code = 4


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``' Did you mean "lora"?'`` for the nearest candidate of ``word``, or an empty string."""
    near = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f' Did you mean "{near[0]}"?' if near else ""
