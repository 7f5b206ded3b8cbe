//! What tokenizer.json holds, as far as byte-level BPE needs it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::byte_level;
use crate::added::AddedToken;
use crate::vocab::Vocab;

/// A tokenizer.json; its long lists borrow from the file's content.
#[derive(Deserialize)]
pub struct File<'a> {
    #[serde(default)]
    pub added_tokens: Option<Vec<AddedToken>>,
    #[serde(default)]
    pub normalizer: Value,
    #[serde(default)]
    pub pre_tokenizer: Value,
    #[serde(borrow)]
    pub model: Model<'a>,
}

/// The model of a tokenizer.json.
#[derive(Deserialize)]
pub struct Model<'a> {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub dropout: Option<f64>,
    #[serde(default)]
    pub continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub ignore_merges: bool,
    #[serde(default, borrow)]
    pub vocab: Option<VocabField<'a>>,
    #[serde(default, borrow)]
    pub merges: Option<Vec<Pair<'a>>>,
}

/// A text that needs no copy unless it has escapes.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A vocabulary: a map in BPE, something else in other kinds of model.
pub enum VocabField<'a> {
    Entries(Entries<'a>),
    Other,
}

/// Tokens and ids in the file's order, repeated ones kept for the refusal.
pub struct Entries<'a>(pub Vec<(Text<'a>, u32)>);

/// A merge, written as "a b" or as a list of the two.
pub struct Pair<'a>(pub Text<'a>, pub Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for VocabField<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = VocabField<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                entries(map).map(VocabField::Entries)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(VocabField::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                entries(map)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

fn entries<'de, A: MapAccess<'de>>(mut map: A) -> Result<Entries<'de>, A::Error> {
    let mut entries = Vec::new();
    while let Some(entry) = map.next_entry()? {
        entries.push(entry);
    }
    Ok(Entries(entries))
}

impl<'de: 'a, 'a> Deserialize<'de> for Pair<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Pair<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                pair: &'de str,
            ) -> Result<Pair<'de>, E> {
                let (left, right) = split(pair)?;
                Ok(Pair(Text(left.into()), Text(right.into())))
            }
            fn visit_str<E: serde::de::Error>(self, pair: &str) -> Result<Pair<'de>, E> {
                let (left, right) = split(pair)?;
                let text = |part: &str| Text(part.to_string().into());
                Ok(Pair(text(left), text(right)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pair<'de>, A::Error> {
                let pair = seq.next_element()?.zip(seq.next_element()?);
                match (pair, seq.next_element::<IgnoredAny>()?) {
                    (Some((left, right)), None) => Ok(Pair(left, right)),
                    _ => Err(A::Error::custom("a merge needs two tokens")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn split<E: serde::de::Error>(pair: &str) -> Result<(&str, &str), E> {
    let two = pair
        .split_once(' ')
        .filter(|(_, right)| !right.contains(' '));
    two.ok_or_else(|| E::custom(format!("{pair:?} is no merge of two tokens")))
}

/// Appends every token and its id as entries of an object in JSON, in order of id: tokens spelt byte by byte, added ones
/// as their text, `before` before each entry and `colon` within.
pub fn push_vocab(vocab: &Vocab, before: &str, colon: &str, json: &mut String) {
    let mut added = vocab.added().iter().peekable();
    let mut comma = "";
    for id in (0..vocab.len() as u32).filter(|id| !vocab.bytes(*id).is_empty()) {
        *json += comma;
        *json += before;
        match added.next_if(|token| token.id == id) {
            Some(token) => *json += &Value::from(token.content.as_str()).to_string(),
            None => byte_level::push_json(vocab.bytes(id), json),
        }
        let _ = write!(json, "{colon}{id}");
        comma = ",";
    }
}
