//! Special tokens inside text: which are meant, which are forbidden.
//!
//! A [`Rule`] holds both lists of one call. Text that spells a forbidden special token is refused, so that text from
//! users cannot inject control tokens; allowed ones become their ids, the longest where several begin at one place;
//! all others are ordinary text.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::error::{Error, Result};
use crate::vocab::Vocab;

/// Which special tokens a call takes as such and which it refuses.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    allowed: Option<AhoCorasick>,
    allowed_ids: Vec<u32>,
    disallowed: Option<AhoCorasick>,
    disallowed_texts: Vec<String>,
    longest: usize,
}

/// A part of a text: ordinary text, or one special token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Ordinary text.
    Text(&'a [u8]),
    /// The id of a special token and the bytes that spell it.
    Special(u32, &'a [u8]),
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
        let is_allowed = |text: &String| allowed.is_none_or(|listed| listed.contains(text));
        let (allowed_texts, allowed_ids): (Vec<_>, Vec<_>) = vocab
            .specials()
            .iter()
            .filter(|(text, _)| is_allowed(text))
            .cloned()
            .unzip();
        let all_others = || {
            let all = vocab.specials().iter().map(|(text, _)| text);
            all.filter(|text| !is_allowed(text)).cloned().collect()
        };
        let disallowed_texts: Vec<String> = disallowed.map_or_else(all_others, <[_]>::to_vec);
        if disallowed_texts.iter().any(String::is_empty) {
            return Err(Error::value("disallowed_special holds an empty string"));
        }
        let longest = allowed_texts
            .iter()
            .chain(&disallowed_texts)
            .map(String::len)
            .max();
        Ok(Self {
            allowed: finder(&allowed_texts)?,
            allowed_ids,
            disallowed: finder(&disallowed_texts)?,
            disallowed_texts,
            longest: longest.unwrap_or(0),
        })
    }

    /// Bytes of the longest string that the rule looks for.
    pub fn longest(&self) -> usize {
        self.longest
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

    /// The first allowed special token: where it begins and ends, and its id.
    pub fn find(&self, text: &[u8]) -> Option<(usize, usize, u32)> {
        let found = self.allowed.as_ref()?.find(text)?;
        Some((
            found.start(),
            found.end(),
            self.allowed_ids[found.pattern()],
        ))
    }

    /// The text's parts in order; none is empty.
    pub fn pieces<'a>(&self, text: &'a [u8]) -> impl Iterator<Item = Piece<'a>> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (start, end, id) = self.find(rest).unwrap_or((rest.len(), rest.len(), 0));
            let cut = if start == 0 { end } else { start };
            let (here, after) = rest.split_at(cut);
            rest = after;
            Some(if start == 0 {
                Piece::Special(id, here)
            } else {
                Piece::Text(here)
            })
        })
    }
}

fn finder(texts: &[String]) -> Result<Option<AhoCorasick>> {
    if texts.is_empty() {
        return Ok(None);
    }
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(texts)
        .map(Some)
        .map_err(|error| Error::value(format!("the special tokens are too many: {error}")))
}
