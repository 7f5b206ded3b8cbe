//! Tokens that stand beside the vocabulary: found in text as they are, before it is split.
//!
//! The special ones are for programs, and text from users must not bring them in; the others (`<think>`, runs of
//! spaces) are words like any other that merges just do not make. The fields are those of Hugging Face's files.

use serde::{Deserialize, Serialize};

/// One added token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own fields")]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Found only where no letter, digit or underscore stands beside it.
    #[serde(default)]
    pub single_word: bool,
    /// Takes the white space before it.
    #[serde(default)]
    pub lstrip: bool,
    /// Takes the white space behind it.
    #[serde(default)]
    pub rstrip: bool,
    /// Found only in what lies between the tokens that are not.
    #[serde(default)]
    pub normalized: bool,
    /// Found only where a call allows it.
    #[serde(default)]
    pub special: bool,
}

impl AddedToken {
    /// A special token, found wherever it stands.
    pub fn special(content: String, id: u32) -> Self {
        Self {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    /// Whether what stands beside it plays a part.
    pub fn looks_around(&self) -> bool {
        self.single_word || self.lstrip || self.rstrip
    }

    /// The flags in one number.
    pub fn flags(&self) -> u8 {
        let Self {
            single_word,
            lstrip,
            rstrip,
            normalized,
            special,
            ..
        } = *self;
        let flags = [single_word, lstrip, rstrip, normalized, special];
        (0..)
            .zip(flags)
            .fold(0, |all, (bit, flag)| all | u8::from(flag) << bit)
    }

    /// The token with these [`AddedToken::flags`].
    pub fn with_flags(content: String, id: u32, flags: u8) -> Self {
        let has = |bit: u8| flags >> bit & 1 == 1;
        Self {
            id,
            content,
            single_word: has(0),
            lstrip: has(1),
            rstrip: has(2),
            normalized: has(3),
            special: has(4),
        }
    }
}
