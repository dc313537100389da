from typing import Any

import pytest
import yaml

from stoker_cli.objects.documents import MAX_FILE_BYTES, ObjectError, read_documents

pytestmark = pytest.mark.unit


def values(text: str) -> list[Any]:
    documents, errors = read_documents(text.encode(), "f.yaml")
    assert not errors, errors
    return [document.value for document in documents]


def the_error(data: str | bytes) -> ObjectError:
    _, errors = read_documents(data if isinstance(data, bytes) else data.encode(), "f.yaml")
    assert len(errors) == 1, errors
    return errors[0]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("yes", True), ("y", True), ("On", True), ("NO", False), ("off", False), ("true", True), ("tRue", "tRue"),
        ("~", None), ("null", None), ("0x1F", 31), ("010", 8), ("0o17", 15), ("0b11", 3), ("08", 8), ("-7", -7),
        ("+7", 7), ("1_000", 1000), ("3.0", 3), ("2.5", 2.5), (".5", 0.5), ("1e3", 1000), ("1:30", "1:30"),
        ("2001-12-14", "2001-12-14"), ("2001-12-14T21:59:43Z", "2001-12-14T21:59:43Z"), ("250ms", "250ms"),
        ("'yes'", "yes"), ('"1"', "1"), ("!!str 1", "1"), ("! 1", "1"), ("!!int 1", 1), ("!!float 1", 1),
        ("-", None), ("1.2.3", "1.2.3"), ("_1", "_1"),
    ],
)  # fmt: skip
def test_scalars_are_read_as_kubernetes_reads_them(text: str, want: Any) -> None:
    (document,) = values(f"a: [{text}]" if text != "-" else "a:\n  -")
    (got,) = document["a"]
    assert got == want
    assert type(got) is type(want)


def test_plain_structures_equal_those_of_pyyaml() -> None:
    text = "a: [1, {b: c}]\nd:\n  - e\n  - f: |\n      line\n      line\ng: &g {h: i}\nj: *g\n"
    assert values(text) == [yaml.safe_load(text)]


def test_merge_keys_fill_in_what_is_not_given() -> None:
    (value,) = values("a: &a {p: 1, q: 2}\nb: &b {q: 3, r: 4}\nc: {<<: [*a, *b], p: 0}\n")
    assert value["c"] == {"p": 0, "q": 2, "r": 4}


def test_a_byte_order_mark_is_no_content() -> None:
    documents, errors = read_documents(b"\xef\xbb\xbfa: 1\n", "f.yaml")
    assert (documents[0].value, errors) == ({"a": 1}, [])


def test_empty_documents_are_skipped() -> None:
    assert values("---\n---\na: 1\n---\n# only a comment\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_lines_are_those_of_the_file_and_a_missing_field_has_the_line_of_its_parent() -> None:
    (document,), _ = read_documents(b"# head\na:\n  b:\n    - c: 1\n    - d\ne: 2\n", "f.yaml")
    assert document.line == 2
    assert document.line_of(("a", "b", 0, "c")) == 4
    assert document.line_of(("a", "b", 1)) == 5
    assert document.line_of(("a", "x", "y")) == 2
    assert str(document.error(("a", "b", 0), "is wrong")) == "f.yaml:4: a.b[0]: is wrong"


def test_after_a_bad_document_the_next_ones_are_read() -> None:
    documents, errors = read_documents(b"a: 1\na: 2\nc: [d, e]\n---\nb: 1\n---\n1: x\n---\nc: 1\n", "f.yaml")
    assert [document.value for document in documents] == [{"b": 1}, {"c": 1}]
    assert [(error.line, error.path) for error in errors] == [(2, "a"), (7, "")]


def test_after_an_error_of_syntax_the_rest_is_not_read_and_what_stands_before_it_is() -> None:
    documents, errors = read_documents(b"a: 1\n---\nb: [\n---\nc: 1\n", "f.yaml")
    assert [document.value for document in documents] == [{"a": 1}]
    assert len(errors) == 1


def test_a_file_over_the_bound_is_not_read() -> None:
    assert "at most 1048576 are read" in the_error(b"#" * (MAX_FILE_BYTES + 1)).message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000, "{" * 1_000_000, "- " * 500_000, "? " * 300_000, "&a " * 300_000, "!a" * 500_000,
        "a: b\n" * 200_000, "\n".join(f"a{i}: b" for i in range(90_000)), "[" + "a," * 500_000 + "]",
        "{" + "a," * 500_000 + "}", "x" * 1_000_000 + ": 1", "a: &a " + "x" * 900_000 + "\nb: [" + "*a," * 20_000 + "]",
        "- &a [x]\n" + "- *a\n" * 150_000, "<<: {" * 200_000, "a: 'x" + "\n\n" * 400_000, '"\\' * 500_000,
    ],
    ids=range(16),
)  # fmt: skip
@pytest.mark.timeout(4)
def test_hostile_files_of_the_largest_size_end_soon_in_errors(text: str) -> None:
    documents, errors = read_documents(text.encode(), "f.yaml")
    assert not documents
    assert 1 <= len(errors) <= 2
    assert all("\n" not in str(error) and len(str(error)) <= 400 for error in errors)


def test_an_error_is_one_short_printable_line() -> None:
    error = ObjectError(file="f.yaml", line=3, path="a", message="x\n\x1b[31m\u202e" + "y" * 1000)
    text = str(error)
    assert text.startswith("f.yaml:3: a: x ?[31m?yyy")
    assert len(text) == 400
