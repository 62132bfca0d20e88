# /// inferlet
# description = "Check an answer line by line while it is generated; go back to the last good line when one is wrong."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "What is (8 - 3) * 6 + 12?"
# help = "A sum to work out in steps, asked as a user."
# [flags.temperature]
# default = 2.0
# help = "Lines are drawn at this temperature; 0 is greedy, which gives every line one try."
# [flags.tries]
# default = 50
# help = "How often to draw a line before giving up."
# [flags.line_tokens]
# default = 32
# help = "A line of more tokens is wrong."
# [flags.seed]
# default = 27
# help = "The same seed gives the same text."
# ///
"""Output validation: what fails a check is thrown away and drawn again, and what was good stays in the cache.

The paper's program of this name (Gim et al. 2025, section 7.1), and the loop of checking and asking again that
libraries like Guardrails put around a model. Those send the whole text again each time. Here the check runs beside the
model, line by line, and a wrong line is cut off the end of the KV cache: the prompt and the good lines are not
computed again, but for the last token of them, which the next try begins with. `check` is ordinary code. This one wants
every line to be a right step in working out the sum, and the answer to be what is left of it.
"""

import re

from inferlet import PieError, any_of, ends_with, flags, get_auto_model, greedy, max_tokens, sampling

STEP = re.compile(r"(-?\d+) ([-+*]) (-?\d+) = (-?\d+)")
ANSWER = re.compile(r"Answer: (-?\d+)")


async def main():
    options = flags()
    temperature = options["temperature"]
    sampler = greedy() if temperature == 0 else sampling(temperature, seed=options["seed"])
    tries = 1 if temperature == 0 else options["tries"]
    with get_auto_model().create_context() as context:
        await context.user(options["prompt"])
        writer = Writer(context, sampler, options["line_tokens"])
        lines, rejected = [], 0
        while not (lines and ANSWER.fullmatch(lines[-1])):
            line, wrong = await writer.next_line(lambda line: check(line, lines, options["prompt"]), tries)
            for other in wrong:
                print(f"rejected: {other!r}")
            print(line)
            lines.append(line)
            rejected += len(wrong)
        print(f"[{rejected} of {rejected + len(lines)} lines rejected, {writer.drawn} tokens drawn]")


def check(line, before, question):
    """Whether a line may follow those before it."""
    terms = re.findall(r"\d+|[-+*()]", question)
    for step in before:
        terms = reduced(terms, step)
    answer = ANSWER.fullmatch(line)
    return terms == [answer[1]] if answer else reduced(terms, line) is not None


def reduced(terms, line):
    """What is left of a sum after a step of it; None if this is no step, a wrong one or not one of this sum."""
    step = STEP.fullmatch(line)
    if not step:
        return None
    left, sign, right, result = step.groups()
    value = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign]
    for at in range(len(terms) - 2):
        before, after = ["(", *terms][at], [*terms, ")"][at + 3]
        in_order = sign == "*" or (before in "(+" and after != "*")
        if terms[at : at + 3] == [left, sign, right] and in_order and value == int(result):
            rest = " ".join([*terms[:at], result, *terms[at + 3 :]])
            return re.sub(r"\( (-?\d+) \)", r"\1", rest).split()
    return None


class Writer:
    """Draws lines at the end of a context. `drawn` counts tokens, those of rejected lines too."""

    def __init__(self, context, sampler, longest):
        self.context, self.sampler = context, sampler
        self.end = any_of(ends_with("\n"), max_tokens(longest))
        self.drawn = 0

    async def next_line(self, good, tries):
        """The next line that is good, and those that were rejected before it."""
        context, rejected = self.context, []
        point = len(context.tokens)
        for _ in range(tries):
            line = (await context.generate(self.sampler, self.end)).removesuffix("\n")
            self.drawn += len(context.tokens) - point
            if good(line):
                return line, rejected
            rejected.append(line)
            context.truncate(point)
        raise PieError(f"no good line in {tries} tries; the last was {rejected[-1]!r}. Draw more, or another --seed")
