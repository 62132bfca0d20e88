# /// inferlet
# description = "Complete a text with the fine-grained calls alone, in the style of the paper."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "The capital of France is"
# help = "The text to complete."
# [flags.steps]
# default = 4
# help = "How many tokens to generate."
# [flags.fresh_pages]
# default = false
# help = "Give every step a page of its own to write and all earlier ones as context, as the paper's listing does."
# ///
"""Greedy completion without the support library: pages, Embeds, forward passes and distributions by hand."""

import math

from inferlet import (
    alloc_emb,
    alloc_kvpage,
    dealloc_emb,
    dealloc_kvpage,
    detokenize,
    embed_txt,
    flags,
    forward,
    get_auto_model,
    get_kvpage_size,
    get_next_dist,
    send,
    tokenize,
)


async def main():
    options = flags()
    model = get_auto_model()
    q = model.create_queue()
    prompt = tokenize(q, options["prompt"])
    complete = with_fresh_pages if options["fresh_pages"] else with_shared_pages
    answer = await complete(q, prompt, options["steps"], get_kvpage_size(model))
    send(detokenize(q, answer))


async def with_shared_pages(q, prompt, steps, page_size):
    """Pages fill up as tokens are appended; the context is whatever they hold."""
    n = len(prompt)
    pages = alloc_kvpage(q, math.ceil((n + steps) / page_size))
    embs, last = alloc_emb(q, n), alloc_emb(q, 1)
    embed_txt(q, prompt, list(range(n)), embs)
    forward(q, [], embs, pages, last)  # prefill: no context yet, keys and values go to `pages`
    answer = []
    for position in range(n, n + steps):
        dist = await get_next_dist(q, last)
        answer.append(dist.max_index())
        embed_txt(q, answer[-1], [position], last)
        forward(q, pages, last, pages, last)  # context: the live slots of `pages`; the new token is appended
    dealloc_emb(q, embs + last)
    dealloc_kvpage(q, pages)
    return answer


async def with_fresh_pages(q, prompt, steps, page_size):
    """The paper's listing: step i gets kv[:i] as context and kv[i:i+1] to write. Empty pages are no context."""
    n = len(prompt)
    filled = math.ceil(n / page_size)
    kv = alloc_kvpage(q, filled + steps)
    embs, last = alloc_emb(q, n), alloc_emb(q, 1)
    embed_txt(q, prompt, list(range(n)), embs)
    forward(q, [], embs, kv[:filled], last)
    answer = []
    for i in range(filled, filled + steps):
        dist = await get_next_dist(q, last)
        answer.append(dist.max_index())
        embed_txt(q, answer[-1], [n + i - filled], last)
        forward(q, kv[:i], last, kv[i : i + 1], last)
    dealloc_emb(q, embs + last)
    dealloc_kvpage(q, kv)
    return answer
