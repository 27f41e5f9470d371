from concurrent.futures import ThreadPoolExecutor

from clusterlab.locks import held


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
