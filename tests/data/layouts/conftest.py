"""Tables of records, written by the tests themselves."""

import json

import pytest


@pytest.fixture
def table(tmp_path):
    """``table(text)`` writes it, ``table(rows, "table.jsonl")`` an object a line; both return the path."""

    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else "".join(json.dumps(row) + "\n" for row in text), "utf-8")
        return path

    return write
