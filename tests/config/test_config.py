"""nodes.toml: what is accepted, what is refused, and that a refusal says enough to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftzmq import limits
from raftzmq.config import LimitsConfig, default_config, load, parse, to_toml
from raftzmq.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config" / "nodes.toml"
NODE = '[nodes.n1]\npeer="tcp://127.0.0.1:1"\nclient="tcp://127.0.0.1:2"\ndata="/tmp/a"\n'
HEAD = '[cluster]\nid="c"\n'


def test_the_shipped_file_says_the_same_as_the_defaults() -> None:
    shipped = load(SHIPPED)
    built_in = default_config()
    assert shipped.cluster == built_in.cluster
    assert shipped.nodes == built_in.nodes
    assert shipped.proxies == built_in.proxies
    assert shipped.limits == built_in.limits
    assert shipped.source == SHIPPED
    assert load(None) == built_in


def test_limits_default_to_limits_py() -> None:
    for name in LimitsConfig.__slots__:
        assert getattr(LimitsConfig(), name) == getattr(limits, name.upper())


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    config = parse(HEAD + NODE + "[limits]\ntick_ms = 20\n")
    assert parse(to_toml(config)) == config
    odd = NODE.replace("/tmp/a", '/tmp/with \\"quotes\\" and \\\\ and \\u0007')
    config = parse(HEAD + odd)
    assert parse(to_toml(config)) == config


def test_relative_data_starts_at_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse(HEAD + NODE.replace("/tmp/a", "./here/n1"))
    assert config.nodes["n1"].data == tmp_path / "here" / "n1"


def test_links_in_a_circle_are_told_apart_like_other_folders(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    config = parse(HEAD + NODE.replace("/tmp/a", str(tmp_path / "circle" / "a")))
    assert config.nodes["n1"].data == tmp_path / "circle" / "a"


def node(name: str, first_port: int, data: str) -> str:
    return (
        f'[nodes.{name}]\npeer="tcp://127.0.0.1:{first_port}"\n'
        f'client="tcp://127.0.0.1:{first_port + 1}"\ndata="{data}"\n'
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[cluster", "not valid TOML"),
        (HEAD, "[nodes]: 0 nodes; 1 to 7 are allowed"),
        (HEAD + "".join(node(f"n{i}", 10 * i + 1, f"/d/{i}") for i in range(8)), "8 nodes"),
        (NODE, "[cluster] id = None"),
        ('[cluster]\nid="Big"\n' + NODE, "[cluster] id = 'Big': must be 1 to 32"),
        (HEAD + NODE + "[extra]\n", "the top level extra: unknown key"),
        ('[cluster]\nid="c"\nname="x"\n' + NODE, "[cluster] name: unknown key; allowed are id"),
        (HEAD + NODE + "port = 3\n", "[nodes.n1] port: unknown key; allowed are client, data"),
        (HEAD + NODE.replace("n1", '"N 1"'), "[nodes] name = 'N 1'"),
        (HEAD + NODE.replace("tcp://127.0.0.1:1", "127.0.0.1:1"), "[nodes.n1] peer = '127.0.0.1"),
        (HEAD + NODE.replace(":1", ":70000"), "with a port from 1 to 65535"),
        (HEAD + NODE.replace("127.0.0.1:1", "0.0.0.0:1"), "must name this machine"),
        (HEAD + NODE.replace("tcp://127.0.0.1:1", "tcp://*:1"), "[nodes.n1] peer = 'tcp://*:1'"),
        (HEAD + NODE.replace('"/tmp/a"', "3"), "[nodes.n1] data = 3"),
        (HEAD + NODE.replace(":2", ":1"), "[nodes.n1] client = 'tcp://127.0.0.1:1': already used"),
        (HEAD + NODE.replace("127.0.0.1:2", "localhost:1"), "already used by [nodes.n1] peer"),
        (HEAD + NODE + node("n2", 5, "/tmp/a"), "[nodes.n2] data = '/tmp/a': same folder"),
        (HEAD + NODE + node("n2", 5, "/tmp/a/b"), "[nodes.n2] data = '/tmp/a/b': same folder"),
        (HEAD + NODE + '[proxies.n1]\naddress="tcp://h:3"\n', "a node of that name too"),
        (HEAD + NODE + '[proxies.p]\naddress="tcp://127.0.0.1:2"\n', "[nodes.n1] client"),
        (HEAD + NODE + "[proxies]\np = 3\n", "[proxies.p] = 3: must be a table"),
        (HEAD + NODE + "[limits]\ntick_ms = 0\n", "[limits] tick_ms = 0: must be a whole number"),
        (HEAD + NODE + "[limits]\ntick_ms = true\n", "tick_ms = True"),
        (HEAD + NODE + "[limits]\ntick_msec = 5\n", "[limits] tick_msec: unknown key"),
        (HEAD + NODE + "[limits]\nelection_ticks = 11\n", "at least 3 times heartbeat_ticks"),
        (HEAD + NODE + "[limits]\nlog_bytes_max = 100000\n", "[limits] log_keep_bytes"),
        (HEAD + NODE.replace("/tmp/a", "~no-such-user/a"), "there is no such user"),
        ("a = " + "[" * 3_000, "not valid TOML: nested too deeply"),
        ("a = " + "9" * 5_000, "not valid TOML: Exceeds the limit"),
        (HEAD + NODE + f"[limits]\ntick_ms = 0x{'f' * 6_000}\n", "a value too large to be shown"),
        (HEAD + NODE + "x" * 5_000 + " = 1\n", "remove it or correct its spelling"),
    ],
)
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, source=Path("some/nodes.toml"))
    assert str(caught.value).startswith("some/nodes.toml: ")
    assert told in str(caught.value)
    assert len(str(caught.value)) < 2_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
