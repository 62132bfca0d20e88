"""A question about a long text, of which a part is seen, against full attention over all of it.

transformers has no such pattern. Both sides run every token of the text once, so the technique cannot save that; what
it saves is memory afterwards, which is not shown here. The text is short because it is an approximation: of a longer
one the bundled model, which was not trained so, gives other answers than under full attention.
"""

from techniques.bench import Bench
from techniques.form import Baseline, Technique
from techniques.tasks import possessions, questions, suffixes

TEXT = possessions(2)  # some 300 tokens
CHUNK, TOKENS = 2, 16


def prompts(clients: int) -> list[str]:
    return [TEXT + suffix for suffix in suffixes(clients)]


async def ours(bench: Bench, clients: int) -> list[str]:
    flags = [f"--text={TEXT}", f"--chunk={CHUNK}", f"--max-tokens={TOKENS}"]
    told = await bench.run("hierarchical_attention", [[*flags, f"--question={each}"] for each in questions(clients)])
    return [text.splitlines()[1] for text in told]


async def plain(bench: Bench, clients: int) -> list[str]:
    return [text.strip() for text in await bench.complete(prompts(clients), TOKENS)]


async def transformers(bench: Bench, clients: int) -> list[str]:
    return [text.strip() for text in bench.generate(prompts(clients), TOKENS)]


TECHNIQUES = [
    Technique(
        "hierarchical attention",
        ours,
        {
            "our plain completion, full attention": Baseline(plain),
            "transformers, full attention": Baseline(transformers),
        },
    )
]
