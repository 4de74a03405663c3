"""Where a value comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from imfast.config.load import load, options
from imfast.config.schema import Settings
from imfast.errors import ConfigError, ExitCode


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("IMFAST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "imfast.toml"


def test_option_nobody_sets_has_its_default():
    loaded = load()
    assert loaded.settings.port == 8080
    assert loaded.origin("port") == "default"
    assert loaded.settings.durability == "fsync"
    assert loaded.settings.host == "127.0.0.1"


def test_file_wins_over_default(file: Path):
    file.write_text("port = 1001\n")
    loaded = load(config_file=file)
    assert loaded.settings.port == 1001
    assert loaded.origin("port") == f"file {file}"


def test_environment_wins_over_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("port = 1001\n")
    monkeypatch.setenv("IMFAST_PORT", "1002")
    loaded = load(config_file=file)
    assert loaded.settings.port == 1002
    assert loaded.origin("port") == "environment IMFAST_PORT"


def test_flag_wins_over_environment_and_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("port = 1001\n")
    monkeypatch.setenv("IMFAST_PORT", "1002")
    loaded = load({"port": "1003", "tcp_port": None}, file)
    assert loaded.settings.port == 1003
    assert loaded.origin("port") == "flag --port"
    assert loaded.origin("tcp_port") == "default"


def test_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text('node = "east-1"\n')
    monkeypatch.setenv("IMFAST_CONFIG", str(file))
    assert load().settings.node == "east-1"


def test_empty_environment_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMFAST_PORT", "")
    assert load().settings.port == 8080


def test_misspelt_environment_variable_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMFAST_WORKES", "4")
    assert load().unknown_environment == ("IMFAST_WORKES",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("65536", 65536), ("128KiB", 131072), ("0.5 MiB", 524288)],
)
def test_size_is_read_with_its_unit(text: str, expected: int):
    settings = load({"frame_bytes_max": text, "body_bytes_max": "1KiB"}).settings
    assert settings.frame_bytes_max == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("30", 30.0), ("1500ms", 1.5), ("2m", 120.0), ("4s", 4.0)]
)
def test_time_is_read_with_its_unit(text: str, expected: float):
    assert load({"heartbeat_s": text}).settings.heartbeat_s == expected


def test_list_is_read_from_one_text_and_from_a_toml_array(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = ("https://a.example", "https://b.example")
    monkeypatch.setenv("IMFAST_ALLOWED_ORIGINS", "https://a.example, https://b.example")
    assert load().settings.allowed_origins == expected
    monkeypatch.delenv("IMFAST_ALLOWED_ORIGINS")
    file.write_text('allowed_origins = ["https://a.example", "https://b.example"]\n')
    assert load(config_file=file).settings.allowed_origins == expected


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load({"data_dir": "there"}).settings.data_dir == tmp_path / "there"
    assert load().settings.data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("port", "65536", "0 to 65535"),
        ("port", "-1", "0 to 65535"),
        ("port", "http", "0 to 65535"),
        ("workers", "0", "1 to 62"),
        ("workers", "65", "1 to 62"),
        ("partitions", "1025", "1 to 256"),
        ("durability", "maybe", "fsync | os"),
        ("jwt_algorithm", "none", "HS256 | RS256 | EdDSA"),
        ("heartbeat_s", "nan", "1 s to 5 m"),
        ("heartbeat_s", "0.9s", "1 s to 5 m"),
        ("heartbeat_s", "5 parsecs", "1 s to 5 m"),
        ("frame_bytes_max", "64MB", "17 KiB to 4 MiB"),
        ("send_queue_bytes", "1.5B", "16 KiB to 1 GiB"),
        ("log_level", "loud", "debug | info | warning | error"),
    ],
)
def test_bad_flag_is_refused_with_option_value_origin_and_range(
    name: str, value: str, allowed: str
):
    with pytest.raises(ConfigError) as refusal:
        load({name: value})
    text = str(refusal.value)
    assert refusal.value.exit_code == ExitCode.USAGE == 2
    assert text.startswith(f"option {name}: {value!r} (from flag --{name.replace('_', '-')}): ")
    assert text.endswith(f"allowed: {allowed}")


def test_refusal_names_the_environment_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMFAST_WORKERS", "many")
    with pytest.raises(ConfigError, match=r"'many' \(from environment IMFAST_WORKERS\)"):
        load()


def test_refusal_lists_every_bad_option(file: Path):
    file.write_text("port = true\nworkers = 0.5\n")
    with pytest.raises(ConfigError) as refusal:
        load(config_file=file)
    lines = str(refusal.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["option port", "option workers"]
    assert all(f"(from file {file})" in line for line in lines)


def test_unknown_option_in_the_file_is_refused(file: Path):
    file.write_text("prot = 1\n")
    with pytest.raises(ConfigError, match=r"option prot \(from file .*\): there is no such option"):
        load(config_file=file)


@pytest.mark.parametrize("content", [b"port = ", b"\xff"])
def test_broken_file_is_refused(file: Path, content: bytes):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="no valid TOML"):
        load(config_file=file)


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        load(config_file=tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"port": "9000"}, "options port and tcp_port: both 9000"),
        ({"admin_port": "8080"}, "options admin_port and port: both 8080"),
        ({"body_bytes_max": "80KiB"}, "body_bytes_max: 81920: at most frame_bytes_max"),
        ({"send_queue_bytes": "64KiB"}, "send_queue_bytes: 65536: at least twice frame_bytes_max"),
        ({"connections_max": "10"}, "unauthenticated_max: 1024: at most connections_max"),
        ({"role": "gateway"}, "role: 'gateway': needs other nodes"),
        ({"node": "N 1"}, "node: 'N 1'"),
        ({"jwt_public_key_file": "k.pem"}, "jwt_algorithm is HS256, which has no public key"),
        ({"jwt_algorithm": "RS256"}, "needs jwt_public_key_file"),
        (
            {"jwt_algorithm": "EdDSA", "jwt_secret_file": "s", "jwt_public_key_file": "k"},
            "jwt_algorithm is EdDSA, which has no shared secret",
        ),
        ({"data_dir": ""}, "a path is not empty"),
    ],
)
def test_options_that_contradict_each_other_are_refused(flags: dict[str, str], reason: str):
    with pytest.raises(ConfigError) as refusal:
        load(flags)
    assert reason in str(refusal.value)


def test_ports_that_the_kernel_chooses_may_be_equal():
    assert load({"port": "0", "tcp_port": "0", "admin_port": "0"}).settings.port == 0


def test_every_option_says_what_it_is_and_when_to_touch_it():
    for name, option in options().items():
        assert option.environment == f"IMFAST_{name.upper()}"
        assert option.allowed, f"{name} has neither range nor choices"
        assert option.default, name
        assert option.when.endswith("."), name
        assert "\n" not in option.when
        assert len(option.when) < 100, name


def test_settings_survive_the_way_to_a_worker():
    settings = load({"data_dir": "/d", "workers": "3", "allowed_origins": "*"}).settings
    assert Settings(**settings.document()) == settings
