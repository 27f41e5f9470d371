from dataclasses import replace

from clusterlab.history import History


def test_the_history_names_stages_by_their_section_in_this_run(make_run, tmp_path):
    """A head that another run trained, and that this one starts from, wrote 'head' into its own history."""
    run = make_run()
    features, head = run.stages
    stages = [features]
    for name, loss in (("adapted", 5.0), ("head", 7.0)):
        folder = tmp_path / name
        folder.mkdir()
        history = History(stage="head")
        history.add(0, 9, {"loss": loss})
        history.write(folder / "history.csv")
        stages.append(replace(head, name=name, folder=folder))
    stages.append(replace(head, name="map", folder=tmp_path / "not trained"))
    rows = replace(run, stages=stages).history().rows
    assert rows[-2:] == [("adapted", 0, 9, "loss", 5.0), ("head", 0, 9, "loss", 7.0)]
    assert {row[0] for row in rows[:-2]} == {"features"}
    assert len(rows[:-2]) == 2 * 12


def test_what_a_stage_tells_once_stands_among_the_others_and_is_no_curve(make_run, tmp_path):
    run = make_run()
    features, head = run.stages
    neighbours = replace(head, name="neighbours", folder=tmp_path / "not trained", scalars={"purity": 0.75})
    rows = replace(run, stages=[neighbours, features]).history().rows
    assert rows[0] == ("neighbours", 0, 0, "purity", 0.75)
    assert rows[1:] == features.epochs()
    assert neighbours.epochs() == []
