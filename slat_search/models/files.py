"""The files of a model's folder: which of them is missing or damaged. Nothing is loaded here."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

_POINTER = b"version https://git-lfs"
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm", "*.tiktoken", "tekken.json")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_OTHERS = ("config.json", "*.index.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt")
_DEEP = ("*", "*/*", "*/*/*")  # a download of the hub's keeps a model two folders down


def without_config(path: str) -> str:
    """Describe what a folder without ``config.json`` holds; empty if it has one."""
    folder = Path(path)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return ""
    for file, what in (("adapter_config.json", "an adapter of peft"), ("adapter.json", "an adapter of ours")):
        if (folder / file).is_file():
            return f"the folder holds {what}, not a model"
    inside = sorted(config for deep in _DEEP for config in folder.glob(f"{deep}/config.json") if _of_model(config))
    hint = f"; is {inside[0].parent} meant?" if inside else ""
    return f"there is no config.json in the folder{hint}"


def _of_model(config: Path) -> bool:
    return '"model_type"' in config.read_text(encoding="utf-8", errors="replace")


def has_tokenizer(path: str, revision: str | None = None) -> bool:
    """Whether any tokenizer file exists."""
    folder = _folder(path, revision)
    return folder is None or any(next(folder.glob(pattern), None) for pattern in _TOKENIZERS)


def pointer(path: str, revision: str | None = None) -> str:
    """Say which file git-lfs has not fetched; else nothing."""
    for file in _files(path, revision):
        with file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                return f"{file.name} is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`"
    return ""


def fault(path: str, revision: str | None = None) -> str:
    """Say what is wrong with the files, where that can be told without a library; else nothing."""
    damages = (_damage(file) for file in _files(path, revision))
    return pointer(path, revision) or next(filter(None, damages), "")


def _folder(path: str, revision: str | None) -> Path | None:
    """Where the files lie: of a name on the hub, in its cache."""
    if Path(path).is_dir():
        return Path(path)
    config = try_to_load_from_cache(path, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def _files(path: str, revision: str | None) -> Iterator[Path]:
    """Return the files that a model and its tokenizer may be read from; pickled weights only where there are no
    others."""
    folder = _folder(path, revision)
    if folder is not None:
        weights = next((matches for pattern in _WEIGHTS if (matches := sorted(folder.glob(pattern)))), [])
        yield from (file for pattern in (*_OTHERS, *_TOKENIZERS) for file in sorted(folder.glob(pattern)))
        yield from weights


def _damage(file: Path) -> str:
    size = file.stat().st_size
    if not size:
        return f"{file.name} is empty"
    if file.suffix == ".json":
        return _damaged_json(file)
    if file.suffix == ".safetensors":
        return _cut_off(file, size)
    if file.suffix == ".bin" and not zipfile.is_zipfile(file):
        with file.open("rb") as opened:
            if opened.read(1) != b"\x80":  # a plain pickle, as old versions of torch wrote
                return f"{file.name} is cut off, or no file of weights"
    return ""


def _damaged_json(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{file.name} is not JSON ({error})"
    if file.name == "config.json" and not isinstance(content, dict):
        return "config.json is no JSON object"
    if file.name.endswith(".index.json") and isinstance(content, dict):
        named = sorted(set(content.get("weight_map", {}).values()))
        missing = [name for name in named if not (file.parent / name).is_file()]
        return f"{missing[0]} is missing; {file.name} names it" if missing else ""
    return ""


def _cut_off(file: Path, size: int) -> str:
    """Compare the size with what the header says: 8 bytes with its length, then JSON, then the tensors."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        try:
            header = json.loads(opened.read(length)) if length < size else None
            ends = [t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"] if header else []
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            ends = []
    if not ends:
        return f"{file.name} is cut off, or no safetensors file"
    whole = 8 + length + max(ends)
    return f"{file.name} is cut off: {size:,} of {whole:,} bytes are there" if size < whole else ""
