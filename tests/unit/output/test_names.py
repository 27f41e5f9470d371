import pytest

from clusterlab.errors import UserError
from clusterlab.output.names import FILE, read_names


def read(folder, text: str | None, result: str = "head-scan-1"):
    if text is not None:
        (folder / FILE).write_text(text, encoding="utf-8")
    return read_names(folder, result=result, num_clusters=3)


def test_without_a_file_no_cluster_has_a_name(tmp_path):
    assert read(tmp_path, None) == {}


def test_names_are_read_with_one_space_between_words(tmp_path):
    assert read(tmp_path, "result: head-scan-1\nnames:\n  0: cats\n  2: '  großer   Hund '\n") == {
        0: "cats",
        2: "großer Hund",
    }


def test_names_that_were_typed_without_a_result_count(tmp_path):
    assert read(tmp_path, "names: {1: dogs}") == {1: "dogs"}


def test_each_of_thousands_of_clusters_may_have_a_name(tmp_path):
    names = {number: f"kind {number}" for number in range(5000)}
    lines = [f"  {number}: {name}" for number, name in names.items()]
    (tmp_path / FILE).write_text("\n".join(["names:", *lines]), encoding="utf-8")
    assert read_names(tmp_path, result="head-scan-1", num_clusters=5000) == names


def test_names_of_another_result_are_left_out_and_that_is_said(tmp_path, caplog):
    assert read(tmp_path, "result: head-scan-2\nnames: {1: dogs}") == {}
    assert "head-scan-2" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a line `names:`"),
        ("names: [cats]", "needs a line `names:`"),
        ("names: {0: cats", "cannot be read"),
        ("names: {3: cats}", "3 is no cluster; they are numbered 0 to 2"),
        ("names: {true: cats}", "True is no cluster"),
        ("names: {0: 7}", "name of cluster 0"),
        ("names: {0: ' '}", "name of cluster 0"),
        (f"names: {{0: {'a' * 101}}}", "1 to 100 characters"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path, text, words):
    with pytest.raises(UserError, match=words) as error:
        read(tmp_path, text)
    assert FILE in str(error.value)
