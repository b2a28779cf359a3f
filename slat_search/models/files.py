"""Find missing or damaged files in the folder of a model, without loading the model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

_POINTER = b"version https://git-lfs"
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm", "*.tiktoken", "tekken.json")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_OTHER_FILES = ("config.json", "*.index.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt")
_DEPTH_PATTERNS = ("*", "*/*", "*/*/*")  # the cache of the hub keeps a model two folders down


def without_config(path: str) -> str:
    """Describe the content of a folder without ``config.json``; return an empty text if there is one, or no folder."""
    folder = Path(path)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return ""
    for file, content in (("adapter_config.json", "an adapter of peft"), ("adapter.json", "an adapter of ours")):
        if (folder / file).is_file():
            return f"the folder holds {content}, not a model"
    files = (file for pattern in _DEPTH_PATTERNS for file in folder.glob(f"{pattern}/config.json"))
    configs = sorted(file for file in files if _is_model_config(file))
    hint = f"; is {configs[0].parent} meant?" if configs else ""
    return f"there is no config.json in the folder{hint}"


def _is_model_config(config: Path) -> bool:
    return '"model_type"' in config.read_text(encoding="utf-8", errors="replace")


def has_tokenizer(path: str, revision: str | None = None) -> bool:
    """Return whether any tokenizer file exists; True where the folder is not known."""
    folder = _model_folder(path, revision)
    return folder is None or any(next(folder.glob(pattern), None) for pattern in _TOKENIZERS)


def pointer(path: str, revision: str | None = None) -> str:
    """Describe the first file that git-lfs has not fetched; return an empty text if there is none."""
    for file in _model_files(path, revision):
        with file.open("rb") as handle:
            if handle.read(len(_POINTER)) == _POINTER:
                return f"{file.name} is a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`"
    return ""


def fault(path: str, revision: str | None = None) -> str:
    """Describe the first damaged file, if that is visible without a library; return an empty text if there is none."""
    damages = (_damage(file) for file in _model_files(path, revision))
    return pointer(path, revision) or next(filter(None, damages), "")


def _model_folder(path: str, revision: str | None) -> Path | None:
    """Return the folder of the files, which for a name on the hub is in its cache; None if it is not there."""
    if Path(path).is_dir():
        return Path(path)
    config = try_to_load_from_cache(path, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def _model_files(path: str, revision: str | None) -> Iterator[Path]:
    """Yield the files that a model and its tokenizer may be read from; pickled weights only if there are no others."""
    folder = _model_folder(path, revision)
    if folder is not None:
        weights = next((matches for pattern in _WEIGHTS if (matches := sorted(folder.glob(pattern)))), [])
        yield from (file for pattern in (*_OTHER_FILES, *_TOKENIZERS) for file in sorted(folder.glob(pattern)))
        yield from weights


def _damage(file: Path) -> str:
    size = file.stat().st_size
    if not size:
        return f"{file.name} is empty"
    if file.suffix == ".json":
        return _json_damage(file)
    if file.suffix == ".safetensors":
        return _truncation(file, size)
    if file.suffix == ".bin" and not zipfile.is_zipfile(file):
        with file.open("rb") as handle:
            if handle.read(1) != b"\x80":  # a plain pickle, as old versions of torch wrote
                return f"{file.name} is cut off, or no file of weights"
    return ""


def _json_damage(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return f"{file.name} is not JSON ({error})"
    if file.name == "config.json" and not isinstance(content, dict):
        return "config.json is no JSON object"
    if file.name.endswith(".index.json") and isinstance(content, dict):
        weight_map = content.get("weight_map", {})
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            return f"{file.name}: weight_map does not name a file for each weight"
        names = sorted(set(weight_map.values()))
        missing = [name for name in names if not (file.parent / name).is_file()]
        return f"{missing[0]} is missing; {file.name} names it" if missing else ""
    return ""


def _truncation(file: Path, size: int) -> str:
    """Describe a safetensors file that is shorter than its header says; return an empty text if it is complete.

    The file begins with 8 bytes that hold the length of the header; the header as JSON and the tensors follow.
    """
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        try:
            header = json.loads(handle.read(length)) if length < size else None
            entries = header.items() if header else ()
            ends = [entry["data_offsets"][1] for name, entry in entries if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError):
            ends = []
    if not ends or not all(isinstance(end, int) for end in ends):
        return f"{file.name} is cut off, or no safetensors file"
    expected_size = 8 + length + max(ends)
    return f"{file.name} is cut off: {size:,} of {expected_size:,} bytes are there" if size < expected_size else ""
