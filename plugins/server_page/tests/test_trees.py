"""The tree of branches is what was computed: as many tokens as were run, along the paths that the program took."""

from __future__ import annotations

import json

import pytest

from pie_core.testing.fake import END

LOW = """
from inferlet import *
from inferlet.calls import *
async def main():
    queue = get_auto_model().create_queue()
    pages, embeds = alloc_kvpage(queue, 2), alloc_emb(queue, 5)
"""
RECORD = """
import json, random
from inferlet import *

async def main():
    draw = random.Random(int(get_arg()[0]))
    model = get_auto_model()
    contexts, judged, held = [model.create_context()], [], []
    await contexts[0].fill("the beginning of all")
    for _ in range(60):
        context = draw.choice(contexts)
        what = draw.random()
        if what < 0.3 and len(contexts) < 8:
            contexts.append(context.fork())
        elif what < 0.6:
            context.fill_tokens(draw.choices(range(32, 127), k=draw.randrange(1, 40)))
        elif what < 0.7 and len(context.tokens) > 1:
            context.truncate(draw.randrange(1, len(context.tokens)))
        elif what < 0.75 and len(contexts) > 1:
            contexts.remove(context)
            context.close()
            continue
        held.append(bytes(context.tokens).decode())
        if draw.random() < 0.6:
            await context.next_dist()
            judged.append(held[-1])
    return json.dumps([judged, held])
"""


