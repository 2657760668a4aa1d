"""Settings as a run recorded them: `resume` continues with them, `run --config run.json` starts from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from robustray.tasks.errors import InputError

CONFIG = "--config"


def recorded_settings(kind: type, plain: Mapping[str, Any], whose: str) -> Any:
    """Settings of this kind from plain values. Raises: InputError where this version knows or takes them no longer."""
    from pydantic import TypeAdapter, ValidationError

    settings = {key: value for key, value in plain.items() if key != "type"}
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := set(settings) - known:
        raise InputError(f"{whose}: this version does not know its settings {', '.join(sorted(unknown))}")
    try:
        return TypeAdapter(kind).validate_python(settings)
    except ValidationError as error:
        raise InputError(f"{whose}: its settings are no longer valid: {error.errors()[0]['msg']}") from error


def take_config(argv: list[str]) -> tuple[str | None, list[str]]:
    """The file behind `--config`, and the other words. Raises: InputError for a flag without a file, or given twice."""
    files: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag != CONFIG:
            rest.append(word)
            continue
        value = value if equals else next(words, "")
        if not value or value.startswith("--"):
            raise InputError(f"{CONFIG} needs a file: the run.json of a run's folder, or a published manifest.json")
        files.append(value)
    if len(files) > 1:
        raise InputError(f"{CONFIG} is given {len(files)} times: one run can be repeated")
    return (files[0] if files else None), rest


def read_config(path: str) -> tuple[str, Mapping[str, Any]]:
    """Study and plain settings of the run that wrote this file. Raises: InputError."""
    try:
        with open(path, encoding="utf-8") as stream:
            identity = json.load(stream)["identity"]
        study, settings = identity["study"], identity["settings"]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{CONFIG} {path}: {reason}; give the run.json of a run's folder") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{CONFIG} {path} is no record of a run: give the run.json of a run's folder, or a published manifest.json"
        ) from error
    if not isinstance(study, str) or not isinstance(settings, dict):
        raise InputError(f"{CONFIG} {path} names no study with settings: give the run.json of a run's folder")
    return study, settings
