"""Words to fill examples with: real ones, made-up ones and plain letters, so that copying cannot lean on memory."""

from random import Random

from corpus.example import Split, held_out

NOUNS = """
apple arrow basket beach bell bird blanket boat book bottle box branch bread bridge brother bucket button cabin cable
camera candle candy carpet castle cat chain chair cheese city clock cloud coat coffee coin computer corner cup curtain
desk dinner doctor dog door dragon dream drum eagle engine farm father feather fence field finger fire fish flag floor
flower forest fork friend garden gate ghost gift glass glove grape grass hammer harbor hat hill horse hotel house
island jacket jar journey judge kettle key king kitchen kite knife ladder lake lamp leaf lemon letter library lion
lock machine map market meadow milk mirror money moon morning mother mountain mouse museum needle night notebook ocean
onion orange oven owl painter palace paper parrot path pear pencil pepper piano picture pilot pillow planet plate
pocket potato prince queen rabbit radio rain ring river road robot rocket roof room rope sailor salt sand school
screen shadow sheep ship shirt shoe signal sister snake snow soap song spoon spring square stone store storm story
street student sugar summer sun table tailor teacher temple thunder tiger tower train tree truck tunnel valley vector
village violin wagon wall watch water wheel whistle wind window winter wolf wood word yard zebra
""".split()

ADJECTIVES = """
angry big black blue bold brave bright broken brown busy calm careful cheap clean clever cold cool cruel curious dark
deep dry eager early easy empty fair fancy fast fat fine fresh funny gentle giant golden good grand gray great green
happy hard heavy hidden high honest hot huge hungry icy kind large late lazy light little lonely long loud lucky
narrow new nice noisy old orange pale pink plain polite poor proud purple quick quiet rare red rich rough round sad
safe sharp shiny short shy silent silver simple slow small smart smooth soft sour strange strong sweet tall thick thin
tidy tiny tired warm weak wet white wide wild wise yellow young
""".split()

VERBS = """
answers asks bakes breaks brings builds buys calls carries catches chases checks cleans climbs closes cooks counts
covers crosses cuts draws drinks drives eats feeds feels fills finds fixes follows gets gives guards hears helps hides
holds hunts joins keeps kicks knows leads leaves likes loses loves makes meets moves needs opens paints picks plants
plays pulls pushes reads rides runs sees sells sends shows sings stops takes teaches throws touches turns uses visits
wants washes wears wins writes
""".split()

PLACES = "in on under near behind above beside with without from for by at to over".split()

NAMES = """
Adam Alice Amir Anna Ben Carl Carla Chen Clara Dan David Diana Elena Emma Eric Eva Felix Fiona Frank George Grace Hana
Helen Henry Hugo Ida Igor Ines Iris Ivan Jack Jane Jonas Julia Karim Karl Kate Kim Laura Leo Lena Lily Linda Louis
Lucas Lucy Maria Mark Marta Max Maya Mia Mike Mina Nina Noah Nora Olga Oliver Omar Oscar Paul Peter Pia Rosa Ruth Sam
Sara Simon Sofia Sven Tara Theo Tina Tom Uma Vera Victor Wanda Will Yara Yuki Zoe
""".split()

JOBS = """
actor architect artist baker barber builder carpenter chef clerk cook dancer dentist designer doctor driver editor
engineer farmer fisher gardener guard hunter judge lawyer librarian mechanic miner musician nurse painter pilot
plumber poet porter potter printer sailor scientist singer soldier student surgeon tailor teacher translator waiter
weaver writer
""".split()

_REAL = sorted({*NOUNS, *ADJECTIVES, *VERBS, *PLACES})
_BY_SPLIT: dict[Split, list[str]] = {
    "train": [word for word in _REAL if not held_out(word)],
    "held_out": [word for word in _REAL if held_out(word)],
}
_ONSETS = (
    "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gl gr kr pl pr qu sh sk sl sm sn sp st th tr tw".split()
)
_VOWELS = "a e i o u a e i o u ai ea ee ia io oa oo ou y".split()
_CODAS = ["", "", "", *"b ck d g l ll m n nd ng nt p r rd rk rn s ss st t th x".split()]


def real_word(rng: Random, split: Split) -> str:
    return rng.choice(_BY_SPLIT[split])


def made_up_word(rng: Random) -> str:
    syllables = rng.randrange(1, 4)
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables))


def letters(rng: Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(2, 8)))


def any_word(rng: Random, split: Split) -> str:
    kind = rng.random()
    if kind < 0.55:
        return real_word(rng, split)
    return made_up_word(rng) if kind < 0.85 else letters(rng)


def any_name(rng: Random) -> str:
    return rng.choice(NAMES) if rng.random() < 0.6 else made_up_word(rng).capitalize()
