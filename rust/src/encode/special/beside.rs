//! What stands beside an added token: letters and white space, as the regexes `\w` and `\s` know them.

use regex_syntax::is_word_character;

/// Whether the text ends with a letter, a digit or an underscore.
pub fn ends_with_word(text: &[u8]) -> bool {
    last(text).is_some_and(is_word_character)
}

/// Whether the text begins with a letter, a digit or an underscore.
pub fn starts_with_word(text: &[u8]) -> bool {
    first(text).is_some_and(is_word_character)
}

/// Bytes of white space at the end of the text.
pub fn num_trailing_spaces(text: &[u8]) -> usize {
    let mut len = text.len();
    while let Some(c) = last(&text[..len]).filter(|c| c.is_whitespace()) {
        len -= c.len_utf8();
    }
    text.len() - len
}

/// Bytes of white space at the beginning of the text.
pub fn num_leading_spaces(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(c) = first(&text[at..]).filter(|c| c.is_whitespace()) {
        at += c.len_utf8();
    }
    at
}

fn first(text: &[u8]) -> Option<char> {
    let chunk = text[..text.len().min(4)].utf8_chunks().next()?;
    chunk.valid().chars().next()
}

fn last(text: &[u8]) -> Option<char> {
    let chunk = text[text.len().saturating_sub(4)..].utf8_chunks().last()?;
    let whole = chunk.invalid().is_empty();
    chunk.valid().chars().next_back().filter(|_| whole)
}
