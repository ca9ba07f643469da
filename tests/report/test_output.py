"""Files are written whole or not at all, and refused before the work begins."""

import errno
import json
from pathlib import Path

import pytest

from reidtune.errors import ReidtuneError, SettingsError
from reidtune.report.output import check_output, check_sheet, write_result


def test_a_result_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch):
    target = tmp_path / "new" / "result.json"
    write_result({"a": 1}, target)
    assert json.loads(target.read_text()) == {"a": 1}

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReidtuneError, match="result.json could not be written: No space left on device"):
        write_result({"a": 2}, target)
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["result.json"]


def test_outputs_are_checked_before_the_work(tmp_path):
    check_output(tmp_path / "a.json", force=False)
    check_sheet(tmp_path / "a.PNG")
    with pytest.raises(SettingsError, match="is a folder"):
        check_output(tmp_path, force=True)
    with pytest.raises(SettingsError, match="is a folder"):
        check_sheet(tmp_path)
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(SettingsError, match="exists"):
        check_output(tmp_path / "a.json", force=False)
    check_output(tmp_path / "a.json", force=True)
    for ending in (".safetensors", "", ".psd"):  # Pillow reads the last, and writes none of them
        with pytest.raises(SettingsError, match="no kind of picture"):
            check_sheet(tmp_path / f"lists{ending}")
