"""Objects are whatever somebody has written."""

from __future__ import annotations

from xds_server.overview.objects import Gateway, Pod, read, read_list


def test_null_is_as_absent() -> None:
    """As the API server has it."""
    found = read(b'{"metadata": {"name": "a", "labels": null}, "status": {"addresses": null}}', Gateway)

    assert ("a", ()) == (found.metadata.name, found.status.addresses)


def test_an_item_of_another_form_is_left_out() -> None:
    """The others are read."""
    found = read_list(b'{"items": [{"spec": 1}, 7, {"metadata": {"name": "b"}}]}', Gateway)

    assert ["b"] == [gateway.metadata.name for gateway in found]


def test_the_version_of_a_pod_is_its_image() -> None:
    """A registry's port is none; a digest says more than a tag."""

    def version(image: str) -> str:
        return read(b'{"spec": {"containers": [{"image": "%s"}]}}' % image.encode(), Pod).version

    assert ["0.1.0", "sha256:ab", "", ""] == [
        version(image) for image in ("r:5000/t:0.1.0", "r/t:1@sha256:ab", "r:5000/t", "")
    ]
