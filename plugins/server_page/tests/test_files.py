"""The page's files: what they are, under which policy, and that the browser needs nothing else."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pie_server_page
import pytest
from hatchling.builders.wheel import WheelBuilder

STATIC = Path(pie_server_page.__file__).parent / "static"
NAMES = sorted(path.name for path in STATIC.iterdir())
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def directives(response):
    return dict(part.strip().partition(" ")[::2] for part in response.headers["Content-Security-Policy"].split(";"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_its_type_its_policy_and_a_tag(fake, name):
    answer = fake.get(f"/page/files/{name}")
    assert answer.status_code == 200
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["Content-Type"].partition(";")[0] == TYPES[Path(name).suffix]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    again = fake.get(f"/page/files/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert fake.get(f"/page/files/{name}", headers={"If-None-Match": '"another"'}).status_code == 200


def test_the_page_is_at_the_root_and_may_load_from_its_own_server_alone(fake):
    answer = fake.get("/")
    assert answer.content == (STATIC / "index.html").read_bytes()
    policy = directives(answer)
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    html = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", html)
    for path in STATIC.iterdir():
        text = path.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|[\"'(]//|\beval\(|innerHTML|insertAdjacentHTML", text), path.name


def test_every_file_is_used_and_every_used_file_is_there(fake):
    reached, left = {"index.html"}, ["index.html"]
    while left:
        text = (STATIC / left.pop()).read_text("utf-8")
        found = {*re.findall(r'"/page/files/([^"]+)"', text), *re.findall(r'from "\./([^"]+)"', text)}
        left += found - reached
        reached |= found
    assert sorted(reached) == NAMES


def test_the_wheel_has_every_file(tmp_path):
    (wheel,) = WheelBuilder(str(Path(__file__).parents[1])).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert [Path(name).name for name in sorted(names) if "/static/" in name] == NAMES


@pytest.mark.parametrize("name", ["nothing.js", "..%2fplugin.py", "%2e%2e/plugin.py", "index.html%00", ".."])
def test_what_is_not_a_file_of_the_page_is_not_found(fake, name):
    answer = fake.get(f"/page/files/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_every_element_that_a_script_looks_up_is_in_the_page():
    ids = set(re.findall(r'\bid="([^"]+)"', (STATIC / "index.html").read_text("utf-8")))
    scripts = "".join(path.read_text("utf-8") for path in STATIC.glob("*.js"))
    wanted = set(re.findall(r'byId\("([^"]+)"\)', scripts))
    assert wanted <= ids
    assert len(wanted) > 20


def test_text_and_its_background_have_the_contrast_of_level_aa_in_both_schemes():
    light, dark = re.findall(r":root \{(.*?)\}", (STATIC / "page.css").read_text("utf-8"), re.DOTALL)
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([\w-]+): (#\w+);", scheme))
        for text in ("text", "quiet", "accent", "wrong"):
            for back in ("back", "face"):
                assert contrast(colours[text], colours[back]) >= 4.5, (text, back)
        assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
        for border in ("line", "busy"):
            assert contrast(colours[border], colours["back"]) >= 3, border


def contrast(one, other):
    """WCAG 2.2, "contrast ratio"."""
    high, low = sorted(map(luminance, (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
