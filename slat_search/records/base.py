"""Base of all records: typed values passed between packages or stored in a file, which are read and written here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ..errors import SlatError
from ..files import append_line, check_signature, read_json, read_lines, signed, write_json


def _stays_inside(name: str) -> str:
    if not name or name.startswith("/") or "\0" in name or {".", ".."} & set(name.split("/")):
        raise ValueError(f"{name!r} cannot name a file of the run")
    return name


#: text that is part of a file's path, and cannot lead to another folder
FileName = Annotated[str, AfterValidator(_stays_inside)]


class Record(BaseModel):
    """An immutable value of named fields; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values of the fields that were set."""
        return self.model_dump(exclude_unset=True)


class FileRecord(Record):
    """A record in a file of its own, or on a line of a file.

    Attributes:
        VERSION: of the file, written into it; a file without one is of version 1. A subclass that changes the content
            of its file increments it and overrides :meth:`upgraded`.
    """

    VERSION: ClassVar[int] = 1

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the fields of this version from those of an earlier one."""
        return raw

    @classmethod
    def parse(cls, raw: Any, where: str | Path) -> Self:
        """Validate the content of a file.

        Args:
            raw: parsed JSON.
            where: the file's name, for the message.

        Raises:
            SlatError: damaged, or of an unknown version.
        """
        if not isinstance(raw, dict):
            raise SlatError(f"{where}: damaged (no fields in it)")
        version = raw.get("version", 1)
        if version not in range(1, cls.VERSION + 1):
            raise SlatError(f"{where}: is of version {version!r}; this library reads versions up to {cls.VERSION}")
        fields = check_signature(raw, where)
        fields.pop("version", None)
        try:
            return cls.model_validate(cls.upgraded(fields, version))
        except ValidationError as error:
            raise SlatError(f"{where}: {sentence(error)}") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:  # of an upgrade
            raise SlatError(f"{where}: damaged ({error!r})") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that :meth:`write` wrote.

        Raises:
            SlatError: missing, damaged, or of an unknown version.
        """
        return cls.parse(read_json(path), path)

    def write(self, path: Path) -> None:
        """Write a file atomically, with a digest of its content."""
        write_json(path, signed({"version": self.VERSION, **self.to_dict()}))

    @classmethod
    def read_lines(cls, path: Path) -> Iterator[Self]:
        """Yield the record of each line; none for a missing file. An incomplete last line is removed.

        Raises:
            SlatError: a line is damaged, or of an unknown version.
        """
        for number, raw in enumerate(read_lines(path), 1):
            yield cls.parse(raw, f"{path}, line {number}")

    def append(self, path: Path) -> None:
        """Append a line to a file; it is on disk when this returns."""
        append_line(path, {"version": self.VERSION, **self.to_dict()})


def sentence(error: ValidationError) -> str:
    """Describe the first error in one sentence."""
    detail = error.errors()[0]
    field = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"damaged, or made by an earlier version, which kept less ({field} is missing)"
    return f"damaged ({field}: {' '.join(detail['msg'].split())})"
