import errno
import os

import pytest

from reidtune import files
from reidtune.files import not_written, remove_partials, rename, whole_file, write_whole


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.txt"
    write_whole(target, "ü\n")
    assert target.read_bytes() == "ü\n".encode()
    with pytest.raises(KeyboardInterrupt), whole_file(target) as file:
        file.write(b"half")
        assert target.read_bytes() == "ü\n".encode()
        raise KeyboardInterrupt
    assert target.read_bytes() == "ü\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_private_file_is_its_owners_alone_from_the_beginning(tmp_path):
    with whole_file(tmp_path / "a", private=True):
        [unfinished] = tmp_path.iterdir()
        assert unfinished.stat().st_mode & 0o777 == 0o600
    write_whole(tmp_path / "b", b"x", private=True)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_content_is_on_the_disk_before_the_name_and_the_name_after_it(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1])
    write_whole(tmp_path / "a", b"x")
    assert done == ["fsync", "replace", "fsync"]
    rename(tmp_path / "a", tmp_path / "b")
    assert done[3:] == ["replace", "fsync"]


def test_only_our_own_leftovers_are_removed(tmp_path):
    for name in (".a.pt.0123abcd.partial", "mine.partial", ".hidden.partial", "a.pt"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / ".a.pt.0123abcd.partial").touch()
    remove_partials(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.partial", ".hidden.partial", "a.pt", "below"}
    assert list((tmp_path / "below").iterdir())
    remove_partials(tmp_path / "missing")


def test_what_could_not_be_written_is_said_with_its_reason(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    error = not_written(tmp_path / "a", full, "Make room.", "The state ")
    assert error.message == f"The state {tmp_path / 'a'} could not be written: No space left on device."
    assert error.hint == "Make room."
    (tmp_path / "a").touch()
    assert not_written(tmp_path / "a", RuntimeError("broken\nstack"), "").message.endswith(
        "could not be written: broken. The earlier file of that name is untouched."
    )
    assert files.reason(MemoryError()) == "MemoryError"
