from clusterlab.history import History, epochs_of, read_history


def test_what_is_read_is_what_was_written(tmp_path):
    history = History(stage="head")
    history.add(0, 7, {"loss": 1.25, "kept": 0.5})
    history.add(1, 14, {"loss": -3e-7})
    history.write(tmp_path / "history.csv")
    assert read_history(tmp_path / "history.csv") == history.rows
    assert (tmp_path / "history.csv").read_bytes().startswith(b"stage,epoch,step,metric,value\nhead,0,7,loss,1.25\n")


def test_rows_become_epochs_again():
    history = History(stage="head")
    told = [(0, 7, {"loss": 1.25, "kept": 0.5}), (1, 14, {"loss": 0.5})]
    for epoch in told:
        history.add(*epoch)
    assert list(epochs_of(history.rows)) == told
