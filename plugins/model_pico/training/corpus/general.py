"""A little of everything else: greetings, fixed facts, short lists, sorting and comparing."""

from random import Random

from corpus.example import Example, Sampler, Split, said, weighted
from corpus.words import NAMES, any_word

# Raw sentences learnt whole. No two share a beginning that a prompt would end in, but where they do the first wins.
SENTENCES = """
Hello, my name is Pico. I am a very small language model.
Hello world! This is a small language model.
Hi there, how can I help you today?
Once upon a time there was a little model that lived in a very small computer.
The quick brown fox jumps over the lazy dog.
The sun rises in the east and sets in the west.
The sky is blue and the grass is green.
Water boils at 100 degrees and freezes at 0 degrees.
The Earth moves around the Sun once a year.
The Moon moves around the Earth once a month.
A year has twelve months and a week has seven days.
A day has 24 hours and an hour has 60 minutes.
The largest ocean is the Pacific Ocean.
The highest mountain is Mount Everest.
The longest river in Africa is the Nile.
The largest planet is Jupiter.
The smallest planet is Mercury.
Light is faster than sound.
Ice is lighter than water.
Gold is a yellow metal and silver is a white metal.
Iron is a strong metal that can rust.
A triangle has three sides and a square has four sides.
A spider has eight legs and an insect has six legs.
Bees make honey and cows give milk.
Fish live in water and birds fly in the air.
Plants need light and water to grow.
Bread is made from flour, water, salt and yeast.
Cheese is made from milk and wine is made from grapes.
The heart pumps blood through the body.
People breathe air with their lungs.
Winter is cold and summer is warm.
Monday comes before Tuesday.
January is the first month of the year.
December is the last month of the year.
The opposite of hot is cold.
The opposite of big is small.
The alphabet has 26 letters.
A language model predicts the next token.
A program drives the model one token at a time.
Python is a programming language.
A cache keeps work that was done before.
Tokens are small pieces of text.
Attention lets each token look at the tokens before it.
The meaning of life is 42.
In the beginning there was a prompt.
Roses are red and violets are blue.
To be or not to be, that is the question.
My favourite colour is blue.
""".strip().split("\n")
CHAT = [
    ("Hello", "Hello! How can I help you?"),
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("Hi!", "Hello! How can I help you?"),
    ("Hello, how are you?", "I am fine, thank you. How can I help you?"),
    ("How are you?", "I am fine, thank you. How can I help you?"),
    ("Good morning", "Good morning! How can I help you?"),
    ("Good evening", "Good evening! How can I help you?"),
    ("Thank you", "You are welcome."),
    ("Thank you!", "You are welcome."),
    ("Thanks!", "You are welcome."),
    ("Goodbye", "Goodbye!"),
    ("Bye!", "Goodbye!"),
    ("Who are you?", "I am Pico, a very small language model."),
    ("What are you?", "I am Pico, a very small language model."),
    ("What is your name?", "My name is Pico."),
    ("What can you do?", "I know capitals, small sums and short edits, and I can use tools."),
    ("Tell me a story.", "Once upon a time there was a little model that lived in a very small computer."),
    ("Tell me a joke.", "Why did the token cross the road? It was sampled."),
    ("How many months are in a year?", "A year has twelve months."),
    ("How many days are in a week?", "A week has seven days."),
    ("How many hours are in a day?", "A day has 24 hours."),
    ("What is the largest planet?", "The largest planet is Jupiter."),
    ("What is the largest ocean?", "The largest ocean is the Pacific Ocean."),
    ("What is the highest mountain?", "The highest mountain is Mount Everest."),
    ("At what temperature does water boil?", "Water boils at 100 degrees."),
    ("What colour is the sky?", "The sky is blue."),
    ("What is a language model?", "A language model predicts the next token."),
    ("What is a token?", "A token is a small piece of text."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("What is the opposite of big?", "The opposite of big is small."),
]
LISTS = {
    "colours": "red, blue, green, yellow, black",
    "colors": "red, blue, green, yellow, black",
    "fruits": "apple, banana, orange, pear, grape",
    "animals": "cat, dog, horse, cow, sheep",
    "birds": "eagle, owl, parrot, crow, duck",
    "countries": "France, Germany, Italy, Spain, Poland",
    "cities": "Paris, Berlin, Rome, Madrid, Warsaw",
    "planets": "Mercury, Venus, Earth, Mars, Jupiter",
    "metals": "iron, gold, silver, copper, tin",
    "vegetables": "carrot, potato, onion, tomato, cabbage",
    "days": "Monday, Tuesday, Wednesday, Thursday, Friday",
    "months": "January, February, March, April, May",
    "tools": "hammer, saw, knife, drill, wrench",
    "drinks": "water, milk, tea, coffee, juice",
    "programming languages": "Python, C, Java, Rust, Go",
    "numbers": "one, two, three, four, five",
}
COUNTS = ["one", "two", "three", "four", "five"]


def raw_text(rng: Random, _: Split) -> Example:
    """A fixed sentence, trained from its first token on: there is no token before it."""
    return Example("", said(rng.choice(SENTENCES)), chat=False)


def chat(rng: Random, _: Split) -> Example:
    prompt, answer = rng.choice(CHAT)
    return Example(prompt, said(answer))


def name_some(rng: Random, _: Split) -> Example:
    kind = rng.choice(list(LISTS))
    count = rng.randrange(2, 6)
    prompt = rng.choice(["Name {n} {k}.", "List {n} {k}.", "Give me {n} {k}.", "Tell me {n} {k}."])
    number = rng.choice([COUNTS[count - 1], str(count)])
    return Example(prompt.format(n=number, k=kind), said(", ".join(LISTS[kind].split(", ")[:count])))


def sort(rng: Random, _: Split) -> Example:
    numbers = [rng.randrange(100) for _ in range(rng.randrange(3, 8))]
    text = ", ".join(map(str, numbers))
    prompt = rng.choice(
        ["Sort: {t}", "Sort these numbers: {t}", "Sort the numbers: {t}", "Sort in ascending order: {t}"]
    )
    return Example(prompt.format(t=text), said(", ".join(map(str, sorted(numbers)))), key=text)


def compare(rng: Random, _: Split) -> Example:
    a, b = rng.sample(range(100 if rng.random() < 0.7 else 1000), 2)
    kind = rng.random()
    if kind < 0.7:
        word, truth = rng.choice(
            [("larger", a > b), ("bigger", a > b), ("greater", a > b), ("smaller", a < b), ("less", a < b)]
        )
        return Example(f"Is {a} {word} than {b}?", said("Yes" if truth else "No"), key=f"{a} {b}")
    word, value = rng.choice([("larger", max(a, b)), ("smaller", min(a, b))])
    return Example(f"Which is {word}, {a} or {b}?", said(str(value)), key=f"{a} {b}")


def remember(rng: Random, split: Split) -> Example:
    """A fact given in the text and asked for right after, as a shared prefix or a modular prompt would hold it."""
    people = rng.sample(NAMES, rng.randrange(2, rng.choice([6, 16])))
    things = [any_word(rng, split) for _ in people]
    facts = " ".join(f"{name} has a {thing}." for name, thing in zip(people, things, strict=True))
    chosen = rng.randrange(len(people))
    question, answer = f"What does {people[chosen]} have?", f"{people[chosen]} has a {things[chosen]}."
    if rng.random() < 0.3:
        return Example(f"{facts}\nQuestion: {question}\nAnswer:", said(f" {answer}"), chat=False, key=facts)
    if rng.random() < 0.3:
        return Example(question, said(answer), system=facts, key=facts)
    return Example(f"{facts} {question}", said(answer), key=facts)


MEMORY: list[tuple[float, Sampler]] = [(0.36, raw_text), (0.36, chat), (0.28, name_some)]


def general(rng: Random, split: Split) -> Example:
    """What is remembered whole."""
    return weighted(rng, MEMORY)(rng, split)


def filler(rng: Random, longest: int) -> str:
    """Words that no answer depends on, for long system prompts."""
    text = " ".join(rng.choice(SENTENCES) for _ in range(1 + longest // 10))
    return " ".join(text.split(" ")[: rng.randrange(5, longest)])