def tree(server, inferlet):
    answer = server.get(f"/page/trees/{inferlet.id}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


def run(server, source, *arguments):
    server.get("/page/state")  # from now on somebody looks
    counters = server.model.layer.statistics.calls
    before = sum(counters[name].weight for name in ("forward", "decode") if name in counters)
    inferlet = server.launch(source, arguments=arguments)
    returned = server.result(inferlet)
    after = sum(counters[name].weight for name in ("forward", "decode") if name in counters)
    return tree(server, inferlet), returned, after - before


def paths(told):
    """The text from the root to the end of each stretch."""
    found = []
    for branch in told["branches"]:
        found.append((found[branch["after"]] if branch["after"] >= 0 else "") + branch["text"])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_every_context_is_a_path_of_the_tree_and_every_token_that_was_run_is_in_it(fake, seed):
    """The oracle of paths is the program's own record of its tokens, that of numbers is the statistics."""
    told, returned, weight = run(fake, RECORD, str(seed))
    assert told["complete"] and told["noted"]
    assert told["tokens"] == weight == sum(branch["computed"] for branch in told["branches"])
    judged, held = json.loads(returned)
    assert len(judged) > 10
    found = paths(told)
    for text in judged:
        assert any(path.startswith(text) for path in found)
    for path in found:
        assert any(text.startswith(path) for text in held)


def test_forks_share_what_stands_before_them(fake):
    told, _, weight = run(
        fake,
        """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("once upon a time there was ")
        for word in ("a fox", "a bear", "an owl"):
            with context.fork() as branch:
                await branch.fill(word + "!")
                await branch.next_dist()
""",
    )
    beginning = "once upon a time there was "
    (root, *rest) = told["branches"]
    assert (root["after"], root["text"], root["tokens"]) == (-1, beginning + "a", len(beginning) + 1)
    assert [(each["after"], each["text"]) for each in rest] == [(0, " "), (1, "fox!"), (1, "bear!"), (0, "n owl!")]
    assert told["tokens"] == weight
    assert told["first_token_s"] > 0
    assert told["model"] == "fake"


def test_separate_contexts_with_one_text_show_that_it_was_computed_twice(fake):
    told, _, _ = run(
        fake,
        """
from inferlet import *
async def main():
    for _ in range(2):
        with get_auto_model().create_context() as context:
            await context.fill("the same")
            await context.next_dist()
""",
    )
    assert [(b["text"], b["tokens"], b["computed"]) for b in told["branches"]] == [("the same", 8, 16)]


def test_tokens_that_the_server_draws_are_in_it_the_last_one_though_it_was_not_run(fake):
    fake.model.backend.answer = [*b"answer", END]
    told, returned, weight = run(
        fake,
        """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("1234567")
        return await context.generate(greedy(), max_tokens(5))
""",
    )
    fake.model.backend.answer = None
    assert [branch["text"] for branch in told["branches"]] == ["1234567" + returned]
    assert told["branches"][0]["tokens"] == 12
    assert told["tokens"] == told["branches"][0]["computed"] == weight == 11


def test_draws_one_by_one_are_in_it(fake):
    told, _, weight = run(
        fake,
        """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("beginning ")
        context.attention = lambda position: [range(position)]
        text = await context.generate(greedy(), max_tokens(4))
        return text
""",
    )
    assert len(told["branches"]) == 1
    assert told["branches"][0]["text"].startswith("beginning ")
    assert told["branches"][0]["tokens"] == 14
    assert told["tokens"] == weight


def test_a_mask_says_which_token_of_a_pass_stands_behind_which(fake):
    """Two continuations of one text in a single pass, told apart by the mask."""
    told, _, _ = run(
        fake,
        LOW
        + """
    embed_txt(queue, list(b"ab"), [0, 1], embeds[:2])
    forward(queue, [], embeds[:2], pages, [])
    embed_txt(queue, list(b"cCdDE"), [2, 2, 3, 3, 4], embeds)
    rows = ["11" + row for row in ("10000", "01000", "10100", "01010", "01011")]
    forward(queue, pages, embeds, pages, [], [[sign == "1" for sign in row] for row in rows])
    await synchronize(queue)
""",
    )
    assert [(each["after"], each["text"]) for each in told["branches"]] == [(-1, "ab"), (0, "cd"), (0, "CDE")]


def test_a_token_stands_behind_the_last_one_before_its_position_in_the_pages_of_its_pass(fake):
    told, _, _ = run(
        fake,
        LOW
        + """
    embed_txt(queue, list(b"abc"), [0, 1, 2], embeds[:3])
    forward(queue, [], embeds[:3], pages[:1], [])
    for token, position, seen in ((b"X", 2, pages), (b"Y", 1, pages), (b"Z", 3, [])):
        embed_txt(queue, list(token), [position], embeds[:1])
        forward(queue, seen, embeds[:1], pages[1:], [])
    await synchronize(queue)
""",
    )
    branches = [(each["after"], each["text"]) for each in told["branches"]]
    assert branches == [(-1, "a"), (0, "b"), (1, "c"), (1, "X"), (0, "Y"), (-1, "Z")]


def test_what_is_drawn_from_no_hidden_state_stands_behind_nothing(fake):
    told, _, _ = run(
        fake,
        LOW
        + """
    embed_txt(queue, list(b"ab"), [0, 1], embeds[:2])
    forward(queue, [], embeds[:2], pages, embeds[1:2])
    await sample(queue, embeds[1:2], [])
    embed_txt(queue, list(b"c"), [2], embeds[1:2])
    await sample(queue, embeds[1:2], [])
""",
    )
    (branch,) = told["branches"]
    assert (branch["text"][:2], branch["tokens"], branch["computed"]) == ("ab", 3, 2)


def test_a_program_that_computes_without_end_is_noted_up_to_a_limit(fake, monkeypatch):
    monkeypatch.setattr("pie_server_page.branches.Branches.__init__.__defaults__", (100,))
    told, _, weight = run(
        fake,
        """
from inferlet import *
async def main():
    for _ in range(5):
        with get_auto_model().create_context() as context:
            await context.fill("x" * 30)
            await context.next_dist()
""",
    )
    assert weight == 150
    assert (told["tokens"], told["complete"]) == (100, False)


def test_what_never_used_the_model_has_no_tree(fake):
    told, _, _ = run(fake, "async def main(): return 'nothing'")
    assert (told["noted"], told["tokens"], told["branches"]) == (False, 0, [])
    assert fake.get("/page/trees/nobody").json()["noted"] is False


def test_the_trees_of_the_newest_are_kept_and_of_those_that_somebody_looks_at(fake):
    source = "from inferlet import *\nasync def main(): get_auto_model().create_queue()"
    watched, forgotten = (fake.launch(source) for _ in range(2))
    fake.get("/page/state")
    watched, forgotten = (run_of(fake, source) for _ in range(2))
    for _ in range(31):
        assert tree(fake, watched)["noted"]
        run_of(fake, source)
    assert tree(fake, watched)["noted"]
    assert not tree(fake, forgotten)["noted"]


def run_of(server, source):
    inferlet = server.launch(source)
    server.result(inferlet)
    return inferlet


def test_the_bundled_models_forks_are_a_tree_of_words(pico):
    told, returned, weight = run(
        pico,
        """
from inferlet import *
async def main():
    answers = []
    with get_auto_model().create_context() as context:
        await context.fill("The capital of")
        for country in ("France", "Japan", "Chile"):
            branch = context.fork()
            await branch.fill(f" {country} is")
            answers.append(await branch.generate_until(max_token=8, stop="."))
    return ",".join(answers)
""",
    )
    assert returned == " Paris, Tokyo, Santiago"
    root, *rest = told["branches"]
    assert root["text"].rstrip() == "The capital of"
    assert {each["after"] for each in rest} == {0}
    assert [root["text"] + each["text"] for each in rest] == [
        f"The capital of {country} is {city}."
        for country, city in (("France", "Paris"), ("Japan", "Tokyo"), ("Chile", "Santiago"))
    ]
    assert told["tokens"] == weight
