from concurrent.futures import ThreadPoolExecutor

from clusterlab.locks import held, remove_left


def test_a_lock_leaves_no_file(tmp_path):
    with held(tmp_path / "a.lock", "it"):
        assert (tmp_path / "a.lock").exists()
    assert not (tmp_path / "a.lock").exists()


def test_one_at_a_time_holds_it_though_its_file_is_removed_each_time(tmp_path):
    inside, most = [], []

    def work(number):
        for _ in range(20):
            with held(tmp_path / "a.lock", "it"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert most == [1] * 80


def test_what_a_killed_process_has_left_goes_and_what_is_held_stays(tmp_path):
    path = tmp_path / "a.lock"
    remove_left(path)
    path.write_text("process 1 on elsewhere")
    remove_left(path)
    assert not path.exists()
    with held(path, "it"):
        remove_left(path)
        assert path.exists()
