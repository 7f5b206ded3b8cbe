//! Hugging Face's tokenizer.json: byte-level BPE in and out. Other kinds are refused by name.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

use super::gpt2::byte_level_tokens;
use super::hf_model::{File, Model, Text, VocabField, push_vocab};
use super::regex::{To, escape, translate};
use super::{byte_level, files, in_file, merged_only, vocab_of};
use crate::encode::unmade;
use crate::error::{Error, Result};
use crate::pretokenize::{NFC, PATTERNS, Pattern, SPLIT};
use crate::vocab::{Vocab, shown};

/// Built-in patterns with possessive quantifiers, in words that every regex engine reads alike. The possessive ones
/// never give anything back that could match, so the greedy ones match the same.
const PLAIN: &[(&str, &str)] = &[
    (
        "cl100k",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s",
    ),
    (
        "nano",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ),
];

/// What Digits isolates: the library that splits there knows 13 numbers more than the one that runs its regexes.
const DIGIT: &str = r"[\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}]";

/// Names that the field gives to the tokens that begin and end a text.
const BEGINS: &[&str] = &["<|bos|>", "<|begin_of_text|>", "<s>"];
const ENDS: &[&str] = &["<|eos|>", "<|endoftext|>", "<|end_of_text|>", "</s>"];

/// Vocabulary and pattern of a tokenizer.json, or of a folder with one.
///
/// # Errors
/// `Error::Io`, or `Error::Format` with what is broken or not byte-level BPE.
pub fn load(path: &Path) -> Result<(Vocab, Pattern)> {
    let path = if path.is_dir() {
        &path.join("tokenizer.json")
    } else {
        path
    };
    let content = files::read(path)?;
    let file = parse(&content).map_err(in_file(path))?;
    let pattern = read_pattern(&file).map_err(in_file(path))?;
    Ok((read_vocab(file).map_err(in_file(path))?, pattern))
}

/// The content of a tokenizer.json.
pub(super) fn parse(content: &[u8]) -> Result<File<'_>> {
    serde_json::from_slice(content).map_err(|error| Error::value(error.to_string()))
}

/// The vocabulary of a tokenizer.json.
pub(super) fn read_vocab(file: File<'_>) -> Result<Vocab> {
    let Model {
        kind,
        dropout,
        continuing_subword_prefix,
        end_of_word_suffix,
        ignore_merges,
        vocab,
        merges,
    } = file.model;
    if let Some(kind) = kind.filter(|kind| kind != "BPE") {
        return Err(Error::value(format!(
            "the model is {kind}; only byte-level BPE can be loaded"
        )));
    }
    let (Some(VocabField::Entries(entries)), Some(merges)) = (vocab, merges) else {
        return Err(Error::value("the model lacks a vocabulary or merges"));
    };
    for (name, given) in [
        ("dropout", dropout.is_some_and(|share| share != 0.0)),
        (
            "continuing_subword_prefix",
            continuing_subword_prefix.is_some_and(|s| !s.is_empty()),
        ),
        (
            "end_of_word_suffix",
            end_of_word_suffix.is_some_and(|s| !s.is_empty()),
        ),
    ] {
        if given {
            return Err(Error::value(format!(
                "the model has a {name}, which byte-level BPE does not"
            )));
        }
    }
    let mut added = FxHashMap::default();
    for mut token in file.added_tokens.unwrap_or_default() {
        // Nothing normalises a special token's text, and the order of the search tells apart only those that overlap.
        token.normalized &= !token.special;
        added.insert(token.content.clone(), token);
    }
    let mut tokens = entries.0;
    if let Some((text, id)) = tokens
        .iter()
        .find(|(text, id)| added.get(&*text.0).is_some_and(|token| token.id != *id))
    {
        return Err(Error::value(format!(
            "{:?} has id {id} in the vocabulary, another as added token",
            text.0
        )));
    }
    tokens.retain(|(text, _)| !added.contains_key(&*text.0));
    let tokens = byte_level_tokens(&tokens)?;
    let merges = merges
        .iter()
        .map(|pair| Ok((read_part(&pair.0)?, read_part(&pair.1)?)));
    let merges = merges.collect::<Result<Vec<_>>>()?;
    let added = added.into_values().collect();
    let vocab = vocab_of(&tokens, merges.into_iter(), added)?;
    Ok(if ignore_merges {
        vocab
    } else {
        merged_only(vocab)
    })
}

