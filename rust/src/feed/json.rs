//! JSON lines: one document per line, in one field of an object.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::file::LocalFile;
use super::{BATCH_BYTES, Feed, Poll};
use crate::error::{Error, Result};

/// Lines that have been read and not yet parsed.
pub struct JsonStream {
    name: String,
    field: String,
    pending: Vec<u8>,
    line: u64,
}

impl JsonStream {
    /// A stream of lines; `name` stands in messages, `field` holds the text.
    pub fn new(name: impl Into<String>, field: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            field: field.into(),
            pending: Vec::new(),
            line: 0,
        }
    }
}

impl<T: Send + 'static> Feed<T> {
    /// Reads a local file of JSON lines.
    ///
    /// # Errors
    /// `Error::Io` if it cannot be read, `Error::Format` with file and line if it is not what it should be, and what
    /// a worker or `poll` raised.
    pub fn json_file(&mut self, file: LocalFile, field: &str, poll: Poll<'_>) -> Result<()> {
        let (mut content, _) = file.open()?;
        let mut stream = JsonStream::new(file.path.display().to_string(), field);
        let mut block = Vec::with_capacity(BATCH_BYTES);
        while !self.is_full() {
            // A line of many blocks is read to its end before anything is sent.
            poll()?;
            block.clear();
            let read = (&mut content)
                .take(BATCH_BYTES as u64)
                .read_to_end(&mut block);
            if read.map_err(|e| file.failed(e))? == 0 {
                break;
            }
            self.json(&mut stream, &block, poll)?;
        }
        self.end_json(stream, poll)
    }

    /// Takes the next bytes of a stream of JSON lines.
    ///
    /// # Errors
    /// As [`Feed::json_file`].
    pub fn json(&mut self, stream: &mut JsonStream, bytes: &[u8], poll: Poll<'_>) -> Result<()> {
        let Some(last) = memchr::memrchr(b'\n', bytes) else {
            stream.pending.extend_from_slice(bytes);
            return Ok(());
        };
        let mut lines = std::mem::take(&mut stream.pending);
        lines.extend_from_slice(&bytes[..last]);
        stream.pending.extend_from_slice(&bytes[last + 1..]);
        self.json_lines(stream, &lines, poll)
    }

    /// Ends the stream; the last line needs no line end.
    ///
    /// # Errors
    /// As [`Feed::json_file`].
    pub fn end_json(&mut self, mut stream: JsonStream, poll: Poll<'_>) -> Result<()> {
        let rest = std::mem::take(&mut stream.pending);
        self.json_lines(&mut stream, &rest, poll)
    }

    fn json_lines(&mut self, stream: &mut JsonStream, lines: &[u8], poll: Poll<'_>) -> Result<()> {
        for line in lines.split(|b| *b == b'\n') {
            stream.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if self.is_full() {
                break;
            }
            let text = text_of(line, &stream.field).map_err(|problem| {
                Error::format(format!("{}, line {}: {problem}", stream.name, stream.line))
            })?;
            self.document(text.as_bytes(), poll)?;
        }
        Ok(())
    }
}

/// The string in the field of a line's object, or what is wrong with the line.
fn text_of<'a>(line: &'a [u8], field: &str) -> Result<Cow<'a, str>, String> {
    let mut parser = serde_json::Deserializer::from_slice(line);
    let found = Object(field)
        .deserialize(&mut parser)
        .map_err(|e| e.to_string())?;
    parser.end().map_err(|e| e.to_string())?;
    found.ok_or_else(|| format!("the object has no field {field:?}"))
}

/// An object of which one field is kept and the others are passed over.
struct Object<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a field {:?}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key_seed(Text("a field's name"))? {
            if key == self.0 {
                found = Some(map.next_value_seed(Text("a string"))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A string, borrowed where it holds no escapes.
struct Text(&'static str);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
