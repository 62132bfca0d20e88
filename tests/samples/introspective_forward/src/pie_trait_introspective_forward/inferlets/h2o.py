# /// inferlet
# description = "Generate in a bounded cache: it keeps the tokens that got most attention, and the last ones."
# traits = ["introspective_forward", "input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "The capital of France is"
# help = "The text to continue."
# [flags.max_tokens]
# default = 32
# help = "The most tokens to generate."
# [flags.heavy]
# default = 16
# help = "How many tokens stay because they got much attention."
# [flags.recent]
# default = 16
# help = "How many of the last tokens stay in any case; at least one."
# [flags.trace]
# default = false
# help = "Print a line of JSON for each token instead of the text: the token, its probability, which positions went."
# ///
"""Heavy hitters: H2O (Zhang et al., NeurIPS 2023), a cache of so many tokens, evicted by accumulated attention.

A token's score is the attention that all tokens since have given to it (section 4.1). When more than `heavy + recent`
tokens are there, those with the lowest scores go, the last `recent` ones excepted; the prompt is run as a whole first.

Faithful: the score and who goes. Different: the paper scores and evicts in each head of each layer by itself; a slot of
a page holds a token for all of them, so scores are added up over heads and layers. Tokens that go are hidden at once;
when a page full of them is hidden, what stays is copied together and the old pages are freed.
"""

import json
import math

from inferlet import (
    ArgumentError,
    alloc_emb,
    alloc_kvpage,
    copy_kvpage,
    dealloc_kvpage,
    detokenize,
    embed_txt,
    flags,
    forward_with_attention,
    get_auto_model,
    get_next_dist,
    mask_kvpage,
    tokenize,
)


class Token:
    """One that is held in a page."""

    def __init__(self, position):
        self.position = position
        self.score = 0.0
        self.hidden = False


class Cache:
    """Tokens in the order of their slots, page by page; the pages are full but for the last."""

    def __init__(self, q, page_size):
        self.q = q
        self.page_size = page_size
        self.pages = []
        self.tokens = []

    async def append(self, embeds, position, out):
        """Run tokens behind those that are there, into `out`, and score all by the attention that they got."""
        room = math.ceil((len(self.tokens) + len(embeds)) / self.page_size) - len(self.pages)
        context = list(self.pages)
        self.pages += alloc_kvpage(self.q, room) if room else []
        pages = self.pages[len(self.tokens) // self.page_size :]
        told = await forward_with_attention(self.q, context, embeds, pages, [out])
        self.tokens += [Token(position + place) for place in range(len(embeds))]
        for column, token in enumerate(self.tokens):
            token.score += sum(told.weights[column :: told.columns])  # of every layer

    def evict(self, heavy, recent):
        """Hide those with the lowest scores but for the last `recent`, the oldest of equals first; their positions."""
        kept = [token for token in self.tokens if not token.hidden]
        older = sorted(kept[:-recent], key=lambda token: token.score)
        gone = older[: max(0, len(kept) - heavy - recent)]
        for token in gone:
            token.hidden = True
        if gone:
            mask_kvpage(self.q, self.pages, [not token.hidden for token in self.tokens])
            if len(kept) - len(gone) <= len(self.tokens) - self.page_size:
                self._compact()
        return sorted(token.position for token in gone)

    def _compact(self):
        """Copy what stays into fresh pages, run by run, and free the old ones."""
        kept = [(place, token) for place, token in enumerate(self.tokens) if not token.hidden]
        fresh = alloc_kvpage(self.q, math.ceil(len(kept) / self.page_size))
        target = 0
        while target < len(kept):
            source, length = kept[target][0], 1
            while self._goes_on(kept, source, target, length):
                length += 1
            (old, start), (new, at) = divmod(source, self.page_size), divmod(target, self.page_size)
            copy_kvpage(self.q, [self.pages[old]], [fresh[new]], start, at, length)
            target += length
        dealloc_kvpage(self.q, self.pages)
        self.pages, self.tokens = fresh, [token for _, token in kept]

    def _goes_on(self, kept, source, target, length):
        """Whether the run of slots goes on, on both sides in one page."""
        if target + length == len(kept) or kept[target + length][0] != source + length:
            return False
        return (source + length) % self.page_size > 0 and (target + length) % self.page_size > 0


async def main():
    options = flags()
    if options["heavy"] < 0 or options["recent"] < 1 or options["max_tokens"] < 1:
        raise ArgumentError("wanted are --heavy 0 or more, --recent and --max-tokens 1 or more")
    model = get_auto_model()
    q = model.create_queue()
    prompt = tokenize(q, options["prompt"])
    if not prompt:
        raise ArgumentError("--prompt has no token; give a text to continue")
    cache, answer, embeds = Cache(q, model.kvpage_size), [], alloc_emb(q, len(prompt))
    embed_txt(q, prompt, list(range(len(prompt))), embeds)
    position, out = len(prompt), embeds[-1]
    await cache.append(embeds, 0, out)
    while len(answer) < options["max_tokens"]:
        gone = cache.evict(options["heavy"], options["recent"])
        dist = await get_next_dist(q, out, 1)
        token = dist.max_index()
        if options["trace"]:
            print(json.dumps({"token": token, "probability": dist.probs[0], "gone": gone, "pages": len(cache.pages)}))
        if token in model.eos_tokens:
            break
        answer.append(token)
        if len(answer) < options["max_tokens"]:
            embed_txt(q, [token], [position], [out])
            await cache.append([out], position, out)
            position += 1
    if not options["trace"]:
        print(options["prompt"] + detokenize(q, answer))
        kept = sum(not token.hidden for token in cache.tokens)
        print(f"[{kept} of {position} tokens kept, in {len(cache.pages)} pages]")
