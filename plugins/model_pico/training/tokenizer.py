"""The tokenizer: byte-level BPE over words without their spaces; it adds no special token by itself.

An image stands as one `IMAGE_TOKEN` in a text; the processor writes as many of them as it has patches.
"""

from random import Random

from corpus import document
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
# A word never shares a token with the space before it, so that it is the same tokens wherever it stands and a small
# model can copy it; digits and the letters of a word in capitals are single.
PIECES = r"\p{Lu}?\p{Ll}+|\p{L}|\p{N}|\s+|[^\s\p{L}\p{N}]+"
PAD, END = "<pad>", "</s>"
IMAGE_TOKEN = "<|image|>"  # noqa: S105 - no secret
ROLES = ["<|user|>", "<|assistant|>", "<|system|>"]
SPARES = ["<|tool|>", IMAGE_TOKEN, "<|audio|>", "<|video|>", *(f"<|spare_{number}|>" for number in range(12))]
SPECIAL_TOKENS = [PAD, "<s>", END, *ROLES, *SPARES]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('pico knows the roles system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] in ['image', 'image_url'] %}{{ '<|image|>' }}"
    "{% else %}{{ raise_exception('pico reads text and images, not ' + part['type']) }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '</s>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(seed: int, documents: int = 20_000) -> PreTrainedTokenizerFast:
    rng = Random(seed)
    texts = ("".join(span.text for span in document(rng, progress=1.0)) for _ in range(documents))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return wrapped(bpe)


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """As `transformers` wants it, with the chat template."""
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )
