"""A report of ``compare`` as a typed value: one JSON file below ``reports/``."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from likewise.errors import DataError
from likewise.study import Study, write_json

__all__ = ["ReportFile"]

T = TypeVar("T")


class ReportFile(Generic[T]):
    """``reports/NAME``, whose content is a ``kind``."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self.name, self.kind = name, kind

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        # Made when it is first needed: it takes longer than importing this module.
        return TypeAdapter(self.kind)

    def save(self, study: Study, found: T) -> None:
        """Write the file, whole or not at all."""
        content = self._adapter.dump_python(found, mode="json")
        write_json(study.folder("reports") / self.name, content)

    def load(self, study: Study | str | os.PathLike[str]) -> T | None:
        """Read the file; None before ``compare``.

        Raises:
            DataError: the file is damaged, or another version wrote it.
        """
        path = Study.open(study).root / "reports" / self.name
        try:
            return self._adapter.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{path} is damaged or of another version: {place or 'content'}: {first['msg']}",
                hint="make it anew with: likewise compare --redo",
            ) from None
