//! Which of 64 bytes belong to which class, one bit each.
//!
//! ASCII is classified by AVX2 or NEON, 32 or 64 bytes at a time, or in ordinary registers, eight at a time; AVX2 scans
//! twice as fast (English 2.06 against 0.91 GB/s, mixed scripts 1.29 against 0.51, Zen 5), and AVX-512 with one table for
//! all classes was 1 to 3 % faster than that, which does not pay for it. Beyond ASCII, letters of the commonest scripts are
//! told by their first bytes, and other characters are looked up one by one in [`Classes`] (sixteen at a time, by a
//! gather of AVX-512, took longer); all their bytes get their class.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::unicode::{Classes, LETTER, LOWER, NUMBER, SPACE, UPPER};

#[cfg(target_arch = "aarch64")]
pub(super) use neon::{neon, neon_beyond};
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{avx2, avx2_beyond};

/// Letters that are known by their first two bytes, by the lower half of the first one: of Latin-1, Cyrillic, Han and
/// Hangul nearly all.
struct Letters {
    first: [u8; 16],
    /// The second byte is at least and at most this, and not the third one or 0x20 more.
    least: [u8; 16],
    most: [u8; 16],
    never: [u8; 16],
    /// From this second byte on they are of lower case.
    lower: [u8; 16],
}

const LETTERS: Letters = {
    // What no byte has to do with: 0xff is in no text.
    let mut letters = Letters {
        first: [0xff; 16],
        least: [0xff; 16],
        most: [0; 16],
        never: [0; 16],
        lower: [0xff; 16],
    };
    // First byte, least and greatest second one, and the least of lower case.
    let ranges = [
        (0xc3, 0x80, 0xbf, 0x9f),
        (0xd0, 0x80, 0xbf, 0xb0),
        (0xd1, 0x80, 0x9f, 0x80),
        (0xe4, 0xb8, 0xbf, 0xff),
        (0xe5, 0x80, 0xbf, 0xff),
        (0xe6, 0x80, 0xbf, 0xff),
        (0xe7, 0x80, 0xbf, 0xff),
        (0xe8, 0x80, 0xbf, 0xff),
        (0xe9, 0x80, 0xbf, 0xff),
        (0xea, 0xb0, 0xbf, 0xff),
        (0xeb, 0x80, 0xbf, 0xff),
        (0xec, 0x80, 0xbf, 0xff),
        (0xed, 0x80, 0x9d, 0xff),
    ];
    let mut i = 0;
    while i < ranges.len() {
        let (first, least, most, lower) = ranges[i];
        let at = first as usize % 16;
        letters.first[at] = first;
        letters.least[at] = least;
        letters.most[at] = most;
        letters.lower[at] = lower;
        i += 1;
    }
    // The signs of multiplication and division.
    letters.never[3] = 0x97;
    letters
};

/// From this first byte on the known letters have no case.
const CASELESS: u8 = 0xe0;

/// The first bytes of hiragana up to U+307F, and the third of what is no letter there.
const HIRAGANA: (u8, u8, u8) = (0xe3, 0x81, 0x80);

/// Bytes classified together.
pub(super) const BLOCK: usize = 64;
/// A block and the rest of a character that begins at its end.
pub(super) type Bytes = [u8; BLOCK + 4];

/// The classes of a block's bytes, bit 0 for the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Masks {
    pub letter: u64,
    pub number: u64,
    pub space: u64,
    /// `\r` and `\n`.
    pub newline: u64,
    /// The space U+0020.
    pub blank: u64,
    pub apostrophe: u64,
    pub slash: u64,
    /// Letters and marks that may begin a word of o200k and not end one.
    pub upper: u64,
    /// Letters and marks that may end one and not begin one.
    pub lower: u64,
    /// Marks, which o200k takes for letters.
    pub mark: u64,
    /// Bytes beyond ASCII.
    pub high: u64,
    /// Those of them that continue a character.
    pub tail: u64,
    /// Bytes of whole characters of the text.
    pub valid: u64,
}

/// What bytes beyond ASCII are without a look at [`Classes`].
#[derive(Default)]
pub(super) struct Beyond {
    /// Those that continue a character.
    pub tail: u64,
    /// Those that begin a letter that is known by its first bytes.
    pub letter: u64,
    /// Those of them that begin a capital, and a letter of lower case.
    pub upper: u64,
    pub lower: u64,
}

