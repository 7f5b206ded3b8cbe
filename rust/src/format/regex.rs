//! One regex in two dialects: ours (fancy-regex) and Oniguruma, which Hugging Face's tokenizers run.
//!
//! They differ in what pretokenisers use: `x{1,3}+` is possessive here and a repeated group there; `$` and `^` are the
//! ends of the text here and of lines there; "dot matches line ends" is the flag `s` here and `m` there.

/// Which way to translate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// From ours to Oniguruma's.
    Oniguruma,
    /// From Oniguruma's to ours.
    Ours,
}

/// The regex in the other dialect.
pub fn translate(regex: &str, to: To) -> String {
    let mut out = String::with_capacity(regex.len() + 16);
    // Where the last atom begins in `out`, and where each open group does.
    let (mut atom, mut groups) = (0, Vec::new());
    let mut rest = regex;
    while let Some(c) = rest.chars().next() {
        // What the other direction makes of the ends of lines.
        let line_end = ["(?m:$)", "(?m:^)"]
            .iter()
            .find(|end| rest.starts_with(**end));
        if let Some(end) = line_end.filter(|_| to == To::Oniguruma) {
            atom = out.len();
            out += &end[4..5];
            rest = &rest[end.len()..];
            continue;
        }
        let len = match c {
            '\\' => escape_len(rest),
            '[' => class_len(rest),
            '(' => 1 + flags_len(&rest[1..]),
            '{' => repeat_len(rest).unwrap_or(1),
            _ => c.len_utf8(),
        };
        let (item, after) = rest.split_at(len);
        rest = after;
        let begins = out.len();
        match c {
            '(' => {
                groups.push(begins);
                let (from, into) = if to == To::Oniguruma {
                    ('s', "m")
                } else {
                    ('m', "s")
                };
                out += &item.replace(from, into);
            }
            ')' => {
                out.push(')');
                atom = groups.pop().unwrap_or(begins);
            }
            '{' if len > 1 && rest.starts_with('+') => {
                rest = &rest[1..];
                let (open, close) = if to == To::Oniguruma {
                    ("(?>", ")")
                } else {
                    ("(?:", ")+")
                };
                out.insert_str(atom, open);
                out += item;
                out += close;
            }
            '*' | '+' | '?' => out += item,
            '{' if len > 1 => out += item,
            '$' | '^' => {
                atom = begins;
                out += match (to, c) {
                    (To::Oniguruma, '$') => r"\z",
                    (To::Oniguruma, _) => r"\A",
                    (To::Ours, '$') => "(?m:$)",
                    (To::Ours, _) => "(?m:^)",
                };
            }
            _ => {
                atom = begins;
                out += item;
            }
        }
    }
    out
}

/// The regex that matches a text and nothing else.
pub fn escape(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex
}

/// Bytes of `\n`, `\p{L}`, `\x{2028}`.
fn escape_len(rest: &str) -> usize {
    let Some(c) = rest[1..].chars().next() else {
        return 1;
    };
    let len = 1 + c.len_utf8();
    if matches!(c, 'p' | 'P' | 'x' | 'u') && rest[len..].starts_with('{') {
        return rest.find('}').map_or(len, |end| end + 1);
    }
    len
}

/// Bytes of a class in brackets, classes inside it included.
fn class_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(c) = rest[at..].chars().next() {
        match c {
            '\\' => {
                at += escape_len(&rest[at..]);
                continue;
            }
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            break;
        }
    }
    at
}

/// Bytes of `?i:` or `?s` and the like behind a parenthesis; 0 for other groups.
fn flags_len(rest: &str) -> usize {
    let Some(flags) = rest.strip_prefix('?') else {
        return 0;
    };
    let len = flags
        .find(|c: char| !c.is_ascii_alphabetic() && c != '-')
        .unwrap_or(flags.len());
    if len > 0 && flags[len..].starts_with([':', ')']) {
        1 + len
    } else {
        0
    }
}

/// Bytes of `{2}`, `{1,3}`; None if the brace is a plain character.
fn repeat_len(rest: &str) -> Option<usize> {
    let end = rest.find('}')?;
    let counts = &rest[1..end];
    let valid = !counts.is_empty() && counts.chars().all(|c| c.is_ascii_digit() || c == ',');
    valid.then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects() {
        let cases = [
            (r"\p{N}{1,3}+|x", r"(?>\p{N}{1,3})|x", r"(?:\p{N}{1,3})+|x"),
            (
                r"(ab|[{2}+]){2}+",
                r"(?>(ab|[{2}+]){2})",
                r"(?:(ab|[{2}+]){2})+",
            ),
            (
                r"\s++$|^x|[$^]\$",
                r"\s++\z|\Ax|[$^]\$",
                r"\s++(?m:$)|(?m:^)x|[$^]\$",
            ),
            (r"(?s).{1,5}", r"(?m).{1,5}", r"(?s).{1,5}"),
            (r"(?i:'s)?+(?!\S)", r"(?i:'s)?+(?!\S)", r"(?i:'s)?+(?!\S)"),
            (r"a{|b{x}+", r"a{|b{x}+", r"a{|b{x}+"),
        ];
        assert_eq!(translate(r"\s+(?m:$)|(?m:^)x", To::Oniguruma), r"\s+$|^x");
        assert_eq!(escape("a. $"), r"a\. \$");
        for (regex, oniguruma, ours) in cases {
            assert_eq!(translate(regex, To::Oniguruma), oniguruma);
            assert_eq!(translate(regex, To::Ours), ours);
        }
    }
}
