//! GPT-2's spelling of bytes: each as one printable character, so that tokens are words in a JSON file.

use std::borrow::Cow;
use std::sync::LazyLock;

/// The character of each byte: printable Latin-1 stands for itself, the 68 others follow from U+0100 on.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        if matches!(byte, 33..=126 | 161..=172 | 174..=255) {
            return char::from(byte as u8);
        }
        next += 1;
        char::from_u32(next - 1).expect("all below U+0144")
    })
});

/// Appends the spelling of bytes as a string in JSON.
pub fn push_json(bytes: &[u8], json: &mut String) {
    json.push('"');
    for &byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            json.push('\\');
        }
        json.push(CHARS[usize::from(byte)]);
    }
    json.push('"');
}

/// Spells bytes.
pub fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| CHARS[usize::from(byte)]).collect()
}

/// The bytes that are spelt so; None if a character stands for no byte.
pub fn read(spelt: &str) -> Option<Cow<'_, [u8]>> {
    static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
        let mut bytes = [None; 0x144];
        for (byte, &c) in (0..=255).zip(CHARS.iter()) {
            bytes[c as usize] = Some(byte);
        }
        bytes
    });
    if spelt.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(spelt.as_bytes().into());
    }
    spelt
        .chars()
        .map(|c| BYTES.get(c as usize).copied().flatten())
        .collect::<Option<_>>()
        .map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(read(&spell(&all)).as_deref(), Some(&all[..]));
        assert_eq!(read("ab").as_deref(), Some(&b"ab"[..]));
        let mut json = String::new();
        push_json(&all, &mut json);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), spell(&all));
        assert_eq!(spell(b" \n"), "\u{120}\u{10a}");
        assert_eq!(read("a b"), None);
    }
}
