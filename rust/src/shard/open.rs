//! One shard while it grows, under a temporary name until it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::{
    HEADER_BYTES, IndexInfo, ShardInfo, header, hex, lay_out, sha256_file, temporary, write_whole,
};
use crate::error::{Error, Result};

/// A place in a shard.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    pub(super) tokens: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) documents: u64,
    pub(super) tokens: u64,
    pub(super) bytes: u64,
}

/// A shard that grows.
pub(super) struct OpenShard {
    path: PathBuf,
    width: usize,
    /// None while a shard that is complete on disk is gone through.
    file: Option<BufWriter<File>>,
    pub(super) known: Option<ShardInfo>,
    pub(super) count: Count,
    pub(super) starts: Vec<u32>,
    /// Where the document begins that is being written; the shard's start for the rest of one.
    pub(super) document: Mark,
}

impl OpenShard {
    pub(super) fn create(path: PathBuf, width: usize, known: Option<ShardInfo>) -> Result<Self> {
        let mut shard = Self {
            width,
            file: None,
            known,
            count: Count::default(),
            starts: Vec::new(),
            document: Mark::default(),
            path,
        };
        if shard.known.is_none() {
            let name = temporary(&shard.path);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&name);
            let file = file.map_err(Error::io(&name))?;
            shard.file = Some(BufWriter::with_capacity(1 << 18, file));
            shard.write(&header(width, 0))?;
        }
        Ok(shard)
    }

    pub(super) fn append(&mut self, ids: &[u32], bytes: u64) -> Result<()> {
        self.count.tokens += ids.len() as u64;
        self.count.bytes += bytes;
        if self.file.is_none() {
            return Ok(());
        }
        let mut block = [0; 1 << 13];
        for ids in ids.chunks(block.len() / self.width) {
            let block = &mut block[..ids.len() * self.width];
            lay_out(ids, self.width, block);
            self.write(block)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self
            .file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(bytes));
        written.map_err(Error::io(&self.path))
    }

    /// Copies the open document to the start of another shard and forgets it here; [`OpenShard::complete`] cuts it off.
    pub(super) fn move_document(&mut self, fresh: &mut Self) -> Result<()> {
        let Mark { tokens, bytes } = self.document;
        let size = (self.count.tokens - tokens) * self.width as u64;
        let start = HEADER_BYTES as u64 + tokens * self.width as u64;
        let writer = self
            .file
            .as_mut()
            .expect("only a shard that is written is cut");
        let mut document = writer
            .flush()
            .map_err(Error::io(&self.path))
            .and_then(|()| {
                let name = temporary(&self.path);
                let mut file = File::open(&name).map_err(Error::io(&name))?;
                file.seek(SeekFrom::Start(start))
                    .map_err(Error::io(&name))?;
                Ok(file.take(size))
            })?;
        let to = fresh
            .file
            .as_mut()
            .expect("the shard after one that is written is not known");
        std::io::copy(&mut document, to).map_err(Error::io(&fresh.path))?;
        fresh.count = Count {
            documents: 1,
            tokens: self.count.tokens - tokens,
            bytes: self.count.bytes - bytes,
        };
        fresh.starts.push(0);
        self.count = Count {
            documents: self.count.documents - 1,
            tokens,
            bytes,
        };
        self.starts.pop();
        Ok(())
    }

    /// Gives the shard its name. A known shard must have come out as it is on disk.
    pub(super) fn complete(mut self, indexed: bool, stop: &AtomicBool) -> Result<ShardInfo> {
        let Count {
            documents,
            tokens,
            bytes,
        } = self.count;
        if let Some(known) = self.known.take() {
            let same = [known.documents, known.tokens, known.bytes] == [documents, tokens, bytes];
            return if same {
                Ok(known)
            } else {
                Err(Error::value("the counts differ"))
            };
        }
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let written = self.write_header(tokens);
        written.map_err(Error::io(&self.path))?;
        let temporary = temporary(&self.path);
        let file = self.file.as_ref().map(BufWriter::get_ref);
        // The disk writes while the processor hashes.
        let (synced, sha256) = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| file.map_or(Ok(()), File::sync_all));
            let sha256 = sha256_file(&temporary, &mut |_| !stop.load(Ordering::Relaxed));
            let synced = syncing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (synced, sha256)
        });
        synced.map_err(Error::io(&self.path))?;
        let sha256 = sha256?;
        // No shard is there without its index, and after an interrupt no index without its shard.
        let index = if indexed {
            let path = self.path.with_extension("idx");
            let starts: Vec<u8> = self.starts.iter().flat_map(|s| s.to_le_bytes()).collect();
            write_whole(&path, &starts)?;
            Some(IndexInfo {
                name: name(&path),
                sha256: hex(&Sha256::digest(&starts)),
            })
        } else {
            None
        };
        fs::rename(&temporary, &self.path).map_err(Error::io(&self.path))?;
        self.file = None;
        Ok(ShardInfo {
            name: name(&self.path),
            documents,
            tokens,
            bytes,
            sha256,
            index,
        })
    }

    fn write_header(&mut self, tokens: u64) -> std::io::Result<()> {
        let writer = self
            .file
            .as_mut()
            .expect("a shard that is not known has a file");
        writer.flush()?;
        let file = writer.get_mut();
        file.set_len(HEADER_BYTES as u64 + tokens * self.width as u64)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(self.width, tokens))
    }
}

impl Drop for OpenShard {
    /// A shard that was not completed leaves nothing.
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(temporary(&self.path));
        }
    }
}
