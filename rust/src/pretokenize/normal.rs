//! Normalisation form C, and which places of a normalised text are places of the original.

use std::borrow::Cow;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// A text in normalisation form C.
pub(super) struct Normalized<'a> {
    text: Cow<'a, str>,
    /// What is not as it was, in order.
    changed: Vec<Changed>,
}

/// From one border to the next: where it begins and ends when normalised, and where it ended before.
struct Changed {
    start: usize,
    end: usize,
    original_end: usize,
}

impl<'a> Normalized<'a> {
    /// The normalised text.
    pub(super) fn of(text: &'a str) -> Self {
        if is_normalized(text) {
            return Self {
                text: text.into(),
                changed: Vec::new(),
            };
        }
        let (mut normal, mut changed) = (String::with_capacity(text.len()), Vec::new());
        let mut at = 0;
        while at < text.len() {
            let mut chars = text[at..].char_indices().skip(1);
            let len = chars.find(|(_, c)| is_border(*c)).map(|(len, _)| len);
            let end = len.map_or(text.len(), |len| at + len);
            let part = &text[at..end];
            if is_normalized(part) {
                normal.push_str(part);
            } else {
                let start = normal.len();
                normal.extend(part.nfc());
                changed.push(Changed {
                    start,
                    end: normal.len(),
                    original_end: end,
                });
            }
            at = end;
        }
        Self {
            text: normal.into(),
            changed,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place in the original at which it may be cut, so that both sides by themselves are normalised to what
    /// stands on the two sides of `at`; None if there is no such place.
    pub(super) fn place(&self, at: usize) -> Option<usize> {
        self.text[at..].chars().next().filter(|c| is_border(*c))?;
        let before = self.changed.partition_point(|changed| changed.start < at);
        match before.checked_sub(1).map(|i| &self.changed[i]) {
            None => Some(at),
            Some(last) if at < last.end => None,
            Some(last) => Some(last.original_end + at - last.end),
        }
    }
}

/// The last border in `1..=near`: what stands before it and what follows are normalised each by itself.
pub(super) fn last_border(text: &str, near: usize) -> Option<usize> {
    (1..=near.min(text.len().saturating_sub(1)))
        .rev()
        .filter(|&at| text.is_char_boundary(at))
        .find(|&at| text[at..].chars().next().is_some_and(is_border))
}

/// Whether nothing before a character, and none behind it, is ever put together or in order across its front: it stays
/// as it is, and what it may be taken apart into begins with no mark (UAX 15, section 9.1).
fn is_border(c: char) -> bool {
    c < '\u{300}'
        || canonical_combining_class(c) == 0
            && is_nfc_quick(std::iter::once(c)) == IsNormalized::Yes
}

/// Whether the text is certain to be in normalisation form C.
pub(super) fn is_normalized(text: &str) -> bool {
    // Characters below U+0300 are (its first byte is 0xcc), and this test is compiled to vector instructions.
    text.bytes().all(|b| b < 0xcc) || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_put_together_across_a_border() {
        let all = || (0..=0x10_ffff).filter_map(char::from_u32);
        let apart = |c: char| std::iter::once(c).nfd();
        // Whatever may stand second where two characters become one, vowels and finals of Hangul included.
        let second: BTreeSet<char> = all()
            .filter(|&c| std::iter::once(c).nfc().eq([c]))
            .flat_map(|c| apart(c).skip(1))
            .collect();
        assert!(second.contains(&'\u{301}') && second.contains(&'\u{1161}'));
        for c in all().filter(|c| is_border(*c)) {
            let first = apart(c).next().unwrap();
            assert_eq!(canonical_combining_class(first), 0, "{c:?}");
            assert!(!second.contains(&first), "{c:?}");
            assert!(std::iter::once(c).nfc().eq([c]), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn a_place_of_the_normal_text_is_one_of_the_original(
            text in "([a-z ]|[e\u{301}\u{323}]|[\u{1100}\u{1161}\u{11a8}\u{ac00}]|[\u{958}\u{212b}\u{f900}\u{344}]|\\PC){0,20}",
        ) {
            let normalized = Normalized::of(&text);
            let normal: String = text.nfc().collect();
            prop_assert_eq!(normalized.text(), &normal);
            let mut found = 0;
            for (at, _) in normal.char_indices() {
                let Some(place) = normalized.place(at) else { continue };
                found += 1;
                prop_assert!(text[..place].nfc().eq(normal[..at].chars()));
                prop_assert!(text[place..].nfc().eq(normal[at..].chars()));
            }
            let plain = text.chars().filter(char::is_ascii).count();
            prop_assert!(found >= plain);
            for near in 0..=text.len() {
                if let Some(border) = last_border(&text, near) {
                    prop_assert!((1..=near).contains(&border) && border < text.len());
                    let halves: String = text[..border].nfc().chain(text[border..].nfc()).collect();
                    prop_assert_eq!(halves, normal.clone());
                }
            }
        }
    }
}
