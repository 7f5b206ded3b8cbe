//! Documents in a column of a parquet file.
//!
//! Of a local file the workers read pages in turn, like blocks of text. A page is held once, and documents are copied
//! from it into batches.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use super::cut::Rest;
use super::fetch::Blocks;
use super::guard::guarded;
use super::{BATCH_BYTES, Batch, Cutter, Feed, Filling, Poll};
use crate::error::{Error, Result};
use crate::memory::large_vec;

/// Values that are decoded at once; fewer where they are long, since some encodings copy them.
const MOST_VALUES: usize = 1024;

/// A file on disk, read into memory on large pages: a page of 107 MB takes 42 to 88 ms so instead of 95 to 138.
pub struct LocalFile(File);

impl LocalFile {
    /// Opens it.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn open(path: &Path) -> Result<Self> {
        File::open(path).map(Self).map_err(Error::io(path))
    }
}

impl Length for LocalFile {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for LocalFile {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A damaged file may say any length.
        let mut bytes = large_vec(length.min(self.0.len() as usize));
        let mut file = self.0.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        file.take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            let message = format!("it ends {} bytes too early", length - bytes.len());
            return Err(ParquetError::EOF(message));
        }
        Ok(bytes.into())
    }
}

/// An open parquet file.
#[derive(Clone)]
pub struct ParquetFile {
    name: String,
    reader: Arc<dyn FileReader>,
}

impl ParquetFile {
    /// Reads the footer; `name` stands in messages.
    ///
    /// # Errors
    /// `Error::Format` if it is no parquet, `Error::Io` if it cannot be read.
    pub fn open(name: &Path, file: impl ChunkReader + 'static) -> Result<Self> {
        let name = name.display().to_string();
        let reader = tried(&name, || SerializedFileReader::new(file))?;
        Ok(Self {
            name,
            reader: Arc::new(reader),
        })
    }

    /// Names of the columns.
    pub fn columns(&self) -> Vec<&str> {
        let schema = self.reader.metadata().file_metadata().schema();
        schema.get_fields().iter().map(|f| f.name()).collect()
    }

    /// Bytes of each row group before compression, all columns together.
    pub fn group_bytes(&self) -> Vec<u64> {
        let groups = self.reader.metadata().row_groups();
        groups
            .iter()
            .map(|g| u64::try_from(g.total_byte_size()).unwrap_or(0))
            .collect()
    }

    /// The number of the column `field` among those that hold values.
    fn leaf(&self, field: &str) -> Result<usize> {
        let file = self.reader.metadata().file_metadata();
        if !self.columns().contains(&field) {
            return Err(Error::format(format!(
                "{}: there is no column {field:?}; it has {}",
                self.name,
                self.columns().join(", ")
            )));
        }
        let leaves = file.schema_descr().columns();
        let mut leaves = leaves.iter().enumerate();
        let held = match leaves.find(|(_, column)| column.path().parts() == [field]) {
            Some((_, column)) if column.max_rep_level() > 0 => "nested values".to_string(),
            Some((_, column)) if column.physical_type() != Physical::BYTE_ARRAY => {
                column.physical_type().to_string().to_lowercase()
            }
            Some((_, column))
                if column.converted_type() == ConvertedType::DECIMAL
                    || matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_))) =>
            {
                "decimal".to_string()
            }
            Some((leaf, _)) => return Ok(leaf),
            None => "nested values".to_string(),
        };
        Err(Error::format(format!(
            "{}: column {field:?} holds {held}; string or binary is needed",
            self.name
        )))
    }
}

/// What reading gives; what a damaged file leads to, an error or a panic, names it.
fn tried<R>(name: &str, read: impl FnOnce() -> Result<R, ParquetError>) -> Result<R> {
    match guarded(read) {
        Ok(result) => result.map_err(|error| wrong(name, error)),
        Err(panic) => Err(Error::format(format!("{name}: it is damaged: {panic}"))),
    }
}

/// What went wrong with a file: the system's refusal, or what it holds.
fn wrong(name: &str, error: ParquetError) -> Error {
    let text = match error {
        ParquetError::General(text) | ParquetError::NYI(text) | ParquetError::EOF(text) => text,
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => return Error::reading(name)(*error),
            Err(error) => error.to_string(),
        },
        error => error.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    Error::format(format!("{name}: {line}"))
}

