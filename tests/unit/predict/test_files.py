import pandas as pd
import pytest

from clusterlab import progress
from clusterlab.errors import UserError
from clusterlab.predict.command import main


def test_an_empty_list_is_one_clear_line(run_dir, tmp_path):
    pd.DataFrame({"path": pd.Series([], dtype=str)}).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(UserError, match="there are no images to label"):
        main([str(run_dir), str(tmp_path / "list.parquet"), "--output", str(tmp_path / "new.csv")])
    assert not (tmp_path / "new.csv").exists()


def test_the_table_and_the_folders_say_the_same(run_dir, photos, tmp_path, capsys):
    words = [str(run_dir), str(photos), "--output", str(tmp_path / "new" / "a.parquet")]
    main([*words, "--copy-to", str(tmp_path / "sorted"), "--batch-size", "3"])
    table = pd.read_parquet(tmp_path / "new" / "a.parquet")
    found = {(path.name, int(path.parent.name)) for path in (tmp_path / "sorted").glob("*/*")}
    assert found == {
        (name.rpartition("/")[2], cluster) for name, cluster in zip(table["id"], table["cluster"], strict=True)
    }
    assert "11 images labelled in" in capsys.readouterr().out


def test_without_a_terminal_lines_tell_how_many_are_labelled_and_the_last_one_that_all_are(
    run_dir, photos, tmp_path, monkeypatch, capsys
):
    (photos / "broken.png").touch()
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    main([str(run_dir), str(photos), "--output", str(tmp_path / "new.csv"), "--batch-size", "5"])
    said = capsys.readouterr()
    told = [line.split("/s")[0].rpartition(", ")[0] for line in said.err.splitlines() if line.startswith("labelling")]
    assert told == [f"labelling: image {done} of 12" for done in (5, 10, 12)]
    assert said.out.startswith("11 images labelled in ")
    assert said.out.count("\n") == 1


def test_a_disk_that_is_full_is_one_clear_line(run_dir, photos, tmp_path, monkeypatch):
    from clusterlab.output import duplicates

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(duplicates.Twins, "first", full)
    with pytest.raises(UserError, match=r"cannot write .*new.csv \(No space left on device\)"):
        main([str(run_dir), str(photos), "--output", str(tmp_path / "new.csv")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "run"]
