"""What files give counts at once; what they no longer give, when they are settled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.files import manifest
from xds_server.files.folder import Folder
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import Service
from xds_server.objects.meta import Model


def service(name: str, port: object = 80, more: str = "") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n{more}spec:\n  ports:\n  - port: {port}\n"


def files(*documents: str) -> bytes:
    return "---\n".join(documents).encode()


def put(folder: Folder, path: str, *documents: str, settled: bool = True) -> dict[str, int | None]:
    folder.put(path, files(*documents), settled=settled)
    return ports(folder.commit())


def ports(changes: dict[ObjectRef, Model | None]) -> dict[str, int | None]:
    """Changes as the port of each Service by name."""
    return {ref.name: obj.spec.ports[0].port if isinstance(obj, Service) else None for ref, obj in changes.items()}


def served(folder: Folder) -> dict[str, int | None]:
    return ports({ref: current.served for ref, current in folder.objects.items()})


def generation(folder: Folder, name: str) -> int:
    metadata = folder.objects[ObjectRef("Service", "default", name)].served.metadata  # type: ignore[attr-defined]
    return int(metadata.generation)


def test_only_what_has_changed_is_told() -> None:
    """Documents that stay are no changes, wherever they move to within the file."""
    folder = Folder()

    assert {"a": 80, "b": 80} == put(folder, "x.yaml", service("a"), service("b"))
    assert {"b": 81} == put(folder, "x.yaml", service("a"), service("b", 81))
    assert {"c": 80} == put(folder, "x.yaml", service("c"), service("b", 81), service("a"))
    assert {"a": None} == put(folder, "x.yaml", service("c"), service("b", 81))


def test_one_edit_costs_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents whose text was there before are not read again."""
    folder, texts = Folder(), []
    read = manifest.read
    put(folder, "x.yaml", *(service(f"s{n}") for n in range(50)))

    def noted(text: str, *, json: bool) -> manifest.Reading:
        texts.append(text)
        return read(text, json=json)

    monkeypatch.setattr(manifest, "read", noted)

    changes = put(folder, "x.yaml", "# new\n", *(service(f"s{n}", 80 + (n == 7)) for n in range(50)))

    assert {"s7": 81} == changes
    assert 1 == len(texts)


def test_a_wrong_object_keeps_its_last_good_version() -> None:
    """The others in its file go on, and what it was stays until it is right or gone."""
    folder = Folder()
    put(folder, "x.yaml", service("a"), service("b"))

    assert {"b": 81} == put(folder, "x.yaml", service("a", "eighty"), service("b", 81))
    assert {"a": 80, "b": 81} == served(folder)
    assert ["x.yaml:7: Service default/a: spec.ports[0].port: must be a whole number, not 'eighty'"] == [
        problem.text.partition(";")[0] for problem in folder.problems
    ]
    assert {"a": 82} == put(folder, "x.yaml", service("a", 82), service("b", 81))
    assert () == folder.problems


def test_an_object_that_never_was_right_is_not_there() -> None:
    """There is no version to keep."""
    folder = Folder()

    assert {"b": 80} == put(folder, "x.yaml", service("a", "x"), service("b"))


def test_an_unreadable_document_keeps_what_its_file_gave() -> None:
    """S14: nobody knows which of them it is, so none is dropped, and the readable ones are taken."""
    folder = Folder()
    put(folder, "x.yaml", service("a"), service("b"), service("c"))

    assert {"a": 81} == put(folder, "x.yaml", service("a", 81), "kind: [\n", service("c"))
    assert {"a": 81, "b": 80, "c": 80} == served(folder)
    assert ["x.yaml"] == [problem.file for problem in folder.problems]
    assert {"b": None} == put(folder, "x.yaml", service("a", 81), service("c"))


def test_a_file_that_is_no_text_keeps_what_it_gave() -> None:
    """The same for a file of bytes."""
    folder = Folder()
    put(folder, "x.yaml", service("a"))
    folder.put("x.yaml", b"\xff\xfe", settled=True)

    assert {} == folder.commit()
    assert {"a": 80} == served(folder)
    assert ["x.yaml:1: byte 0 is no UTF-8; save the file as UTF-8"] == [problem.text for problem in folder.problems]


def test_a_file_that_is_being_written_loses_nothing() -> None:
    """Truncated, then half, then whole: no object goes, and none is served half."""
    folder = Folder()
    put(folder, "x.yaml", service("a"), service("b"), service("c"))
    whole = files(service("a"), service("b", 81), service("c"))

    for size in range(len(whole)):
        folder.put("x.yaml", whole[:size], settled=False)
        assert set(ports(folder.commit()).items()) <= {("b", 81)}
        assert () == folder.problems
    folder.put("x.yaml", whole, settled=False)

    folder.commit()
    assert {"a": 80, "b": 81, "c": 80} == served(folder)


def test_a_file_that_stays_empty_is_empty() -> None:
    """What has settled counts."""
    folder = Folder()
    put(folder, "x.yaml", service("a"))

    assert {} == put(folder, "x.yaml", settled=False)
    assert {"a": None} == put(folder, "x.yaml")


def test_a_renamed_file_is_no_change() -> None:
    """The same objects from another file, in one scan or in two."""
    folder = Folder()
    put(folder, "x.yaml", service("a"))
    folder.remove("x.yaml", settled=False)

    assert {} == put(folder, "y.yaml", service("a"), settled=False)
    folder.remove("x.yaml", settled=True)
    assert {} == folder.commit()
    assert 1 == generation(folder, "a")


