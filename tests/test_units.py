from reidtune.units import precise_bytes


def test_sizes_in_words():
    assert [precise_bytes(count) for count in (12, 1234, 5_120_000, 5.12e9)] == [
        "12 bytes",
        "1.23 kB",
        "5.12 MB",
        "5.12 GB",
    ]
