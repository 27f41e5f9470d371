from pathlib import Path

import pytest

from clusterlab.durable import replacing, write_text


def test_text_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path):
    for text in ("first\n", "zweiter ü\n"):
        write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == "zweiter ü\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")

    def fail_half_way() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_final_name_appears_only_when_the_block_is_done(tmp_path: Path):
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "whole"
