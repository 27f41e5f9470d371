from collections import Counter

from clusterlab.data.subset import subset


def test_no_limit_takes_everything_in_order():
    assert subset(("test", "train", "test"), None) == [0, 1, 2]


def test_each_split_is_limited_on_its_own():
    splits = ("test",) * 5 + ("train",) * 20 + ("unlabeled",) * 30
    chosen = subset(splits, 8)
    assert chosen == sorted(set(chosen))
    assert Counter(splits[i] for i in chosen) == {"train": 8, "test": 5, "unlabeled": 8}


def test_the_subset_is_spread_over_files_sorted_by_class():
    chosen = subset(("train",) * 1000, 100)
    per_class = Counter(i // 100 for i in chosen)
    assert len(per_class) == 10
    assert max(per_class.values()) < 30


def test_the_subset_is_always_the_same():
    assert subset(("train",) * 50, 5) == subset(("train",) * 50, 5)
