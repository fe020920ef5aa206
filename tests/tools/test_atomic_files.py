"""Files appear whole or not at all."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archdsl.atomic_files import atomic, write_text


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with atomic(target) as file:
        file.write(b"first ")
        assert not target.exists()
        file.write(b"second")
    assert target.read_bytes() == b"first second"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, problem: BaseException) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    with pytest.raises(type(problem)), atomic(target) as file:
        file.write(b"half")
        raise problem
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "real.py").write_text("old")
    link = tmp_path / "link.py"
    link.symlink_to(folder / "real.py")
    write_text(link, "new")
    assert link.is_symlink()
    assert (folder / "real.py").read_text() == "new"


def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path: Path) -> None:
    plain, target = tmp_path / "plain", tmp_path / "target"
    plain.write_text("x")
    write_text(target, "x")
    assert target.stat().st_mode == plain.stat().st_mode
    target.chmod(0o600)
    write_text(target, "y")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (tmp_path, pipe):
        with pytest.raises(FileExistsError), atomic(target):
            raise AssertionError("never begun")
    assert pipe.is_fifo()


def test_line_breaks_are_written_as_they_are(tmp_path: Path) -> None:
    write_text(tmp_path / "x.py", "a\nb\r\nπ")
    assert (tmp_path / "x.py").read_bytes() == b"a\nb\r\n\xcf\x80"


def test_a_killed_process_tears_nothing(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.write_bytes(b"old")
    program = (
        "import sys\nfrom archdsl.atomic_files import atomic\n"
        "with atomic(sys.argv[1]) as file:\n"
        "    while True: file.write(bytes(1 << 16))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(target)])
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert target.read_bytes() == b"old"
