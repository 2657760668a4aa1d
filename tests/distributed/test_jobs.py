"""What is sent to a cluster and how its answers are read; a real one is in tests/acceptance/test_cluster_readme.py."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.runtime_env import RuntimeEnv

import robustray
from robustray.distributed.commands.submit import dashboard, split, value
from robustray.distributed.jobs import JobServer, Submission, _Log, largest_entries, travels_in_the_open
from robustray.tasks.errors import InputError


@pytest.mark.parametrize(
    ("typed", "ours", "sent"),
    [
        ("run x --store /s", "", "run x --store /s"),
        ("--to http://h:1 run x", "--to http://h:1", "run x"),
        ("--exclude data run x", "--exclude data", "run x"),
        ("--env data=1 A -- run x", "--env data=1 A", "run x"),
        ("--no-wait tune g run", "--no-wait", "tune g run"),
        ("--no-wait", "--no-wait", ""),
    ],
)
def test_our_flags_end_where_a_command_begins(typed: str, ours: str, sent: str) -> None:
    assert split(typed.split()) == (ours.split(), sent.split())


def test_the_value_of_a_flag_is_the_last_one_given() -> None:
    words = ["x", "--store", "a", "--store=b", "--workers"]
    assert (value(words, "--store"), value(words, "--workers"), value(words, "--size")) == ("b", None, None)


def test_words_reach_the_command_as_they_were_typed(tmp_path: Path) -> None:
    sent = Submission(words=["run", "my_mod:study", "--name", "it's; rm -rf /"], folder=tmp_path)
    assert sent.entrypoint == """python -m robustray run my_mod:study --name 'it'"'"'s; rm -rf /'"""


def test_robustray_travels_unless_the_folder_holds_it(tmp_path: Path, repository: Path) -> None:
    own = Submission(words=["status"], folder=tmp_path, exclude=["big/"], environment={"A": "1"}).runtime_env
    assert own["py_modules"] == [str(Path(robustray.__file__).parent)]
    assert own["excludes"][-1] == "big/" and "/runs/" in own["excludes"]
    assert own["env_vars"] == {"PYTHONUNBUFFERED": "1", "A": "1"}
    assert "py_modules" not in Submission(words=["status"], folder=repository).runtime_env
    RuntimeEnv(**own)  # Ray takes it


def test_a_log_that_is_told_again_after_a_break_is_passed_on_once() -> None:
    said: list[str] = []
    log = _Log(said.append)
    for connection in (["one ", "two "], ["one two ", "three "], ["one ", "two three ", "four"]):
        log.at = 0
        for text in connection:
            log.take(text)
    assert "".join(said) == "one two three four" and all(said)


@pytest.mark.parametrize(
    ("address", "open_"),
    [("http://127.0.0.1:8265", False), ("http://[::1]:8265", False), ("https://h", False), ("http://h:8265", True)],
)
def test_a_token_travels_in_the_open_only_by_plain_http_to_another_machine(address: str, open_: bool) -> None:
    assert travels_in_the_open(address) == open_


def test_the_largest_entries_of_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "b").write_bytes(bytes(2_000_000))
    for name in "cd":
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    assert largest_entries(tmp_path)[:2] == ["data/ (3 MB)", "b (2 MB)"]


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status in its server's name."""

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.HTTPServer):
    status = 200
    body = b""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")  # what is named in the call counts
    made = _Server(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_where_a_job_goes_and_who_named_a_place_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert dashboard(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS=10.0.0.1:6379: give the URL of the cluster's dashboard"):
        dashboard(None)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://10.0.0.1:8265")
    assert dashboard(None) == "http://10.0.0.1:8265"
    with pytest.raises(InputError, match=r"^--to auto: "):
        dashboard("auto")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_nobody_answers_the_tunnel_leads_to_the_head_and_not_to_this_machine(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(InputError, match=r"nobody answers .* `ssh -N -L 8265:127.0.0.1:8265 HEAD`"):
        JobServer(f"http://{host}:{port}")


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"Unauthorized: Missing authentication token", "wants a token and there is none here"),
        (403, b"Forbidden: Invalid authentication token", "another token than the one here"),
        (404, b"not here", "no Ray dashboard"),
        (200, b"<html>", "no Ray dashboard"),
        (200, b'{"version": "4", "ray_version": "2.9.0", "ray_commit": "x"}', "runs Ray 2.9.0, this robustray needs"),
    ],
)
def test_what_a_server_answers_is_explained(server: _Server, status: int, body: bytes, says: str) -> None:
    server.status, server.body = status, body
    with pytest.raises(InputError, match=says):
        JobServer(f"http://127.0.0.1:{server.server_port}")
