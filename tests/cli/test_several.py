"""Options that take several values at once."""

import pytest

from reidtune.cli.several import spread


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("--f a b --l c d -q", "--f a --f b --l c --l d -q"),
        ("x --f a --other b c --f d", "x --f a --other b c --f d"),
        ("--f=a b", "--f=a --f b"),
        ("--f a --f b", "--f a --f b"),
        ("--f a b -- c d --f e f", "--f a --f b -- c d --f e f"),
        ("--f", "--f"),
        ("", ""),
    ],
)
def test_spread(given, wanted):
    assert spread(given.split(), ("--f", "--l")) == wanted.split()
