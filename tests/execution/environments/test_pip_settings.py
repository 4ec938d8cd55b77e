"""pip's settings in uv's words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.execution.environments import pip_settings
from edgehone.execution.environments.pip_settings import no_index, uv_variables

NOTHING = Path("/nowhere/at/all")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """A user without any setting: the machine's own files are out of the way, but for /etc/pip.conf."""
    return {"HOME": str(tmp_path / "user"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), **more}


def given_file(tmp_path: Path, text: str) -> dict[str, str]:
    return {"PIP_CONFIG_FILE": str(write(tmp_path / "given.conf", text)), "HOME": str(tmp_path)}


@pytest.fixture(autouse=True)
def _no_file_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pip_settings.files

    def files(environment: dict[str, str], prefix: Path) -> list[Path]:
        return [file for file in real(environment, prefix) if file != Path("/etc/pip.conf")]

    monkeypatch.setattr(pip_settings, "files", files)


def test_no_settings_no_variables(tmp_path: Path) -> None:
    assert uv_variables(environment(tmp_path), NOTHING) == {}


def test_variables_of_pip_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    told = environment(
        tmp_path,
        PIP_INDEX_URL="https://user:secret@index.example/simple",
        PIP_EXTRA_INDEX_URL="https://a.example/simple\n https://b.example/simple",
        PIP_FIND_LINKS=f"{tmp_path / 'wheels'} https://c.example/links",
        PIP_TRUSTED_HOST="a.example b.example",
        PIP_CERT="/certs/ours.pem",
        PIP_CLIENT_CERT="/certs/me.pem",
        PIP_PROXY="http://proxy.example:3128",
    )
    assert uv_variables(told, NOTHING) == {
        "UV_DEFAULT_INDEX": "https://user:secret@index.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path / 'wheels'},https://c.example/links",
        "UV_INSECURE_HOST": "a.example b.example",
        "SSL_CERT_FILE": "/certs/ours.pem",
        "SSL_CLIENT_CERT": "/certs/me.pem",
        "ALL_PROXY": "http://proxy.example:3128",
    }


def test_find_links_that_are_gone_are_left_out(tmp_path: Path) -> None:
    told = environment(tmp_path, PIP_FIND_LINKS=f"{tmp_path / 'gone'}")
    assert uv_variables(told, NOTHING) == {}


@pytest.mark.parametrize(
    ("pips", "uvs"),
    [
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_INDEX_URL", "UV_INDEX_URL"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
        ("PIP_CERT", "SSL_CERT_FILE"),
        ("PIP_PROXY", "https_proxy"),
    ],
)
def test_what_uv_was_told_wins(pips: str, uvs: str, tmp_path: Path) -> None:
    told = environment(tmp_path, **{pips: "https://pip.example", uvs: "https://uv.example"})
    assert uv_variables(told, NOTHING) == {}


def test_the_venvs_file_is_stronger_than_the_users_and_a_variable_than_both(tmp_path: Path) -> None:
    told = environment(tmp_path)
    write(tmp_path / "xdg" / "pip" / "pip.conf", "[global]\nindex-url = https://shared.example\n")
    assert uv_variables(told, NOTHING)["UV_DEFAULT_INDEX"] == "https://shared.example"
    write(tmp_path / "user" / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://user.example\n")
    assert uv_variables(told, NOTHING)["UV_DEFAULT_INDEX"] == "https://user.example"
    write(tmp_path / "venv" / "pip.conf", "[global]\nindex_url = https://venv.example\n")
    assert uv_variables(told, tmp_path / "venv")["UV_DEFAULT_INDEX"] == "https://venv.example"
    told["PIP_INDEX_URL"] = "https://variable.example"
    assert uv_variables(told, tmp_path / "venv")["UV_DEFAULT_INDEX"] == "https://variable.example"


def test_the_section_of_install_is_stronger_than_the_global_one(tmp_path: Path) -> None:
    text = "[install]\nindex-url = https://install.example\n[global]\nindex-url = https://global.example\n"
    told = given_file(tmp_path, text)
    assert uv_variables(told, NOTHING)["UV_DEFAULT_INDEX"] == "https://install.example"


def test_percent_signs_and_several_lines(tmp_path: Path) -> None:
    text = "[global]\nextra-index-url =\n    https://u:p%40ss@a.example/simple\n    https://b.example\n"
    assert uv_variables(given_file(tmp_path, text), NOTHING)["UV_INDEX"] == (
        "https://u:p%40ss@a.example/simple https://b.example"
    )


def test_devnull_as_the_file_means_no_file_at_all(tmp_path: Path) -> None:
    write(tmp_path / "user" / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://user.example\n")
    assert uv_variables(environment(tmp_path, PIP_CONFIG_FILE=os.devnull), NOTHING) == {}


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("no", False), ("", False)])
def test_no_index(value: str, expected: bool, tmp_path: Path) -> None:
    assert no_index(environment(tmp_path, PIP_NO_INDEX=value), NOTHING) is expected


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_a_file_of_any_text_does_no_harm(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    told = given_file(tmp_path_factory.mktemp("pip"), text)
    assert all(value for value in uv_variables(told, NOTHING).values())


@given(st.binary(max_size=100))
def test_a_file_that_is_no_text_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("pip") / "pip.conf"
    file.write_bytes(content)
    uv_variables({"PIP_CONFIG_FILE": str(file), "HOME": str(file.parent)}, NOTHING)


URLS = st.from_regex(r"https://[a-z]{1,9}\.example/[a-z0-9%]{0,9}", fullmatch=True)


@given(st.lists(URLS, min_size=1, max_size=4))
def test_all_extra_indexes_arrive_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str]
) -> None:
    lines = "".join(f"\n    {url}" for url in urls)
    told = given_file(tmp_path_factory.mktemp("pip"), f"[global]\nextra-index-url ={lines}\n")
    assert uv_variables(told, NOTHING)["UV_INDEX"].split() == urls
