"""Agents in a store: `agents/KEY/`, states and tables, found by key, checked at every read.

    state-000150-CODE-SHA.safetensors    the whole agent before update 150; the same bytes wherever it was trained
    curve-000488-CODE-SHA.parquet        one row per update, of 488; likewise episodes, and clock

A state is tensors, and everything else as JSON in the header. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustray.tasks.lab import keys
from robustray.tasks.lab.store import Store, sha256
from robustray.tasks.policy_gradients.environments import EnvironmentShape, library_versions
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.policy_gradients.state import AgentState

if TYPE_CHECKING:
    from robustray.tasks.policy_gradients.update import Row

FOLDER = "agents"
TABLES = ("curve", "episodes", "clock")
_SHA_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class AgentFile:
    """One file of an agent, by the parts of its name."""

    key: str
    kind: str
    """"state", or one of `TABLES`."""
    update: int
    """For a state, the update before which it was; for a table, how many updates it is about."""
    code: str
    sha: str

    @property
    def name(self) -> str:
        suffix = "safetensors" if self.kind == "state" else "parquet"
        return f"{FOLDER}/{self.key}/{self.kind}-{self.update:06d}-{self.code}-{self.sha}.{suffix}"


def _parts(name: str) -> list[str]:
    """Kind, update, code and digest of a file's name; empty for another name."""
    parts = name.partition(".")[0].split("-")
    return parts if len(parts) == 4 and parts[1].isdigit() else []


def list_files(store: Store, key: str) -> list[AgentFile]:
    """All files of an agent, of any code; nothing is read."""
    found = []
    for name in store.list(f"{FOLDER}/{key}"):
        if parts := _parts(name):
            found.append(AgentFile(key=key, kind=parts[0], update=int(parts[1]), code=parts[2], sha=parts[3]))
    return found


def read_file(store: Store, file: AgentFile) -> bytes | None:
    """None when it is gone, torn or has a flipped bit."""
    try:
        data = store.read(file.name)
    except FileNotFoundError:
        return None
    return data if sha256(data, _SHA_LENGTH) == file.sha else None


def is_whole(name: str, data: bytes) -> bool:
    """Whether bytes have the digest that is in the file's name; true for a name without one."""
    parts = _parts(name)
    return not parts or sha256(data, _SHA_LENGTH) == parts[3]


def write_state(store: Store, key: str, code: str, state: AgentState) -> AgentFile:
    data = state_bytes(state)
    file = AgentFile(key=key, kind="state", update=state.updates_done, code=code, sha=sha256(data, _SHA_LENGTH))
    store.write(file.name, data)
    return file


_SCHEMAS = {
    "episodes": pa.schema(
        [
            ("update", pa.int64()),
            ("stream", pa.int64()),
            ("step", pa.int64()),
            ("length", pa.int64()),
            ("episode_return", pa.float64()),
        ]
    )
}
"""Schemas of tables that may be empty."""


def write_table(store: Store, key: str, code: str, kind: str, num_updates: int, rows: Sequence[Row]) -> AgentFile:
    """Replaces tables of this kind and code: a newer one holds all that an older one did."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=_SCHEMAS.get(kind)), buffer, compression="zstd")
    data = buffer.getvalue()
    file = AgentFile(key=key, kind=kind, update=num_updates, code=code, sha=sha256(data, _SHA_LENGTH))
    store.write(file.name, data)
    for old in list_files(store, key):
        if (old.kind, old.code) == (kind, code) and old != file:
            store.delete(old.name)
    return file


def read_table(store: Store, key: str, code: str, kind: str) -> pa.Table | None:
    """None when there is none that is whole."""
    for file in list_files(store, key):
        if (file.kind, file.code) == (kind, code) and (data := read_file(store, file)) is not None:
            return pq.read_table(io.BytesIO(data))
    return None


def nameless(spec: AgentSpec) -> AgentSpec:
    """Without what only watches: the part that is in keys and states."""
    return dataclasses.replace(spec, milestones=(), heldout_every=None)


def state_bytes(state: AgentState) -> bytes:
    """A state as one safetensors file: the same state gives the same bytes."""
    from safetensors.numpy import save

    about = {
        "spec": keys.plain(nameless(state.spec)),
        "shape": dataclasses.asdict(state.shape),
        "record": state.record(),
        "versions": library_versions(),
    }
    return save(dict(sorted(state.arrays().items())), metadata={"robustray-agent": json.dumps(about, sort_keys=True)})


def state_of(data: bytes) -> AgentState:
    """What `state_bytes` wrote. Raises: ValueError when it is no such file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        about = _about(data)
        state = AgentState.start(_spec_of(about["spec"]), EnvironmentShape(**about["shape"]))
        state.load(load(data), about["record"])
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ValueError(f"no state of an agent: {error}") from error
    return state


def versions_of(data: bytes) -> dict[str, str]:
    """The simulators that a state was trained in."""
    return dict(_about(data)["versions"])


def _about(data: bytes) -> dict[str, Any]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about: dict[str, Any] = json.loads(header["__metadata__"]["robustray-agent"])
    return about


def _spec_of(plain: Mapping[str, Any]) -> AgentSpec:
    fields = {name: value for name, value in plain.items() if name != "type"}
    settings = {name: value for name, value in fields.pop("settings").items() if name != "type"}
    return AgentSpec(settings=PolicyGradient(**settings), **fields)
