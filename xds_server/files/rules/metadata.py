"""What the API server checks of labels and annotations."""

from __future__ import annotations

import re
from typing import Final

from xds_server.files.problems import Finding
from xds_server.files.rules.names import Findings, is_qualified
from xds_server.objects.meta import ObjectMeta

_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_ANNOTATION_BYTES: Final = 256 << 10


def metadata(meta: ObjectMeta) -> Findings:
    for key, text in meta.labels.items():
        if not is_qualified(key):
            yield Finding(
                ("metadata", "labels", key), "is no label name", "use letters, digits, - _ . and at most one prefix/"
            )
        if not _LABEL_VALUE.fullmatch(text):
            yield Finding(("metadata", "labels", key), "is no label value", "use up to 63 letters, digits, - _ .")
    for key in meta.annotations:
        if not is_qualified(key.lower()):
            yield Finding(
                ("metadata", "annotations", key),
                "is no annotation name",
                "use letters, digits, - _ . and at most one prefix/",
            )
    if sum(len(key) + len(text) for key, text in meta.annotations.items()) > _ANNOTATION_BYTES:
        yield Finding(("metadata", "annotations"), f"is larger than {_ANNOTATION_BYTES} bytes", "shorten it")
