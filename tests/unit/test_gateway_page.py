"""The page's files as the gateway serves them, and their own rules, which Node.js runs."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from typing import Any

import pytest
from starlette.applications import Starlette

from config.sections import ServerConfig
from gateway.app import make_app
from gateway.services import services_for
from recognizer.catalog import LANGUAGE_CODES
from tests.harness.http import Exchange, Reply
from tests.harness.server import PROJECT

FOLDER = PROJECT / "gateway" / "page"
TESTS = PROJECT / "tests" / "page"


def app(**gateway: Any) -> Starlette:
    settings = {"gateway": {"servers": ["127.0.0.1:9"], **gateway}}
    return make_app(services_for(ServerConfig.model_validate(settings)))


def reply(path: str, headers: dict[str, str] | None = None, **gateway: Any) -> Reply:
    return asyncio.run(Exchange("GET", path, (), headers).run(app(**gateway)))


def linked() -> set[str]:
    """Every file that one of the others asks for."""
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.iterdir()]
    names = re.findall(r'(?:src|href)="page/([\w.]+)"|(?:from|URL\() ?"(?:\./)?([\w.]+\.js)"', "\n".join(texts))
    return {one or other for one, other in names}


def test_every_file_that_the_page_asks_for_is_served_with_its_type() -> None:
    types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    served = {path.name for path in FOLDER.iterdir() if path.suffix[1:] in types}
    assert linked() == served
    for name in served:
        answer = reply(f"/page/{name}")
        assert (answer.status, answer.headers["content-type"]) == (200, types[name.rpartition(".")[2]])
        assert answer.body == (FOLDER / name).read_bytes()


def test_the_page_may_use_nothing_of_other_hosts_and_nobody_may_frame_it() -> None:
    answer = reply("/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.iterdir()]
    hosts = {host for text in texts for host in re.findall(r"https?://[^\"'\s]+", text)}
    assert hosts == {"http://www.w3.org/2000/svg"}  # the name of a format, which nothing asks for


def test_a_browser_that_has_a_file_is_not_sent_it_again() -> None:
    etag = reply("/page/main.js").headers["etag"]
    answer = reply("/page/main.js", {"If-None-Match": etag})
    assert (answer.status, answer.body) == (304, b"")
    assert reply("/page/main.js", {"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/package.json", "/page/../app.py", "/page/%2e%2e/app.py"]
)
def test_nothing_else_is_served(path: str) -> None:
    assert reply(path).status == 404


def test_access_says_whether_the_key_is_right_and_which_doors_are_open() -> None:
    assert reply("/page/access", doors=["page", "realtime"]).json == {"doors": ["page", "realtime"]}
    assert reply("/page/access", api_keys=["secret"]).status == 401
    assert reply("/page/access", {"authorization": "Bearer wrong"}, api_keys=["secret"]).status == 401
    assert reply("/page/access", {"authorization": "Bearer secret"}, api_keys=["secret"]).status == 200
    assert reply("/", api_keys=["secret"]).status == 200  # it asks for the key itself


def test_a_gateway_whose_doors_lack_the_page_has_none() -> None:
    assert reply("/", doors=["rest"]).status == 404


def test_the_languages_are_those_that_the_recogniser_knows() -> None:
    text = (FOLDER / "languages.js").read_text(encoding="utf-8")
    codes = re.findall(r'^  \["(\w+)", ".+"\],$', text, re.MULTILINE)
    assert len(codes) == len(set(codes))
    assert set(codes) == LANGUAGE_CODES


def test_what_the_page_does_without_a_browser_holds() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not here")
    files = sorted(str(path) for path in TESTS.glob("*.test.js"))
    assert files
    done = subprocess.run([node, "--test", *files], capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout
