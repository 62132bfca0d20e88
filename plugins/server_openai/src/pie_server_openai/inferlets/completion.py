# /// inferlet
# description = "Answers one request of the OpenAI routes: a job in JSON as its argument, JSON messages as they come."
# traits = ["input_text", "tokenize", "output_text"]
# ///
"""Completions and chats as a program. What the route wants is in the job (`jobs.py` describes it); what it gets are
messages of the types `prompt`, `text`, `call`, `finish` and `refused` (`messages.py`).

The prompt is run once and forked for each of its `n` choices. Where nothing but plain sampling is wanted, or that
within a grammar, tokens come from `Context.stream`, and may be drawn by the server; else each distribution is looked at
here.
"""

import asyncio
import json
import math
from collections import Counter

from inferlet import (
    ArgumentError,
    Dist,
    Grammar,
    PieError,
    TextDecoder,
    any_of,
    calls,
    detokenize,
    ends_with,
    get_arg,
    get_model,
    get_vocabs,
    greedy,
    max_tokens,
    receive_blob,
    render_around_images,
    render_chat,
    sampling,
    send,
    tokenize,
)

LOOKED_AT = 256  # tokens of a distribution, where no more are needed
IMPOSSIBLE = -9999.0  # the logarithm of no probability
CALL, END_OF_CALL = "<tool_call>", "</tool_call>"


async def main():
    (text,) = get_arg()
    job = json.loads(text)
    try:
        await answer_all(job)
    except UnseenError as error:
        why = error.__cause__
        tell("refused", code=why.code, text=str(why), picture=error.args[0])
    except PieError as error:
        tell("refused", code=error.code, text=str(error))


class UnseenError(Exception):
    """The number of a picture that the model cannot be shown; the cause says why."""


def tell(kind, **fields):
    send(json.dumps({"type": kind, **fields}))


async def answer_all(job):
    model, pictures = get_model(job["model"]), [await receive_blob() for _ in range(job["pictures"])]
    contexts, read = [], 0
    for prompt in job["prompts"]:
        first = model.create_context()
        await fill(first, prompt, pictures)
        length = len(first.tokens)
        if length >= model.max_position and job["most"] != 0:
            limit = f"this model has {model.max_position} positions"
            raise ArgumentError(f"the prompt has {length} tokens, and {limit}: nothing can be generated behind it")
        read += length
        contexts += [first, *(first.fork() for _ in range(job["n"] - 1))]
    tell("prompt", tokens=read, cached=0)
    vocabulary = get_vocabs(contexts[0].queue) if job["logprobs"] is not None else None
    await asyncio.gather(*(answer(job, index, context, vocabulary) for index, context in enumerate(contexts)))


async def fill(context, prompt, pictures):
    """A prompt is a text, a list of tokens, or an object with a conversation, in which the pictures are."""
    model, tokens, behind = context.model, prompt, []
    if isinstance(prompt, dict):
        prompt, *behind = await texts_of(context, prompt, pictures)
    if isinstance(prompt, str):
        tokens = tokenize(context.queue, prompt)
    if any(token >= model.vocab_size for token in tokens):
        raise ArgumentError(f"token {max(tokens)} is outside the vocabulary of {model.vocab_size}")
    begins = tokens[:1] == [model.bos_token]  # a context puts it there itself
    context.fill_tokens(tokens[1:] if begins else tokens)
    for number, (picture, text) in enumerate(zip(pictures, behind, strict=True)):
        try:
            await context.fill_image(picture)
        except ArgumentError as error:
            raise UnseenError(number) from error
        await context.fill(text)


async def texts_of(context, chat, pictures):
    """What stands before, between and behind the pictures of a conversation, in the model's template."""
    template, messages, tools = context.model.prompt_template, chat["messages"], chat["tools"]
    if not pictures:
        return [render_chat(template, messages, tools=tools) + chat["opening"]]
    placeholder = await calls.image_placeholder(context.queue)
    *texts, last = render_around_images(template, messages, placeholder, tools)
    return [*texts, last + chat["opening"]]


async def answer(job, index, context, vocabulary):
    """One choice."""
    with context:
        most = min(
            job["most"] if job["most"] is not None else math.inf, context.model.max_position - len(context.tokens)
        )
        given = len(context.tokens)
        text = Answer(index, job, context.queue, vocabulary)
        if job["echo"]:
            prompt = job["prompts"][index // job["n"]]
            text.echo(prompt if isinstance(prompt, str) else detokenize(context.queue, prompt))
        peculiar = any(job[name] for name in ("bias", "presence", "frequency", "ignore_eos"))
        hot = job["temperature"] not in (0, 1) and (job["top_p"] < 1 or job["min_p"] > 0)
        draws = draw if peculiar or hot or vocabulary is not None else draw_plainly
        ended = most > 0 and await draws(job, context, most, text)
        text.close()
        drawn = len(context.tokens) - given + ended
        reason = "calls" if text.called else "stop" if ended or text.stopped else "length"
        tell("finish", index=index, reason=reason, tokens=drawn)


async def draw_plainly(job, context, most, text):
    """Draw until something ends the answer; whether the model itself did."""
    sampler = greedy()
    if job["temperature"] > 0:
        top_k = job["top_k"] or LOOKED_AT
        sampler = sampling(job["temperature"], top_k, job["top_p"], job["min_p"], text.seed)
    given, grammar = len(context.tokens), Grammar(*job["grammar"]) if job["grammar"] else None
    stop = any_of(max_tokens(most), ends_with(*job["stop"]))
    async for piece in context.stream(sampler, stop, [grammar] if grammar is not None else [], together=True):
        text.add(piece, len(context.tokens) - given)
    ended = len(context.tokens) - given < most or (grammar is not None and grammar.ended)
    return ended and not text.stopped


async def draw(job, context, most, text):
    """The same, looking at every distribution."""
    queue, ends = context.queue, context.model.eos_tokens
    sampler = greedy()
    if job["temperature"] > 0:
        sampler = sampling(1.0, job["top_k"] or LOOKED_AT, job["top_p"], job["min_p"], text.seed)
    decoder, counts = TextDecoder(lambda tokens: detokenize(queue, list(tokens))), Counter()
    matcher = await Matcher.of(queue, *job["grammar"]) if job["grammar"] else None
    for number in range(1, most + 1):
        wanted = looked_at(job, counts)
        raw = await (context.next_dist(wanted) if matcher is None else matcher.next_dist(context, wanted))
        dist = weighed(raw, job, counts) if counts or job["bias"] else raw
        token = sampler(dist if job["temperature"] in (0, 1) else tempered(dist, job["temperature"]))
        ended = token in ends
        if ended and (matcher is not None or not job["ignore_eos"]):
            text.rest(decoder.flush())
            return True
        context.fill_tokens([token])
        if job["presence"] or job["frequency"]:
            counts[token] += 1
        text.add("" if ended else decoder.add(token), number, text.entry(raw, token))
        if text.stopped:
            return False
        if matcher is not None and await matcher.take(token):
            text.rest(decoder.flush())
            return True
    text.rest(decoder.flush())
    return False


def looked_at(job, counts):
    """How much of the distribution has to be known; None: all of it."""
    if job["bias"] or min(job["presence"], job["frequency"]) < 0:
        return None  # tokens from far below may come to the top
    least = 1 if job["temperature"] == 0 else job["top_k"] or LOOKED_AT
    return max(least + len(counts), job["logprobs"] or 0)


def weighed(dist, job, counts):
    """With `bias` added to the logits, and the penalties taken from those of tokens that were drawn before."""
    logits = {token: math.log(p) for token, p in zip(dist.ids, dist.probs, strict=True) if p > 0}
    for token, bias in job["bias"].items():
        if int(token) in logits:
            logits[int(token)] += bias
    for token, count in counts.items():
        if token in logits:
            logits[token] -= job["presence"] + job["frequency"] * count
    order = sorted(logits, key=lambda token: (-logits[token], token))
    return normalized(order, [math.exp(logits[token] - logits[order[0]]) for token in order])


def tempered(dist, temperature):
    """Probabilities raised to 1 / temperature; what `top_p` and `min_p` keep is a share of these."""
    return normalized(dist.ids, [(p / dist.probs[0]) ** (1 / temperature) for p in dist.probs])


def normalized(tokens, weights):
    total = sum(weights)
    return Dist(tokens, [weight / total for weight in weights])


class Matcher:
    """What a grammar allows next (trait `grammar`)."""

    def __init__(self, queue):
        self.queue = queue
        self.handles = calls.alloc_matcher(queue, 1)

    @classmethod
    async def of(cls, queue, syntax, grammar):
        matcher = cls(queue)
        await calls.set_grammar(queue, matcher.handles, syntax, grammar)
        return matcher

    async def next_dist(self, context, top_k):
        return await calls.get_next_dist_masked(self.queue, context.hidden_states(1), self.handles, top_k)

    async def take(self, token):
        """Whether nothing can follow it."""
        return (await calls.advance(self.queue, self.handles, token)).ended


class Answer:
    """The text of one choice on its way out. What may become a stop string, or a call of a tool, is held back."""

    def __init__(self, index, job, queue, vocabulary):
        self.index = index
        self.seed = job["seed"] + index
        self.stopped = False
        self.called = 0
        self._stops = job["stop"]
        self._tops = job["logprobs"]
        self._vocabulary = vocabulary
        self._listens = job["calls"] == "free"
        self._calling = job["calls"] == "forced"
        self._begun = 0  # where the call begins, its mark included
        self._text = ""
        self._told = 0  # characters that were told, or are no text
        self._entries = []  # (place in the text, entry) of tokens that were not told
        self._drawn = self._reported = 0

    def echo(self, text):
        tell("text", index=self.index, text=text, logprobs=[], tokens=0)

    def add(self, piece, drawn, entry=None):
        """One more piece of text, of an answer that has so many tokens now."""
        self._drawn = drawn
        if entry is not None:
            self._entries.append((len(self._text), entry))
        self._text += piece
        places = [place for stop in self._stops if (place := self._text.find(stop, self._told)) >= 0]
        if places:
            self.stopped = True
            self._text = self._text[: min(places)]
        if piece or entry is not None:
            self._listen(len(self._text) if places else len(self._text) - held(self._text[self._told :], self._stops))

    def rest(self, piece):
        if piece:
            self.add(piece, self._drawn)

    def close(self):
        """Tell what is left."""
        if self._calling:
            self._call(len(self._text), len(self._text))
        self._tell(len(self._text), last=True)

    def entry(self, dist, token):
        """What `logprobs` says of a token; None if nobody asked."""
        if self._vocabulary is None:
            return None
        top = [self._judged(*pair) for pair in list(zip(dist.ids, dist.probs, strict=True))[: self._tops]]
        return [*self._judged(token, dist.prob(token)), top]

    def _judged(self, token, p):
        return [list(self._vocabulary[token]), math.log(p) if p > 0 else IMPOSSIBLE]

    def _listen(self, sure):
        """Tell the text up to `sure`, and calls as what they are."""
        while self._listens or self._calling:
            place = self._text.find(END_OF_CALL if self._calling else CALL, self._told, sure)
            if place < 0:
                break
            if self._calling:
                self._call(place, place + len(END_OF_CALL))
            else:
                self._tell(place)
                self._begun, self._told, self._calling = place, place + len(CALL), True
        if not self._calling:
            self._tell(sure - held(self._text[self._told : sure], [CALL] if self._listens else []))

    def _call(self, stop, behind):
        """Tell what stands before `stop` as a call; as text, if it is none."""
        self._calling = False
        try:
            call = json.loads(self._text[self._told : stop])
            name, arguments = call["name"], call.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError):
            self._told = self._begun
            self._tell(behind)
            return
        tell("call", index=self.index, name=str(name), arguments=json.dumps(arguments, ensure_ascii=False))
        self.called += 1
        self._told = behind

    def _tell(self, place, last=False):
        text = self._text[self._told : place]
        if self.called and not text.strip():
            text = ""  # between calls
        count = len(self._entries) if last and not self.stopped else sum(at < place for at, _ in self._entries)
        entries, self._entries = self._entries[:count], self._entries[count:]
        if text or entries:
            drawn, self._reported = self._drawn - self._reported, self._drawn
            tell("text", index=self.index, text=text, logprobs=[entry for _, entry in entries], tokens=drawn)
        self._told = max(self._told, place)


def held(text, marks):
    """How many of the last characters may be the beginning of a mark."""
    sizes = range(1, max(map(len, marks), default=1))
    return max((size for size in sizes if any(text.endswith(m[:size]) for m in marks if len(m) > size)), default=0)
