"""pip's settings, handed on to uv as variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import SetupError
from edgehone.execution.environments import pip_settings
from edgehone.execution.environments.pip_settings import PipSettings, parse, read_pip_settings


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """The variables of a user without any setting. Files of the machine itself (/etc/pip.conf) are still read."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return {**inherited, "HOME": str(tmp_path / "user"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg"), **more}


def write_user_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "user" / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")


def uv_variables(pip_variables: dict[str, str], **uv: str) -> dict[str, str]:
    """The variables for uv that follow from PIP_* variables, with no file of pip's read."""
    without_files = {"PIP_CONFIG_FILE": os.devnull, "PATH": os.environ["PATH"], **pip_variables, **uv}
    return read_pip_settings(without_files).uv_variables(without_files)


def test_without_settings_no_variable_is_set() -> None:
    assert uv_variables({}) == {}


def test_variables_of_pip_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    pip_variables = {
        "PIP_INDEX_URL": "https://user:secret@index.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example/simple\n https://b.example/simple",
        "PIP_FIND_LINKS": f"{tmp_path / 'wheels'} https://c.example/links",
        "PIP_TRUSTED_HOST": "a.example b.example",
        "PIP_CERT": "/certs/ours.pem",
        "PIP_CLIENT_CERT": "/certs/me.pem",
        "PIP_PROXY": "http://proxy.example:3128",
    }
    assert uv_variables(pip_variables) == {
        "UV_DEFAULT_INDEX": "https://user:secret@index.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path / 'wheels'},https://c.example/links",
        "UV_INSECURE_HOST": "a.example b.example",
        "SSL_CERT_FILE": "/certs/ours.pem",
        "SSL_CLIENT_CERT": "/certs/me.pem",
        "ALL_PROXY": "http://proxy.example:3128",
    }


def test_without_any_pip_its_variables_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_settings, "_pip_commands", lambda environment: [])
    assert uv_variables({"PIP_INDEX_URL": "https://index.example"}) == {
        "UV_DEFAULT_INDEX": "https://index.example"
    }


def test_an_interpreter_without_pip_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip = tmp_path / "python"
    without_pip.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    without_pip.chmod(0o755)
    real = pip_settings._pip_commands
    monkeypatch.setattr(
        pip_settings, "_pip_commands", lambda variables: [[str(without_pip)], *real(variables)]
    )
    assert uv_variables({"PIP_PROXY": "http://proxy.example"}) == {"ALL_PROXY": "http://proxy.example"}


def test_folders_of_find_links_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    assert PipSettings({"find-links": f"{tmp_path / 'gone'}"}).uv_variables({}) == {}


@pytest.mark.parametrize(
    ("option", "variable"),
    [
        ("index-url", "UV_DEFAULT_INDEX"),
        ("index-url", "UV_INDEX_URL"),
        ("extra-index-url", "UV_INDEX"),
        ("extra-index-url", "UV_EXTRA_INDEX_URL"),
        ("find-links", "UV_FIND_LINKS"),
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "https_proxy"),
    ],
)
def test_a_setting_of_uv_overrides_that_of_pip(option: str, variable: str) -> None:
    settings = PipSettings({option: "https://pip.example"})
    assert settings.uv_variables({variable: "https://uv.example"}) == {}


def test_a_variable_overrides_the_users_file(tmp_path: Path) -> None:
    write_user_file(tmp_path, "[global]\nindex_url = https://user.example\n")
    variables = environment(tmp_path)
    assert read_pip_settings(variables).options["index-url"] == "https://user.example"
    variables["PIP_INDEX_URL"] = "https://variable.example"
    assert read_pip_settings(variables).options["index-url"] == "https://variable.example"


def test_the_section_for_install_overrides_the_global_one(tmp_path: Path) -> None:
    write_user_file(
        tmp_path,
        "[install]\nindex-url = https://install.example\n[global]\nindex-url = https://global.example\n",
    )
    assert read_pip_settings(environment(tmp_path)).options["index-url"] == "https://install.example"


def test_percent_signs_and_values_of_several_lines(tmp_path: Path) -> None:
    write_user_file(
        tmp_path,
        "[global]\nextra-index-url =\n    https://u:p%40ss@a.example/simple\n    https://b.example\n",
    )
    variables = environment(tmp_path)
    assert read_pip_settings(variables).uv_variables(variables)["UV_INDEX"] == (
        "https://u:p%40ss@a.example/simple https://b.example"
    )


def test_devnull_as_the_file_disables_all_files(tmp_path: Path) -> None:
    write_user_file(tmp_path, "[global]\nindex-url = https://user.example\n")
    assert read_pip_settings(environment(tmp_path, PIP_CONFIG_FILE=os.devnull)).uv_variables({}) == {}


def test_a_file_that_pip_cannot_read_is_an_error_in_its_words(tmp_path: Path) -> None:
    write_user_file(tmp_path, "[global]\nno value\n")
    with pytest.raises(SetupError, match=r"pip's settings cannot be read: .*pip\.conf") as caught:
        read_pip_settings(environment(tmp_path))
    assert caught.value.hint and caught.value.hint.endswith("pip config debug lists all of them")


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("no", False), ("", False)])
def test_no_index(value: str, expected: bool) -> None:
    assert PipSettings({"no-index": value}).no_index is expected


@given(st.text(max_size=300))
def test_any_output_of_pip_is_parsed(listing: str) -> None:
    assert all(isinstance(value, str) for value in parse(listing).values())


@given(st.lists(st.from_regex(r"https://[a-z0-9:@%.]{1,20}", fullmatch=True), min_size=1, max_size=4))
def test_several_urls_are_all_handed_on(urls: list[str]) -> None:
    value = "".join(f"\n    {url}" for url in urls)
    settings = PipSettings(parse(f"global.extra-index-url={value!r}\n"))
    assert settings.uv_variables({})["UV_INDEX"].split() == urls
