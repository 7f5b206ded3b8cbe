//! Finding strings: a single one by vector instructions alone, several by an automaton.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem;

use crate::error::{Error, Result};

/// Some strings, of which the longest is found where several start at one place.
#[derive(Clone, Debug)]
pub enum Finder {
    /// A single string, the usual case.
    One(Box<memmem::Finder<'static>>),
    /// Any other number.
    Some(AhoCorasick),
}

impl Finder {
    /// A finder of the strings; None if there are none.
    ///
    /// # Errors
    /// `Error::Value` with `what` if one is empty or they are too many.
    pub fn new(strings: &[String], what: &str) -> Result<Option<Self>> {
        if strings.iter().any(String::is_empty) {
            return Err(Error::value(format!("{what} is empty")));
        }
        match strings {
            [] => Ok(None),
            [one] => {
                let finder = memmem::Finder::new(one.as_bytes()).into_owned();
                Ok(Some(Self::One(Box::new(finder))))
            }
            _ => AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(strings)
                .map(|finder| Some(Self::Some(finder)))
                .map_err(|e| Error::value(format!("{what}: the strings are too many: {e}"))),
        }
    }

    /// The first place from `from` on.
    #[inline]
    pub fn find(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        match self {
            Self::One(finder) => {
                let start = from + finder.find(&text[from..])?;
                Some(start..start + finder.needle().len())
            }
            Self::Some(finder) => {
                let found = finder.find(&text[from..])?;
                Some(from + found.start()..from + found.end())
            }
        }
    }

    /// All places, none within another.
    pub fn find_iter<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.find(text, from)?;
            from = found.end;
            Some(found)
        })
    }
}
