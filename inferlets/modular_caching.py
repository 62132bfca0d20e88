# /// inferlet
# description = "Answer prompts made of reusable modules, each of which is computed once, whatever it stands beside."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.schema]
# default = """
# shed: Anna has a hammer. Ben has a ladder.
# kitchen: Clara has a lamp. David has a spoon.
# summer: Emma has a boat. Felix has a kite.
# or winter: Emma has a coat. Felix has a bell."""
# help = "Modules as `name: text`, one a line, in the order of their positions; `or` is instead of the one before."
# [flags.prompts]
# default = """
# {shed}{kitchen} What does Clara have?
# {shed}{summer} What does Emma have?
# {kitchen}{winter} What does Emma have?"""
# help = "Prompts, one a line: the names of modules in braces, then a question."
# [flags.max_tokens]
# default = 16
# help = "The most tokens of an answer."
# [flags.keep]
# default = 0.0
# help = "Seconds for which later programs find the modules; 0 withdraws them at the end."
# ///
"""Modular caching: Prompt Cache (Gim et al., MLSys 2024), prompt modules whose attention states are reused.

A schema gives each module its place, a range of positions. A module is computed by itself: its tokens see no other
module (section 3.3). Its pages are exported under a hash of model, tokens and place. A prompt imports the modules it
names, whose positions may leave gaps, and computes what is new, behind the end of the schema. Alternatives (`or`, the
paper's unions) begin at one position and cannot be used together.

Faithful: positions, masks, unions, and that results differ from those of a plain prompt, whose modules see each
other. Simplified: no parameters in modules, no modules inside modules, no scaffolds.
"""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from inferlet import (
    ArgumentError,
    HandleError,
    alloc_emb,
    alloc_kvpage,
    dealloc_emb,
    dealloc_kvpage,
    detokenize,
    embed_txt,
    export_kvpage,
    exported_kvpages,
    flags,
    forward,
    get_auto_model,
    get_next_dist,
    import_kvpage,
    release_kvpage,
    tokenize,
)

FORGOTTEN_S = 60.0  # after which modules go that should be withdrawn at the end, if the program never gets there


@dataclass
class Module:
    """Tokens and the position of the first. Modules of one union exclude each other."""

    tokens: list[int]
    start: int
    union: int


async def main():
    options = flags()
    most, keep = options["max_tokens"], options["keep"]
    if keep < 0:
        raise ArgumentError(f"--keep {keep}: wanted are seconds, or 0 to withdraw the modules at the end")
    model, exported = get_auto_model(), set()
    q = model.create_queue()
    modules, end = lay_out(options["schema"], lambda text: tokenize(q, text), model.max_position)
    prompts = [assemble(line, modules) for line in options["prompts"].strip().splitlines()]
    try:
        for used, question in prompts:
            tokens = tokenize(q, f"\nQuestion: {question}\nAnswer:")
            if end + len(tokens) + most > model.max_position:
                raise ArgumentError(f"{question!r} and its answer do not fit between {end} and {model.max_position}")
            pages, computed = [], len(tokens)
            for module in used:
                found, fresh = shared_pages(q, model, module, keep or FORGOTTEN_S, exported)
                pages += found
                computed += fresh
            answer = await complete(q, model, pages, tokens, end, most)
            dealloc_kvpage(q, pages)
            whole = len(tokens) + sum(len(module.tokens) for module in used)
            print(f"{question}{answer} [computed {computed} of {whole} tokens]")
    finally:
        for name in exported if keep == 0 else ():
            with suppress(HandleError):  # somebody else withdrew it
                release_kvpage(name)


def lay_out(schema, tokens_of, longest):
    """The modules by name, and the position behind the last of them."""
    modules, end = {}, 0
    start = union = 0
    for line in filter(str.strip, schema.splitlines()):
        name, colon, text = line.removeprefix("or ").partition(":")
        if not (colon and text.strip() and re.fullmatch(r"\w+", name)) or name in modules:
            raise ArgumentError(f"--schema: {line!r} is not `name: text` with a name of its own")
        if not line.startswith("or "):
            start, union = end, union + 1
        modules[name] = Module(tokens_of(text.strip() + " "), start, union)
        end = max(end, start + len(modules[name].tokens))
        if end > longest:
            raise ArgumentError(f"--schema: module {name!r} ends at position {end}, past the model's {longest}")
    return modules, end


def assemble(prompt, modules):
    """The modules that a prompt names, and its question."""
    names = re.findall(r"\{(.*?)\}", prompt)
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise ArgumentError(f"--prompts: no module is named {unknown[0]!r}; the schema has {', '.join(modules)}")
    used = [modules[name] for name in names]
    if len({module.union for module in used}) < len(used):
        raise ArgumentError(f"--prompts: {prompt!r} names two modules of one place")
    return used, re.sub(r"\{.*?\}", "", prompt).strip()


def shared_pages(q, model, module, seconds, exported):
    """The pages of a module, and how many tokens had to be computed for them."""
    name = "module " + sha256(repr((model.name, model.version, module.start, module.tokens)).encode()).hexdigest()
    with suppress(HandleError):  # nobody has computed it, or its time is over
        return import_kvpage(name), 0
    count = len(module.tokens)
    pages, embeds = alloc_kvpage(q, math.ceil(count / model.kvpage_size)), alloc_emb(q, count)
    embed_txt(q, module.tokens, list(range(module.start, module.start + count)), embeds)
    forward(q, [], embeds, pages, [])
    dealloc_emb(q, embeds)
    try:
        export_kvpage(pages, name, seconds)
        exported.add(name)
    except ArgumentError:
        if all(export.name != name for export in exported_kvpages()):
            raise
    return pages, count  # of our own, if somebody was faster


async def complete(q, model, modules, tokens, start, most):
    """Greedy: tokens at the positions from `start` on see the pages of the modules, and each other."""
    pages, embeds = alloc_kvpage(q, math.ceil((len(tokens) + most) / model.kvpage_size)), alloc_emb(q, len(tokens))
    last, end = embeds[-1:], start + len(tokens)
    embed_txt(q, tokens, list(range(start, end)), embeds)
    forward(q, modules, embeds, pages, last)
    answer = []
    for position in range(end - 1, end + most - 1):
        if answer:
            embed_txt(q, answer[-1], position, last)
            forward(q, [*modules, *pages], last, pages, last)
        token = (await get_next_dist(q, last, 1)).max_index()
        if token in model.eos_tokens:
            break
        answer.append(token)
    dealloc_emb(q, embeds)
    dealloc_kvpage(q, pages)
    return detokenize(q, answer)