impl Masks {
    /// With the characters beyond ASCII, and without one that the block does not hold whole. Upper and lower case
    /// and marks are told apart only if `CASED`.
    // Only what is inlined takes on the features of its caller.
    #[expect(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn with<const CASED: bool>(
        mut self,
        beyond: &Beyond,
        classes: &Classes,
        bytes: &Bytes,
    ) -> Self {
        self.tail = beyond.tail;
        let leads = self.high & !self.tail & self.valid;
        self.cut_off(leads, bytes);
        // Letters unless found otherwise: nearly all are.
        self.letter |= self.high;
        if CASED {
            self.upper |= beyond.upper | beyond.upper << 1;
            self.lower |= beyond.lower | beyond.lower << 1;
        }
        let mut unknown = leads & self.valid & !beyond.letter;
        while unknown != 0 {
            let at = unknown.trailing_zeros() as usize;
            unknown &= unknown - 1;
            let (class, len) = classes.at(bytes, at);
            let char_mask = ((1u64 << len) - 1) << at;
            if class & LETTER == 0 {
                self.letter &= !char_mask;
                if class & NUMBER != 0 {
                    self.number |= char_mask;
                } else if class & SPACE != 0 {
                    self.space |= char_mask;
                } else if CASED && class & UPPER != 0 {
                    self.mark |= char_mask;
                }
            }
            if CASED {
                let having = |yes: bool| if yes { char_mask } else { 0 };
                self.upper |= having(class & (UPPER | LOWER) == UPPER);
                self.lower |= having(class & (UPPER | LOWER) == LOWER);
            }
        }
        for mask in [
            &mut self.letter,
            &mut self.number,
            &mut self.space,
            &mut self.newline,
            &mut self.blank,
            &mut self.apostrophe,
            &mut self.slash,
            &mut self.upper,
            &mut self.lower,
            &mut self.mark,
        ] {
            *mask &= self.valid;
        }
        self
    }

    /// Takes out the last character if the block does not hold it whole.
    #[inline]
    fn cut_off(&mut self, leads: u64, bytes: &Bytes) {
        if leads != 0 {
            let last = BLOCK - 1 - leads.leading_zeros() as usize;
            let len = match bytes[last] {
                0xf0.. => 4,
                0xe0.. => 3,
                _ => 2,
            };
            if last + len > self.valid.trailing_ones() as usize {
                self.valid &= (1 << last) - 1;
            }
        }
    }
}

/// The ASCII part of the masks, in ordinary registers.
#[inline]
pub(super) fn portable(bytes: &Bytes) -> Masks {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let mut masks = Masks::default();
    for (k, eight) in bytes[..BLOCK].chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let (low, ascii) = (word & !HIGH, !word & HIGH);
        // The high bit of each ASCII byte from `first` to `last`.
        let within = |word: u64, first: u64, last: u64| {
            (word + (0x80 - first) * ONES) & !(word + (0x7f - last) * ONES) & ascii
        };
        let is = |byte: u8| within(low, byte.into(), byte.into());
        // High bits of eight bytes to eight bits.
        let put = |mask: &mut u64, bits: u64| {
            *mask |= ((bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * k);
        };
        put(&mut masks.letter, within(low | (0x20 * ONES), 0x61, 0x7a));
        put(&mut masks.number, within(low, 0x30, 0x39));
        put(&mut masks.space, within(low, 9, 13) | is(b' '));
        put(&mut masks.newline, is(b'\n') | is(b'\r'));
        put(&mut masks.blank, is(b' '));
        put(&mut masks.apostrophe, is(b'\''));
        put(&mut masks.slash, is(b'/'));
        put(&mut masks.upper, within(low, 0x41, 0x5a));
        put(&mut masks.lower, within(low, 0x61, 0x7a));
        put(&mut masks.high, word & HIGH);
    }
    masks
}

/// What the bytes beyond ASCII are, one by one.
pub(super) fn portable_beyond(bytes: &Bytes) -> Beyond {
    let mut beyond = Beyond::default();
    for at in 0..BLOCK {
        let (first, second, third) = (bytes[at], bytes[at + 1], bytes[at + 2]);
        let i = usize::from(first % 16);
        let is_letter = first == LETTERS.first[i]
            && (LETTERS.least[i]..=LETTERS.most[i]).contains(&second)
            && second & !0x20 != LETTERS.never[i]
            || (first, second) == (HIRAGANA.0, HIRAGANA.1) && third != HIRAGANA.2;
        let is_lower = second >= LETTERS.lower[i];
        let bit = |is: bool| u64::from(is) << at;
        beyond.tail |= bit(first & 0xc0 == 0x80);
        beyond.letter |= bit(is_letter);
        beyond.upper |= bit(is_letter && !is_lower && first < CASELESS);
        beyond.lower |= bit(is_letter && is_lower);
    }
    beyond
}
