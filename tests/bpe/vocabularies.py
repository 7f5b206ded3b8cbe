"""Small vocabularies that the tests make for themselves."""

import functools
import unicodedata

import naive

import nanobpe

TEXT = (
    "It's the 1234th test of the tokenizer, isn't it?  Tabs\tand   spaces\n\nand lines.\r\n"
    "the theory of these things: then, there, thesis; HTTPServer don't DON'T we'Ll\n"
    "中文漢字 日本語のテキスト 한국어 ภาษาไทย हिन्दी العربية "
    "éa\u0301 \U0001f642\U0001f469\u200d\U0001f467 naïve\n"
    "aaaaaaaaaaaaaaaaaaaaaaaa bababababababab            x = y ** 2  # why\n"
)
# Texts on which encoders differ when they differ at all.
HOSTILE = [
    "",
    " ",
    "\n",
    "  \n  ",
    " \t y",
    "x \n\n\n",
    "a  b   c\n\n  d",
    "'s't're've'm'll'd 'S'T'RE'VE I'M",
    "1234567 12 3 1,234.5e-6 ²½٣Ⅷ",
    "CamelCaseHTTPServer straße Ünder ǅungla",
    "中文 " * 30,
    "e\u0301e\u0301 क्ष Z\u0351\u036b",
    "\U0001f642\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea ❤\ufe0f",
    "\u00a0x\u3000y\u2028z\x85\x0b\x1c",
    "\x00\x7f\ufeff\ufffd\U0010ffff",
    "!!!\n\n???\r\n...///\n//",
    "a" * 300,
    " " * 300 + "x",
    "ab" * 200,
    "中" * 200,
    "<|bos|>",
    "a<|end|>b<|",
]
BROKEN = [
    b"\x80",
    b"\xfe\xff",
    b"\xe4\xb8 x",
    b"abc\xf0\x9f\x99",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"a\xe4b\xb8c \xff \xff",
    bytes(range(256)),
]
SPECIALS = {"<|bos|>": 400, "<|end|>": 401, "<|end|><|end|>": 402}
GPT2_RE = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# What has no scanner of its own: each with whether the text is normalised first, and its steps.
STEPPED = {
    "automaton": (False, [r"\w+|[^\w\s]+|\s+(?!\S)|\s"]),
    "backtracking": (False, [r"(?!\d)\w+|\d{1,3}|(?s:.)"]),
    "normalised": (True, [r"\w+|[^\w\s]+|\s+(?!\S)|\s"]),
    "steps": (False, [r"\p{N}{1,2}", r"[\u4e00-\u9fa5]+", GPT2_RE]),
    "normalised steps": (True, [r"\p{N}", r" ?\p{L}{1,5}"]),
}


def stepped(name: str) -> str:
    """A pattern of `STEPPED` as it is written."""
    normalizes, steps = STEPPED[name]
    mark = "(?#split)" if len(steps) > 1 else ""
    return "(?#nfc)" * normalizes + "".join(mark + step for step in steps)


def pieces(name: str, text: str) -> list[bytes]:
    """The pretokens of a pattern of `STEPPED`, by its definition."""
    import regex

    normalizes, steps = STEPPED[name]
    found = [unicodedata.normalize("NFC", text) if normalizes else text]
    for step in steps:
        found = [part for piece in found for part in regex.splititer(f"({step})", piece) if part]
    return [piece.encode() for piece in found]


@functools.cache
def gpt2_merges() -> tuple[tuple[bytes, bytes], ...]:
    """144 merges of TEXT under GPT-2's pattern, learnt by the reference."""
    import regex

    counts: dict[bytes, int] = {}
    for piece in regex.findall(GPT2_RE, TEXT):
        counts[piece.encode()] = counts.get(piece.encode(), 0) + 1
    return tuple(naive.train(counts, 144))


def small(pattern: str = "gpt2", special_tokens: dict[str, int] = SPECIALS) -> nanobpe.Tokenizer:
    """A vocabulary of 400 ids and the special tokens, whatever the pattern."""
    tokens = [bytes([b]) for b in range(256)] + [a + b for a, b in gpt2_merges()]
    ranks = {token: i for i, token in enumerate(tokens)}
    return nanobpe.Tokenizer.from_ranks(ranks, pattern=pattern, special_tokens=special_tokens)