def test_a_file_that_is_gone_takes_its_objects_along() -> None:
    """A removed file counts once it is settled."""
    folder = Folder()
    put(folder, "x.yaml", service("a"))
    folder.remove("x.yaml", settled=False)
    waiting = folder.commit()
    folder.remove("x.yaml", settled=True)

    assert ({}, {"a": None}) == (waiting, ports(folder.commit()))


def test_the_first_definition_counts() -> None:
    """By path, then by position; the others are problems that name both places."""
    folder = Folder()
    folder.put("c.yaml", files(service("a", 3), service("a", 4)), settled=True)
    folder.put("b.yaml", files(service("a", 2)), settled=True)

    assert {"a": 2} == ports(folder.commit())
    assert [
        "c.yaml:1: Service default/a: is also defined at b.yaml:1, which counts; remove one of them",
        "c.yaml:9: Service default/a: is also defined at c.yaml:1, which counts; remove one of them",
    ] == [problem.text for problem in folder.problems]
    assert {"a": 3} == put(folder, "b.yaml")
    assert {} == put(folder, "c.yaml", service("a", 3))
    assert () == folder.problems


def test_a_copy_of_what_is_served_changes_nothing() -> None:
    """A backup that sorts first is a problem, and edits of the file that is served still apply."""
    folder = Folder()
    put(folder, "base.yaml", service("a", 1))

    assert {} == put(folder, "base-old.yaml", service("a", 9))
    assert {"a": 2} == put(folder, "base.yaml", service("a", 2))
    assert ["base-old.yaml"] == [problem.file for problem in folder.problems]
    assert {} == put(folder, "base.yaml", "a: [", settled=False)
    assert {"a": 9} == put(folder, "base.yaml")


def test_generation_counts_changes_of_what_is_wanted() -> None:
    """Labels and comments are no new generation; a spec is."""
    folder = Folder()
    put(folder, "x.yaml", service("a"))
    put(folder, "x.yaml", service("a", more="  labels: {b: c}\n"))
    labelled = generation(folder, "a")
    put(folder, "x.yaml", service("a", 81, more="  labels: {b: c}\n"))

    assert (1, 2) == (labelled, generation(folder, "a"))


document = st.one_of(
    st.builds(service, st.sampled_from("abc"), st.sampled_from([1, 2, "x"])),
    st.sampled_from(["", "a: [", "kind: Pod\napiVersion: v1\nmetadata: {name: p}\n", "\t", "x\n", "- {}\n", "'"]),
    st.text(max_size=30),
)
step = st.tuples(
    st.sampled_from(["p.yaml", "q.yaml", "r.json"]), st.none() | st.lists(document, max_size=4), st.booleans()
)


@given(st.lists(step, max_size=8))
def test_a_history_ends_where_its_last_files_lead(steps: list[tuple[str, list[str] | None, bool]]) -> None:
    """Whatever came before: with all files settled and right, the objects are those of a fresh start."""
    folder, present = Folder(), set()
    for path, documents, settled in steps:
        if documents is not None:
            folder.put(path, files(*documents).replace(b"\xed", b""), settled=settled)
            present.add(path)
        elif path in present:
            folder.remove(path, settled=settled)
            if settled:
                present.discard(path)
        folder.commit()
    last = {"p.yaml": [service("a", 5), service("b", 6)], "q.yaml": [service("c", 8)], "r.json": []}
    fresh = Folder()
    for path, documents in last.items():
        put(folder, path, *documents)
        put(fresh, path, *documents)

    assert served(fresh) == served(folder)
    assert {"a": 5, "b": 6, "c": 8} == served(folder)
    assert [p.text for p in fresh.problems] == [p.text for p in folder.problems]
    assert fresh._definers == folder._definers


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_never_raise_and_never_lose_the_others(content: bytes, settled: bool) -> None:
    """S13, S14: a hostile file is a problem of its own."""
    folder = Folder()
    put(folder, "good.yaml", service("a"))

    for path in ("bad.yaml", "bad.json"):
        folder.put(path, content, settled=settled)
    folder.commit()

    assert {"a": 80} == served(folder)


@given(st.data())
def test_a_damaged_manifest_never_raises(data: st.DataObject) -> None:
    """S14: bytes of a real manifest, changed, cut and doubled."""
    content = bytearray(files(service("a"), service("b")))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    folder = Folder()

    folder.put("x.yaml", bytes(content), settled=True)
    folder.commit()

    assert all(problem.file == "x.yaml" and problem.line >= 1 and problem.hint for problem in folder.problems)


def test_a_defect_in_one_document_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """S14: what raises while one document is read is a problem of that document, and the others are taken."""
    folder, read = Folder(), manifest.read

    def defective(text: str, *, json: bool) -> manifest.Reading:
        if "boom" in text:
            raise RuntimeError(text)
        return read(text, json=json)

    monkeypatch.setattr(manifest, "read", defective)

    changes = put(folder, "x.yaml", service("boom"), service("b"))

    assert ["b"] == list(changes)
    assert ["internal error: RuntimeError"] == [problem.message for problem in folder.problems]


def test_the_place_of_an_object_is_that_of_its_definition() -> None:
    """File and line of what is served; nothing for what is not."""
    folder = Folder()
    put(folder, "x.yaml", service("a"), service("b"))
    a, b = folder.objects

    assert [("x.yaml", 1), ("x.yaml", 9)] == [folder.place(a), folder.place(b)]
    assert folder.place(a._replace(name="c")) is None
