import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from film import Film

from clusterlab.data.store import Stored, decode_once
from clusterlab.data.store_build import PACKED, PIXELS, STALE_AFTER
from clusterlab.data.store_manifest import MANIFEST
from clusterlab.errors import UserError

NUM = 1000
BLOCK = 64
"""Images, of a set this small."""
BROKEN = (5, 64, 65, 700, 999)

SLOW_JOB = f"""
import sys
from pathlib import Path
from clusterlab.data.store import decode_once
from film import Film
film = Film(num={NUM}, broken={BROKEN}, seconds=0.002)
decode_once(film.originals, range({NUM}), store_dir=Path(sys.argv[1]), memory_limit=1.0)
print(film.reads)
"""


def stored(film: Film, where: Path) -> Stored:
    return decode_once(film.originals, range(len(film)), store_dir=where, memory_limit=1.0)


def slow_job(where: Path) -> subprocess.Popen:
    search = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_JOB, where], env=os.environ | {"PYTHONPATH": search}, stdout=subprocess.PIPE
    )


def wait_for(what, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def records(where: Path) -> list[Path]:
    return sorted(where.glob("images-*.part/block-*.json"))


def content(where: Path) -> tuple[str, bytes, bytes]:
    (folder,) = (path for path in where.iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == [PIXELS, MANIFEST]
    return folder.name, (folder / PIXELS).read_bytes(), (folder / MANIFEST).read_bytes()


def interrupted(where: Path, *, after: int) -> None:
    """Leave what a job leaves that fails after so many images."""
    film = Film(num=NUM, broken=BROKEN)
    film.replace_read(lambda i: film.read(i) if film.reads < after else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stored(film, where)


def test_after_a_kill_only_the_rest_is_decoded_and_the_store_is_that_of_an_unbroken_run(tmp_path: Path):
    unbroken = stored(Film(num=NUM, broken=BROKEN), tmp_path / "unbroken")
    job = slow_job(tmp_path / "killed")
    wait_for(lambda: len(records(tmp_path / "killed")) >= 4)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert job.returncode == -signal.SIGKILL
    done = len(records(tmp_path / "killed"))
    assert 4 <= done < NUM // BLOCK
    film = Film(num=NUM, broken=BROKEN)
    resumed = stored(film, tmp_path / "killed")
    assert film.reads == NUM - done * BLOCK
    assert resumed.fingerprint == unbroken.fingerprint
    assert resumed.unreadable == unbroken.unreadable == tuple((f"frame {i}", "torn") for i in BROKEN)
    assert content(tmp_path / "killed") == content(tmp_path / "unbroken")


def test_two_processes_at_once_share_the_work(tmp_path: Path):
    jobs = [slow_job(tmp_path) for _ in range(2)]
    reads = [int(job.communicate(timeout=120)[0]) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert sum(reads) == NUM
    assert np.array_equal(stored(Film(num=NUM, broken=BROKEN), tmp_path).pixels[0], Film().pixels(0))


def test_a_second_job_takes_over_the_blocks_of_one_that_fails(tmp_path: Path):
    first, second = Film(num=NUM), Film(num=NUM)
    failing = threading.Event()

    def fail_later(i: int) -> np.ndarray:
        if second.reads:
            failing.set()
            raise ZeroDivisionError
        time.sleep(0.01)
        return first.read(i)

    first.replace_read(fail_later)
    errors: list[BaseException] = []

    def job() -> None:
        try:
            stored(first, tmp_path)
        except ZeroDivisionError as error:
            errors.append(error)

    thread = threading.Thread(target=job)
    thread.start()
    wait_for(lambda: first.reads > 0)
    found = stored(second, tmp_path)
    thread.join()
    assert failing.is_set()
    assert len(errors) == 1
    assert np.array_equal(found.pixels, np.stack([second.pixels(i) for i in range(NUM)]))


def test_a_block_whose_record_a_power_failure_emptied_is_decoded_again(tmp_path: Path):
    interrupted(tmp_path, after=500)
    done = records(tmp_path)
    assert len(done) >= 3
    done[1].write_text("")
    film = Film(num=NUM, broken=BROKEN)
    stored(film, tmp_path)
    assert film.reads == NUM - (len(done) - 1) * BLOCK


def test_pixels_without_room_for_all_images_are_made_anew(tmp_path: Path):
    interrupted(tmp_path, after=500)
    (pixels,) = tmp_path.glob(f"images-*.part/{PIXELS}")
    os.truncate(pixels, 1000)
    film = Film(num=NUM, broken=BROKEN)
    stored(film, tmp_path)
    assert film.reads == NUM


STEPS = "write_manifest", "PartialStore._remove_blocks", "sync_folder"


@pytest.mark.parametrize("broken", [BROKEN, ()], ids=["with gaps", "without gaps"])
@pytest.mark.parametrize("step", STEPS)
def test_a_job_that_ends_while_it_finishes_the_store_costs_no_decoding(tmp_path: Path, monkeypatch, step, broken):
    unbroken = stored(Film(num=NUM, broken=broken), tmp_path / "unbroken")
    monkeypatch.setattr(f"clusterlab.data.store_build.{step}", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stored(Film(num=NUM, broken=broken), tmp_path / "killed")
    monkeypatch.undo()
    film = Film(num=NUM, broken=broken)
    assert stored(film, tmp_path / "killed").fingerprint == unbroken.fingerprint
    assert film.reads == 0
    assert content(tmp_path / "killed") == content(tmp_path / "unbroken")


def test_a_job_that_ends_before_the_closed_gaps_take_their_place_costs_no_decoding(tmp_path: Path, monkeypatch):
    unbroken = stored(Film(num=NUM, broken=BROKEN), tmp_path / "unbroken")
    original = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: 1 / 0 if self.name == PACKED else original(self, to))
    with pytest.raises(ZeroDivisionError):
        stored(Film(num=NUM, broken=BROKEN), tmp_path / "killed")
    monkeypatch.undo()
    film = Film(num=NUM, broken=BROKEN)
    assert stored(film, tmp_path / "killed").fingerprint == unbroken.fingerprint
    assert film.reads == 0
    assert content(tmp_path / "killed") == content(tmp_path / "unbroken")


def test_leftovers_of_another_selection_stay_for_a_week_and_are_then_removed(tmp_path: Path):
    interrupted(tmp_path, after=500)
    (left,) = tmp_path.glob("images-*.part")
    stored(Film(num=100), tmp_path)
    assert left.exists()
    for path in (left, left / PIXELS):
        os.utime(path, times=(time.time() - STALE_AFTER - 60,) * 2)
    stored(Film(num=101), tmp_path)
    assert not left.exists()
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_an_image_of_another_shape_does_not_get_into_the_store(tmp_path: Path):
    film = Film(num=100)
    film.replace_read(lambda i: np.zeros((3, 5, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"frame \d+ was decoded to the shape \(3, 5, 4\)"):
        stored(film, tmp_path)


def test_damaged_originals_are_told_before_anything_is_decoded(tmp_path: Path):
    def check() -> None:
        raise UserError("the archive is damaged")

    film = Film(num=100)
    object.__setattr__(film.originals, "check", check)
    with pytest.raises(UserError, match="the archive is damaged"):
        stored(film, tmp_path)
    assert film.reads == 0


def test_a_store_that_was_removed_is_made_again(tmp_path: Path):
    first = stored(Film(num=100), tmp_path)
    shutil.rmtree(next(path for path in tmp_path.iterdir() if path.is_dir()))
    assert stored(Film(num=100), tmp_path).fingerprint == first.fingerprint