fn read_part<'a>(part: &'a Text<'_>) -> Result<Cow<'a, [u8]>> {
    byte_level::read(&part.0).ok_or_else(|| {
        Error::value(format!(
            "merge of {}, which is no token",
            shown(part.as_ref())
        ))
    })
}

fn read_pattern(file: &File<'_>) -> Result<Pattern> {
    // The kind of model is the better thing to say about a file of another kind.
    if let Some(kind) = file.model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return Err(Error::value(format!(
            "the model is {kind}; only byte-level BPE can be loaded"
        )));
    }
    let refuse = |step: &Value| {
        let what = step["type"].as_str().unwrap_or("none");
        let behavior = step["behavior"].as_str();
        let what = behavior.map_or(what.into(), |behavior| format!("{what} ({behavior})"));
        Error::value(format!(
            "pre-tokenizer or normalizer {what} is not one of byte-level BPE"
        ))
    };
    let mut normalizes = false;
    for step in steps(&file.normalizer, "normalizers") {
        match step["type"].as_str() {
            Some("NFC") => normalizes = true,
            _ => return Err(refuse(step)),
        }
    }
    let regexes = read_splits(&file.pre_tokenizer, &refuse)?;
    let pattern = match &regexes[..] {
        [] => return Err(Error::value("no pre-tokenizer splits the text")),
        // A single regex that loses no text is the pattern itself.
        [only] => Pattern::new(only).or_else(|error| marked(&regexes).map_err(|_| error))?,
        _ => marked(&regexes)?,
    };
    match (normalizes, pattern.normalizes()) {
        (true, false) => Pattern::new(&format!("{NFC}{}", pattern.regex())),
        // In a group, a regex is not taken for the built-in pattern that normalises.
        (false, true) => Pattern::new(&format!("(?:{})", pattern.regex())),
        _ => Ok(pattern),
    }
}

/// The pattern of several steps.
fn marked(regexes: &[String]) -> Result<Pattern> {
    let steps = regexes.iter().map(|regex| format!("{SPLIT}{regex}"));
    Pattern::new(&steps.collect::<String>())
}

/// The regex of each pre-tokenizer: all must keep every character, and the last spell bytes.
fn read_splits(pre_tokenizer: &Value, refuse: &dyn Fn(&Value) -> Error) -> Result<Vec<String>> {
    let steps = steps(pre_tokenizer, "pretokenizers");
    let Some((last, splits)) = steps.split_last() else {
        return Err(refuse(&Value::Null));
    };
    if last["type"] != "ByteLevel" {
        return Err(refuse(last));
    }
    let mut regexes = Vec::new();
    for step in splits {
        let (kind, behavior) = (&step["type"], &step["behavior"]);
        // Removing what does not match is the same, where the regex loses no text.
        let matches_kept =
            behavior == "Removed" && step["invert"] == json!(true) && splits.len() == 1;
        regexes.push(
            match (&step["pattern"]["Regex"], &step["pattern"]["String"]) {
                (Value::String(regex), _) if kind == "Split" && behavior == "Isolated" => {
                    from_oniguruma(regex)
                }
                (Value::String(regex), _) if kind == "Split" && matches_kept => {
                    let regex = from_oniguruma(regex);
                    Pattern::new(&regex)?;
                    regex
                }
                (_, Value::String(text)) if kind == "Split" && behavior == "Isolated" => {
                    escape(text)
                }
                _ if kind == "Digits" && step["individual_digits"] == json!(true) => {
                    DIGIT.to_string()
                }
                _ if kind == "Digits" => format!("{DIGIT}+"),
                _ => return Err(refuse(step)),
            },
        );
    }
    if last["add_prefix_space"] != json!(false) {
        return Err(Error::value(
            "add_prefix_space puts a space before the text, which is not supported",
        ));
    }
    if last["use_regex"] != json!(false) {
        regexes.push(built_in("gpt2").to_string());
    }
    Ok(regexes)
}

fn steps<'a>(value: &'a Value, list: &str) -> Vec<&'a Value> {
    match value[list].as_array() {
        Some(steps) if value["type"] == "Sequence" => steps.iter().collect(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value],
    }
}

/// A regex of tokenizer.json in our dialect; a built-in pattern's as its owner spells it.
fn from_oniguruma(regex: &str) -> String {
    let known = PATTERNS
        .iter()
        .find(|(name, ours)| regex == *ours || regex == plain(name, ours));
    known.map_or_else(|| translate(regex, To::Ours), |(_, ours)| (*ours).into())
}

