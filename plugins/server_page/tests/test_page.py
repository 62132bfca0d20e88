"""The page in a browser: clicked, typed into, read."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from pie_core.application.limits import Limits

WAITING = "from inferlet import *\nasync def main():\n    while True:\n        send('got ' + await receive())\n"
FAILING = "from inferlet import *\nasync def main():\n    print('before')\n    raise ValueError('of my own')\n"
TAKING = """
from inferlet import *
async def main():
    return " ".join([str(len(await receive_blob())), *get_arg()])
"""
GENERATING = """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("some text")
        while True:
            context.fill_tokens([1])
            await context.next_dist()
            context.truncate(9)
"""
HOLDING = """
from inferlet import *
from inferlet.calls import alloc_kvpage
async def main():
    alloc_kvpage(get_auto_model().create_queue(), 9)
    send("holds")
    await receive()
"""


@pytest.fixture
def visit(browser):
    """`visit(server, fragment)`: the page, opened. At the end nothing was complained about in its console.

    allowed: complaints that may come. clock: `page.clock` is in charge of timers. script: runs before the page's own.
    routes: what is between its WebSockets and the server. settings: of the browser's context.
    """
    complaints, contexts = [], []

    def open_page(server, fragment="", allowed=None, clock=False, script=None, routes=None, connected=True, **settings):
        url = server if isinstance(server, str) else server.url
        context = browser.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(30000)
        page = context.new_page()
        if clock:
            page.clock.install()
        if script:
            page.add_init_script(script)
        if routes:
            page.route_web_socket(re.compile("/v1/ws"), routes)

        def note(kind, text):
            if allowed is None or not re.search(allowed, text):
                complaints.append((kind, text))

        page.on("console", lambda message: message.type in ("error", "warning") and note(message.type, message.text))
        page.on("pageerror", lambda error: note("exception", str(error)))
        page.on("request", lambda request: request.url.startswith(url) or note("request", request.url))
        page.goto(f"{url}/{fragment}")
        if connected:
            page.get_by_role("status").get_by_text("Connected").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def pick(page, name):
    page.get_by_label("Installed programs").select_option(name)
    page.wait_for_function("() => document.getElementById('source').value.includes('async def main')")


def write(page, source):
    page.get_by_label("Installed programs").select_option(label="(a new program)")
    page.wait_for_function("() => document.getElementById('source').value.includes('Chile')")
    page.get_by_label("Source").fill(source)


def run(page):
    page.get_by_role("button", name="Run").click()


def ended(page, how):
    page.locator("#run-status").get_by_text(f"{how} after").wait_for()


def output(page):
    return page.get_by_role("log")


def test_a_program_is_picked_given_an_argument_and_run(visit, pico):
    page = visit(pico)
    pick(page, "text_completion")
    assert "Complete a text" in page.locator("#description").inner_text()
    page.get_by_label("--prompt").fill("The capital of Japan is")
    run(page)
    ended(page, "Finished")
    assert output(page).inner_text().strip() == "Tokyo."
    page.get_by_role("region", name="Branches").get_by_text("The capital of Japan is Tokyo.").wait_for()
    assert int(page.locator("#fact-tokens").inner_text()) > 4
    for fact in ("first", "token", "time"):
        assert re.fullmatch(r"[\d.]+ m?s", page.locator(f"#fact-{fact}").inner_text())


def test_a_program_is_edited_and_its_forks_are_a_tree(visit, pico):
    page = visit(pico)
    page.get_by_label("Installed programs").select_option(label="(a new program)")
    source = page.get_by_label("Source")
    page.wait_for_function("() => document.getElementById('source').value.includes('Chile')")
    source.fill(source.input_value().replace('"Chile"', '"Italy"'))
    assert page.get_by_text("(edited)").is_visible()
    run(page)
    ended(page, "Finished")
    said = output(page).inner_text().split("\n")
    assert [line.replace("  ", " ") for line in said if line] == ["France: Paris", "Japan: Tokyo", "Italy: Rome"]
    page.get_by_role("region", name="Branches").get_by_text("Italy is Rome.").wait_for()
    forks = page.locator("#tree > ul > li > ul > li > .text")
    texts = [text.strip() for text in forks.all_inner_texts()]
    assert texts == ["France is Paris.", "Japan is Tokyo.", "Italy is Rome."]
    page.get_by_role("button", name="Restore").click()
    assert "Chile" in source.input_value()
    assert page.get_by_text("(edited)").is_hidden()


def test_messages_go_both_ways_and_the_program_is_stopped(visit, fake):
    page = visit(fake)
    write(page, WAITING)
    assert page.get_by_role("button", name="Send").is_disabled()
    run(page)
    page.get_by_label("Message to the program").fill("hello")
    page.keyboard.press("Enter")
    output(page).get_by_text("got hello").wait_for()
    assert "you: hello" in output(page).inner_text()
    page.get_by_role("button", name="Stop").click()
    ended(page, "Stopped")
    assert fake.until(lambda: not fake.state.controller.application.inferlets)
    assert page.get_by_role("button", name="Run").is_enabled()


def test_a_failure_shows_the_traceback_and_a_refusal_its_reason(visit, fake):
    page = visit(fake)
    write(page, FAILING)
    run(page)
    ended(page, "Failed")
    alert = page.get_by_role("alert")
    assert "new.py" in alert.inner_text() and "line 4" in alert.inner_text()
    assert "ValueError: of my own" in alert.inner_text()
    assert output(page).inner_text().strip() == "before"
    page.get_by_label("Source").fill("async def main(:\n")
    run(page)
    page.locator("#run-status").get_by_text("Not started").wait_for()
    assert "SyntaxError" in alert.inner_text() and "new.py:1" in alert.inner_text()
    page.get_by_label("More arguments").fill("--name 'not closed")
    run(page)
    alert.get_by_text("is not closed").wait_for()
    pick(page, "text_completion")
    page.get_by_label("More arguments").fill("--promt=x")
    run(page)
    alert.get_by_text("unknown argument '--promt=x'").wait_for()


def test_files_are_given_to_the_program(visit, fake):
    page = visit(fake)
    write(page, TAKING)
    content = bytes(range(256)) * 300
    page.get_by_label("Files for").set_input_files({"name": "a.bin", "mimeType": "image/png", "buffer": content})
    page.get_by_label("More arguments").fill(r"""one 'two three' "fo\"ur" fi\ ve""")
    run(page)
    ended(page, "Finished")
    assert 'returned: 76800 one two three fo"ur fi ve' in output(page).inner_text()


def test_the_editor_indents_and_can_be_left_with_the_keyboard(visit, fake):
    page = visit(fake)
    write(page, "")
    source = page.get_by_label("Source")
    source.focus()
    page.keyboard.type("if x:\ny = 1")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("z = 2")
    assert source.input_value() == "if x:\n    y = 1\nz = 2"
    page.keyboard.press("Tab")
    assert source.input_value().endswith("z = 2   ")
    page.keyboard.press("Control+A")
    page.keyboard.press("Tab")
    assert source.input_value() == "    if x:\n        y = 1\n    z = 2   "
    page.keyboard.press("Control+Z")
    assert source.input_value() == "if x:\n    y = 1\nz = 2   "
    assert page.locator("#gutter").inner_text().split() == ["1", "2", "3"]
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") != "source"


def test_everything_can_be_done_with_the_keyboard(visit, pico):
    page = visit(pico)
    pick(page, "text_completion")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "source":
            page.keyboard.press("Escape")
        if page.evaluate("document.activeElement.id") == "run":
            break
    page.keyboard.press("Enter")
    ended(page, "Finished")
    assert "Paris" in output(page).inner_text()
    page.get_by_role("link", name="Live map").press("Enter")
    page.get_by_role("heading", name="Pools").wait_for()
    assert page.get_by_role("heading", name="Output").is_hidden()


def test_the_map_shows_what_runs_and_stops_it(visit, fake):
    inferlet = fake.launch(HOLDING, "holding")
    page = visit(fake, "#map")
    row = page.get_by_role("row").filter(has_text="holding")
    row.get_by_text("running").wait_for()
    assert row.get_by_role("rowheader").inner_text() == inferlet.id
    assert row.get_by_role("cell").nth(3).inner_text() == "9"
    holders = page.get_by_role("region", name="Holders: fake, Pages of KV cache")
    held = holders.get_by_role("row").filter(has_text=inferlet.id)
    assert held.get_by_role("cell").all_inner_texts() == ["9", "0"]
    page.get_by_text("9 of 64 are in use.").wait_for()
    mark = row.get_by_role("button", name="Show the pages")
    mark.click()
    assert mark.get_attribute("aria-pressed") == "true"
    row.get_by_role("button", name="Stop").click()
    page.get_by_text("Nothing runs.").wait_for()
    page.get_by_text("0 of 64 are in use.").wait_for()


def test_waves_are_drawn_and_told_in_the_table(visit, fake_served):
    with fake_served() as server:
        page = visit(server, "#map")
        page.wait_for_function("() => document.getElementById('map-note').textContent === 'Live.'")
        assert coloured(page, "#waves") == coloured(page, "#rates") == 0
        server.launch(GENERATING)
        table = page.get_by_role("region", name="Batches")
        for call, trait in (("forward", "forward"), ("embed_txt", "input_text"), ("get_next_dist", "output_text")):
            row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=call, exact=True))
            row.wait_for()
            assert row.get_by_role("cell").first.inner_text() == trait
        page.wait_for_function("() => !document.getElementById('rates-caption').textContent.endsWith('at most 1.')")
        assert coloured(page, "#waves") > 0
        assert coloured(page, "#rates") > 0
        page.context.close()  # before its server goes away
        server.stop_all()


PIXELS = """(canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
    const pixel = (at) => [...data.subarray(4 * at, 4 * at + 4)];
"""


def coloured(page, canvas):
    """How many pixels are not grey."""
    count = """
        let found = 0;
        for (let at = 0; at < data.length / 4; at++) {
            const [red, green, blue, opacity] = pixel(at);
            found += opacity > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60;
        }
        return found;
    }"""
    return page.locator(canvas).evaluate(PIXELS + count)


def test_the_pool_is_a_picture_of_its_pages(visit, fake):
    """Of 64 cells nine are of another colour, as nine pages are held."""
    inferlet = fake.launch(HOLDING, "holding")
    page = visit(fake, "#map")
    page.get_by_role("row").filter(has_text="holding").wait_for()
    page.get_by_text("9 of 64 are in use.").wait_for()
    assert inferlet.outcome is None
    cells = """
        const columns = Math.floor(canvas.width / 14) - 1;
        const cell = (at) => (Math.floor(at / columns) * 14 + 8) * canvas.width + (at % columns) * 14 + 8;
        return Array.from({length: 64}, (_, at) => pixel(cell(at)).join());
    }"""
    colours = page.locator("#pools canvas").first.evaluate(PIXELS + cells)
    assert sorted(colours.count(colour) for colour in set(colours)) == [9, 55]


def test_a_thousand_inferlets_are_shown_and_the_page_still_answers(visit, fake_served):
    source = "import asyncio\nasync def main(): await asyncio.sleep(3600)"
    with fake_served(Limits(max_inferlets=4)) as server:
        for _ in range(1000):
            server.launch(source, "sleeper")
        page = visit(server, "#map")
        page.wait_for_function("() => document.querySelectorAll('#inferlets tbody tr').length === 1000")
        assert page.locator("#now-inferlets").inner_text() == "4"
        assert page.locator("#now-waiting").inner_text() == "996"
        page.get_by_role("link", name="Playground").click()
        page.get_by_role("heading", name="Output").wait_for()
        page.context.close()  # before its server goes away
        server.stop_all()


def test_a_tab_that_nobody_sees_asks_nothing(visit, fake):
    page = visit(fake, "#map", clock=True)
    page.wait_for_function("() => document.getElementById('map-note').textContent === 'Live.'")
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(fake.url)))
    page.evaluate("""() => {
        Object.defineProperty(document, 'hidden', {value: true, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }""")
    page.evaluate("() => fetch('/livez')")  # what was under way is over then
    page.clock.run_for(1000)
    asked.clear()
    page.clock.run_for(60_000)
    page.evaluate("() => fetch('/livez')")
    assert asked == ["/livez"]
    with page.expect_request("**/page/state*"):
        page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")


NOTE_SOCKETS = """
window.sockets = [];
window.WebSocket = new Proxy(WebSocket, {construct(target, args) {
    window.sockets.push(args.map(String));
    return new target(...args);
}});
"""


def test_the_key_is_sent_and_kept_in_the_tab_alone(visit, fake):
    page = visit(fake, allowed="WebSocket|subprotocol|Sec-WebSocket-Protocol", script=NOTE_SOCKETS)
    address = fake.url.replace("http", "ws") + "/v1/ws"
    assert page.evaluate("sockets") == [[address]]
    page.get_by_text("API key").first.click()
    page.get_by_label("API key").fill("pie-0123")
    page.get_by_role("button", name="Use").click()
    page.wait_for_function("sockets.length > 1")
    assert page.evaluate("sockets[1]") == [address, "pie,pie-key.pie-0123"]
    with page.expect_request("**/page/state*") as asked:
        page.get_by_role("link", name="Live map").click()
    assert asked.value.headers["authorization"] == "Bearer pie-0123"
    assert page.evaluate("[...Array(sessionStorage.length).keys()].map((n) => sessionStorage.key(n))") == ["pie-key"]
    assert page.evaluate("localStorage.length") == 0
    page.get_by_label("API key").fill("not a token")
    page.get_by_role("button", name="Use").click()
    page.get_by_role("status").get_by_text("characters that no key has").wait_for()
    page.get_by_label("API key").fill("")
    page.get_by_role("button", name="Use").click()
    page.get_by_role("status").get_by_text("Connected").wait_for()


def test_a_server_that_goes_away_is_told_and_found_again(visit, fake_served):
    with fake_served() as server:
        port = int(server.url.rpartition(":")[2])
        page = visit(server, allowed="WebSocket|ERR_CONNECTION|Failed to load")
        write(page, WAITING)
        run(page)
        page.locator("#run-status").get_by_text("Running").wait_for()
    page.locator("#run-status").get_by_text(re.compile("Stopped|Lost")).wait_for()
    page.get_by_role("status").get_by_text(re.compile("Trying again|closed the connection")).wait_for()
    with fake_served(port=port):
        page.get_by_role("status").get_by_text("Connected").wait_for()
        run(page)
        page.locator("#run-status").get_by_text("Running").wait_for()
        page.get_by_role("button", name="Stop").click()
        ended(page, "Stopped")


def test_a_connection_that_breaks_is_told_and_made_again(visit, fake):
    sockets = []

    def pass_on(socket):
        socket.connect_to_server()
        sockets.append(socket)

    page = visit(fake, routes=pass_on)
    write(page, WAITING)
    run(page)
    page.locator("#run-status").get_by_text("Running").wait_for()
    sockets[0].close(code=1011)
    ended(page, "Lost")
    page.get_by_role("alert").get_by_text("The connection broke").wait_for()
    page.get_by_role("status").get_by_text("Connected").wait_for()
    run(page)
    page.locator("#run-status").get_by_text("Running").wait_for()
    assert len(sockets) > 1


def test_a_server_without_room_says_so_in_words(visit, fake_served):
    with fake_served(Limits(max_inferlets=1, line_launches=0)) as server:
        server.launch(HOLDING, "holding")
        page = visit(server)
        write(page, WAITING)
        run(page)
        page.get_by_role("alert").get_by_text("has no room for another program now").wait_for()
        assert "1 inferlets run already" in page.get_by_role("alert").inner_text()
        page.context.close()
        server.stop_all()


def test_a_model_that_is_still_loading_is_told(visit, loading):
    url, go_on = loading
    page = visit(url, connected=False, allowed="WebSocket|503")
    page.get_by_role("status").get_by_text("The server is not ready: the model is still being loaded").wait_for()
    go_on()
    page.get_by_role("status").get_by_text("Connected").wait_for()
    page.wait_for_function("() => document.getElementById('program').value === 'text_completion'")
    page.context.close()


SCREENS = [
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    {"viewport": {"width": 360, "height": 640}, "reduced_motion": "reduce"},
    {"viewport": {"width": 640, "height": 450}},  # 1280 by 900 at a zoom of 200 %
]


@pytest.mark.parametrize("settings", SCREENS, ids=["light", "dark", "phone", "zoomed"])
@pytest.mark.parametrize("view", ["playground", "map"])
def test_axe_finds_nothing_and_no_view_is_wider_than_the_screen(visit, fake, view, settings):
    fake.launch(HOLDING, "holding")
    page = visit(fake, f"#{view}", **settings)
    if view == "map":
        page.get_by_role("row").filter(has_text="holding").wait_for()
    else:
        write(page, FAILING)
        run(page)
        ended(page, "Failed")
    found = Axe().run(page).response
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
    assert len(found["passes"]) > 20
    wide, width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= width == settings["viewport"]["width"]