/// The column of documents that is being read.
struct Texts {
    file: ParquetFile,
    leaf: usize,
    groups: std::vec::IntoIter<usize>,
    /// The row group that is being read, and how many of its values are decoded at once.
    column: Option<(ColumnReaderImpl<ByteArrayType>, usize)>,
    /// Which rows hold values: asked for by the reader, of no use here.
    levels: Vec<i16>,
    /// Decoded values, the next one last.
    values: Vec<ByteArray>,
    /// The document that is being cut, and what is left of it.
    open: Option<(ByteArray, Rest)>,
    filling: Filling,
}

impl Texts {
    /// The next value that is not null.
    fn value(&mut self, poll: Poll<'_>) -> Result<Option<ByteArray>> {
        while self.values.is_empty() {
            poll()?;
            let Some((column, most)) = &mut self.column else {
                let Some(group) = self.groups.next() else {
                    return Ok(None);
                };
                self.column = Some(self.column(group)?);
                continue;
            };
            self.levels.clear();
            let (rows, _, _) = tried(&self.file.name, || {
                column.read_records(*most, Some(&mut self.levels), None, &mut self.values)
            })?;
            if rows == 0 {
                // Before the next one is opened: its first page would come on top of this one's last.
                self.column = None;
            }
            self.values.reverse();
        }
        Ok(self.values.pop())
    }

    fn column(&self, group: usize) -> Result<(ColumnReaderImpl<ByteArrayType>, usize)> {
        tried(&self.file.name, || {
            let group = self.file.reader.get_row_group(group)?;
            let chunk = group.metadata().column(self.leaf);
            let bytes = usize::try_from(chunk.uncompressed_size()).unwrap_or(0);
            let rows = usize::try_from(chunk.num_values()).unwrap_or(0);
            let most = rows.saturating_mul(2 * BATCH_BYTES) / bytes.max(1);
            let column = get_typed_column_reader(group.get_column_reader(self.leaf)?);
            Ok((column, most.clamp(1, MOST_VALUES)))
        })
    }
}

impl Blocks for Texts {
    fn next(&mut self, cutter: &mut Cutter, poll: Poll<'_>) -> Result<Option<Batch>> {
        while !cutter.is_full() {
            let (text, mut rest) = match self.open.take() {
                Some(open) => open,
                None => match self.value(poll)? {
                    Some(text) => (text, Rest::default()),
                    None => break,
                },
            };
            while let Some((range, ends)) = cutter.part(text.data(), &mut rest) {
                self.filling.add(cutter, &text.data()[range], ends);
                if self.filling.is_enough() {
                    self.open = Some((text, rest));
                    return Ok(self.filling.take());
                }
            }
        }
        Ok(self.filling.take())
    }
}

impl<T: Send + 'static> Feed<T> {
    /// Takes the documents in the column `field` of the row groups `groups`, or of all; nulls are none.
    ///
    /// The workers read them themselves if `by_workers`.
    ///
    /// # Errors
    /// `Error::Format` if there is no such column of strings or it is damaged, `Error::Io` if it cannot be read, and
    /// what a worker or `poll` raised.
    pub fn parquet(
        &mut self,
        file: &ParquetFile,
        field: &str,
        groups: Option<Vec<usize>>,
        by_workers: bool,
        poll: Poll<'_>,
    ) -> Result<()> {
        let all = file.reader.num_row_groups();
        let groups = groups.unwrap_or_else(|| (0..all).collect());
        if let Some(none) = groups.iter().find(|group| **group >= all) {
            let name = &file.name;
            return Err(Error::format(format!(
                "{name}: there is no row group {none} of {all}"
            )));
        }
        let texts = Texts {
            leaf: file.leaf(field)?,
            groups: groups.into_iter(),
            file: file.clone(),
            column: None,
            levels: Vec::new(),
            values: Vec::new(),
            open: None,
            filling: Filling::default(),
        };
        self.read(texts, by_workers, poll)
    }
}
