//! What tokenizer.json holds, as far as byte-level BPE needs it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::byte_level;
use crate::added::AddedToken;
use crate::vocab::Vocab;

/// A tokenizer.json.
#[derive(Deserialize)]
pub struct File {
    #[serde(default)]
    pub added_tokens: Option<Vec<AddedToken>>,
    #[serde(default)]
    pub normalizer: Value,
    #[serde(default)]
    pub pre_tokenizer: Value,
    pub model: Model,
}

/// The model of a tokenizer.json.
#[derive(Deserialize)]
pub struct Model {
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
    #[serde(default)]
    pub vocab: Option<VocabField>,
    #[serde(default)]
    pub merges: Option<Vec<Pair>>,
}

/// A vocabulary: a map in BPE, something else in other kinds of model.
pub enum VocabField {
    Entries(Entries),
    Other,
}

/// Tokens and ids in the file's order, repeated ones kept for the refusal.
pub struct Entries(pub Vec<(String, u32)>);

/// A merge, written as "a b" or as a list of the two.
pub struct Pair(pub String, pub String);

impl<'de> Deserialize<'de> for VocabField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = VocabField;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VocabField, A::Error> {
                entries(map).map(VocabField::Entries)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VocabField, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(VocabField::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entries, A::Error> {
                entries(map)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

fn entries<'de, A: MapAccess<'de>>(mut map: A) -> Result<Entries, A::Error> {
    let mut entries = Vec::new();
    while let Some(entry) = map.next_entry::<String, u32>()? {
        entries.push(entry);
    }
    Ok(Entries(entries))
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Pair;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge of two tokens")
            }
            fn visit_str<E: serde::de::Error>(self, pair: &str) -> Result<Pair, E> {
                let two = pair
                    .split_once(' ')
                    .filter(|(_, right)| !right.contains(' '));
                let (left, right) =
                    two.ok_or_else(|| E::custom(format!("{pair:?} is no merge of two tokens")))?;
                Ok(Pair(left.into(), right.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pair, A::Error> {
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

/// Every id's token as JSON files spell it, in order of id; added tokens as their text.
pub fn spelt_tokens(vocab: &Vocab) -> impl Iterator<Item = (String, u32)> {
    let mut added = vocab.added().iter().peekable();
    (0..vocab.len() as u32).filter_map(move |id| {
        if let Some(token) = added.next_if(|token| token.id == id) {
            return Some((token.content.clone(), id));
        }
        let bytes = vocab.bytes(id);
        (!bytes.is_empty()).then(|| (byte_level::spell(bytes), id))
    })
}
