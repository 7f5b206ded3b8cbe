//! Added tokens inside text: which are meant, which are forbidden.
//!
//! A [`Rule`] holds the lists of one call. Text that spells a forbidden special token is refused, so that text from
//! users cannot inject control tokens; allowed ones become their ids, the longest where several begin at one place;
//! all others are ordinary text. Added tokens that are not special become their ids under every rule.
//!
//! As in Hugging Face's `tokenizers`, those marked `normalized` are looked for in what lies between the others. The
//! text is searched as it is, also where the pattern normalises it.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::added::AddedToken;
use crate::error::{Error, Result};
use crate::vocab::Vocab;

mod beside;

use beside::{ends_with_word, num_leading_spaces, num_trailing_spaces, starts_with_word};

/// Which added tokens a call takes as such and which it refuses.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    first: Option<Finder>,
    /// For what lies between those.
    then: Option<Finder>,
    disallowed: Option<AhoCorasick>,
    disallowed_texts: Vec<String>,
    longest: usize,
}

/// A part of a text: ordinary text, or one added token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Ordinary text.
    Text(&'a [u8]),
    /// The id of an added token and the bytes that stand for it.
    Special(u32, &'a [u8]),
}

impl Piece<'_> {
    /// Bytes of the text that it is.
    pub fn num_bytes(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Special(_, bytes) => bytes.len(),
        }
    }
}

/// Where an added token stands in a text, with the white space that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
    /// Its id.
    pub id: u32,
}

impl Rule {
    /// The rule that takes `allowed` special tokens as such (names that the vocabulary lacks are passed over) and
    /// refuses text with any of `disallowed`; None is all special tokens, and for `disallowed` all but the allowed.
    ///
    /// # Errors
    /// `Error::Value` if a disallowed string is empty.
    pub fn new(
        vocab: &Vocab,
        allowed: Option<&[String]>,
        disallowed: Option<&[String]>,
    ) -> Result<Self> {
        let is_allowed = |text: &str| allowed.is_none_or(|listed| listed.iter().any(|s| s == text));
        let (then, first): (Vec<_>, Vec<_>) = vocab
            .added()
            .iter()
            .filter(|token| !token.special || is_allowed(&token.content))
            .cloned()
            .partition(|token| token.normalized);
        let all_others = || {
            let others = vocab.specials().filter(|(text, _)| !is_allowed(text));
            others.map(|(text, _)| text.to_string()).collect()
        };
        let disallowed_texts: Vec<String> = disallowed.map_or_else(all_others, <[_]>::to_vec);
        if disallowed_texts.iter().any(String::is_empty) {
            return Err(Error::value("disallowed_special holds an empty string"));
        }
        let longest = first
            .iter()
            .chain(&then)
            .map(|token| &token.content)
            .chain(&disallowed_texts)
            .map(String::len)
            .max();
        let texts: Vec<&str> = disallowed_texts.iter().map(String::as_str).collect();
        Ok(Self {
            first: Finder::new(first)?,
            then: Finder::new(then)?,
            disallowed: automaton(&texts)?,
            disallowed_texts,
            longest: longest.unwrap_or(0),
        })
    }

    /// The rule under which special tokens are ordinary text.
    ///
    /// # Errors
    /// As [`Rule::new`].
    pub fn ordinary(vocab: &Vocab) -> Result<Self> {
        Self::new(vocab, Some(&[]), Some(&[]))
    }

    /// Bytes of the longest token that the rule looks for.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether what stands beside a token plays a part.
    pub fn looks_around(&self) -> bool {
        let mut finders = self.first.iter().chain(&self.then);
        finders.any(|finder| finder.tokens.iter().any(AddedToken::looks_around))
    }

    /// Refuses a text that spells a disallowed special token.
    ///
    /// # Errors
    /// `Error::Value` that names the token.
    pub fn check(&self, text: &[u8]) -> Result<()> {
        let Some(found) = self
            .disallowed
            .as_ref()
            .and_then(|finder| finder.find(text))
        else {
            return Ok(());
        };
        let special = &self.disallowed_texts[found.pattern()];
        Err(Error::value(format!(
            "the text holds the special token {special:?}, which is not allowed here\n\
             hint: allow it with allowed_special={{{special:?}}}, or take it as plain text with disallowed_special=()"
        )))
    }

    /// The added tokens that a text holds, in order.
    pub fn find_all(&self, text: &[u8]) -> impl Iterator<Item = Found> {
        let (mut begin, mut at) = (0, 0);
        let mut next = self.first.as_ref().and_then(|first| first.find(text, 0));
        std::iter::from_fn(move || {
            let until = next.map_or(text.len(), |found| found.start);
            let between = self.then.as_ref().filter(|_| at < until);
            let found = between.and_then(|then| then.find(&text[begin..until], at - begin));
            if let Some(Found { start, end, id }) = found {
                let (start, end) = (begin + start, begin + end);
                at = end;
                return Some(Found { start, end, id });
            }
            let found = next?;
            (begin, at) = (found.end, found.end);
            next = self.first.as_ref().and_then(|first| first.find(text, at));
            Some(found)
        })
    }

    /// The text's parts in order; none is empty.
    pub fn pieces<'a>(&self, text: &'a [u8]) -> impl Iterator<Item = Piece<'a>> {
        let mut all = self.find_all(text);
        let (mut at, mut next) = (0, all.next());
        std::iter::from_fn(move || match next {
            Some(found) if found.start == at => {
                (at, next) = (found.end, all.next());
                Some(Piece::Special(found.id, &text[found.start..found.end]))
            }
            _ => {
                let start = at;
                at = next.map_or(text.len(), |found| found.start);
                (start < at).then(|| Piece::Text(&text[start..at]))
            }
        })
    }
}

/// Finds some of the added tokens.
#[derive(Clone, Debug)]
struct Finder {
    texts: AhoCorasick,
    tokens: Vec<AddedToken>,
}

impl Finder {
    /// None for no tokens.
    fn new(tokens: Vec<AddedToken>) -> Result<Option<Self>> {
        let texts: Vec<&str> = tokens.iter().map(|token| token.content.as_str()).collect();
        Ok(automaton(&texts)?.map(|texts| Self { texts, tokens }))
    }

    /// The first token that begins at or behind `from`.
    fn find(&self, text: &[u8], mut from: usize) -> Option<Found> {
        let last = from;
        loop {
            let found = self.texts.find(&text[from..])?;
            let (mut start, mut end) = (from + found.start(), from + found.end());
            let token = &self.tokens[found.pattern()];
            let (before, behind) = (&text[..start], &text[end..]);
            if token.single_word && (ends_with_word(before) || starts_with_word(behind)) {
                from = end;
                continue;
            }
            if token.lstrip {
                start = last.max(start - num_trailing_spaces(before));
            }
            if token.rstrip {
                end += num_leading_spaces(behind);
            }
            let id = token.id;
            return Some(Found { start, end, id });
        }
    }
}

fn automaton(texts: &[&str]) -> Result<Option<AhoCorasick>> {
    if texts.is_empty() {
        return Ok(None);
    }
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(texts)
        .map(Some)
        .map_err(|error| Error::value(format!("the special tokens are too many: {error}")))
}