fn built_in(name: &str) -> &'static str {
    let found = PATTERNS.iter().find(|(other, _)| *other == name);
    found.map_or("", |(_, regex)| regex)
}

fn plain(name: &str, regex: &str) -> String {
    let found = PLAIN.iter().find(|(other, _)| *other == name);
    found.map_or_else(
        || translate(regex, To::Oniguruma),
        |(_, plain)| (*plain).into(),
    )
}

/// The content of tokenizer.json. Added tokens are in the model's vocabulary too: readers number those that are
/// not by their own count, which holes would shift.
pub(super) fn content(vocab: &Vocab, pattern: &Pattern) -> Result<Vec<u8>> {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let mut steps: Vec<&str> = pattern.steps().collect();
    let use_regex = steps.pop_if(|last| *last == built_in("gpt2")).is_some();
    let mut splits: Vec<Value> = steps
        .into_iter()
        .map(|regex| {
            let known = PATTERNS.iter().find(|(_, ours)| *ours == regex);
            let regex = plain(known.map_or("", |(name, _)| name), regex);
            json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
        })
        .collect();
    splits.push(byte_level(use_regex));
    let pre_tokenizer = match &mut splits[..] {
        [only] => only.take(),
        _ => json!({"type": "Sequence", "pretokenizers": splits}),
    };
    let normalizer = if pattern.normalizes() {
        json!({"type": "NFC"})
    } else {
        Value::Null
    };
    let mut head = Map::new();
    head.insert("version".into(), json!("1.0"));
    head.insert("truncation".into(), Value::Null);
    head.insert("padding".into(), Value::Null);
    head.insert("added_tokens".into(), json!(vocab.added()));
    head.insert("normalizer".into(), normalizer);
    head.insert("pre_tokenizer".into(), pre_tokenizer);
    head.insert("post_processor".into(), Value::Null);
    head.insert("decoder".into(), byte_level(true));
    // The two long lists are written straight from the vocabulary, a line for each entry as diffs like it.
    let head = pretty(&head)?;
    let mut text = head.strip_suffix("\n}").unwrap_or(&head).to_string();
    text += ",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n";
    text += "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n";
    text += "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n";
    let _ = write!(
        text,
        "    \"ignore_merges\": {},\n    \"vocab\": {{",
        !vocab.only_merges() && !unmade(vocab).is_empty()
    );
    push_vocab(vocab, "\n      ", ": ", &mut text);
    text += "\n    },\n    \"merges\": [";
    let mut separator = "\n      [";
    for merge in vocab.merges() {
        text += separator;
        byte_level::push_json(vocab.bytes(merge.left), &mut text);
        text.push(',');
        byte_level::push_json(vocab.bytes(merge.right), &mut text);
        text.push(']');
        separator = ",\n      [";
    }
    text += "\n    ]\n  }\n}\n";
    Ok(text.into_bytes())
}

fn pretty(map: &Map<String, Value>) -> Result<String> {
    serde_json::to_string_pretty(map).map_err(|error| Error::value(error.to_string()))
}

/// Writes tokenizer.json and what transformers reads beside it.
///
/// # Errors
/// `Error::Io`.
pub fn save(vocab: &Vocab, pattern: &Pattern, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let texts: Vec<&str> = vocab.specials().map(|(text, _)| text).collect();
    let named = |names: &[&'static str]| names.iter().copied().find(|name| texts.contains(name));
    let (begin, end) = (named(BEGINS), named(ENDS));
    let mut special = Map::new();
    for (key, name) in [("bos_token", begin), ("eos_token", end)] {
        special.extend(name.map(|name| (key.to_string(), json!(name))));
    }
    let others: Vec<_> = texts
        .iter()
        .filter(|text| Some(**text) != begin && Some(**text) != end)
        .collect();
    if !others.is_empty() {
        special.insert("additional_special_tokens".into(), json!(others));
    }
    let mut config = special.clone();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    files::write(&folder.join("tokenizer.json"), &content(vocab, pattern)?)?;
    files::write(
        &folder.join("tokenizer_config.json"),
        (pretty(&config)? + "\n").as_bytes(),
    )?;
    files::write(
        &folder.join("special_tokens_map.json"),
        (pretty(&special)? + "\n").as_bytes(),
    )
}
