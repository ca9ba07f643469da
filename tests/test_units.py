import pytest

from reidtune.units import format_bytes, parse_bytes, percent, precise_bytes


def test_sizes_in_words():
    assert [precise_bytes(count) for count in (12, 1234, 5_120_000, 5.12e9)] == [
        "12 bytes",
        "1.23 kB",
        "5.12 MB",
        "5.12 GB",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (99_960, "100 kB"),
        (999_700, "1.0 MB"),
        (1_181_000, "1.2 MB"),
        (7_340_000_000, "7.3 GB"),
        (12_345_000_000_000, "12,345 GB"),
    ],
)
def test_bytes_in_powers_of_ten(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8e9), ("8gb", 8e9), ("7.5 GiB", 7.5 * 2**30), ("900M", 9e8), (" 64 KiB ", 65536), ("2000000", 2e6)],
)
def test_amounts_of_memory(text, count):
    assert parse_bytes(text) == count


def test_percents():
    assert [percent(fraction) for fraction in (0.0, 0.73149, 1.0, None)] == ["0.0", "73.1", "100.0", "–"]
