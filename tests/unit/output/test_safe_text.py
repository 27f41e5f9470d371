import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterlab.output.safe_text import original_text, safe_text

any_text = st.text(st.characters(), max_size=30)  # lone surrogates too: names that are not UTF-8
formula_like = st.builds("{}{}".format, st.sampled_from(["=", "+", "-", "@", "./", " =", "＝", "\t@"]), any_text)


@pytest.mark.parametrize("name", ["train/cat/0012.jpg", "17", "été/Köln 3.png", "图/猫.png", "a,b.png", ".hidden", ""])
def test_ordinary_names_stay_as_they_are(name: str):
    assert safe_text(name) == name


@given(any_text | formula_like)
def test_every_name_comes_back(name: str):
    assert original_text(safe_text(name)) == name


@given(any_text | formula_like)
def test_no_name_is_a_formula_or_tears_a_table(name: str):
    text = safe_text(name)
    text.encode("utf-8")
    assert not text.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert not set(text) & {"\n", "\r", "\t", "\0", ";", "\u202e", "\x7f"}


@given(any_text, any_text)
def test_different_names_stay_different(one: str, other: str):
    assert (safe_text(one) == safe_text(other)) == (one == other)


def test_a_formula_becomes_the_same_path_from_here():
    assert safe_text("=cmd|' /C calc'!A0.jpg") == "./=cmd|' /C calc'!A0.jpg"


@given(any_text | formula_like)
def test_a_quoted_name_is_one_cell(name: str):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([safe_text(name), "next"])
    assert next(csv.reader(io.StringIO(text.getvalue(), newline=""))) == [safe_text(name), "next"]
