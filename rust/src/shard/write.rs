//! Writing shards: each is complete when it has its name, and the manifest comes last.
//!
//! A shard grows under a temporary name; when it is full it is synced, renamed and entered into the journal.
//! A run that resumes goes through all documents again and only counts those of shards that the journal knows, so its
//! result is that of an unbroken run by construction; counts that differ say that the inputs have changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::open::OpenShard;
use super::{HEADER_BYTES, JOURNAL, MANIFEST, Manifest, Split, write_whole};
use crate::error::{Error, Result};

/// Between two writings of the journal: with many small shards it would cost more than they do. Shards that a killed
/// run completed since are written again.
const JOURNAL_INTERVAL: Duration = Duration::from_millis(200);

/// Ids of a document, or of a part of one.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Its ids, BOS first where the shards have one.
    pub ids: &'a [u32],
    /// Bytes of its text.
    pub bytes: u64,
    /// Whether the document begins here.
    pub begins: bool,
}

/// What to do in a folder.
pub enum Start {
    /// Write.
    Writer(Box<ShardWriter>),
    /// Nothing: all is there.
    Complete(Manifest),
}

/// Writes the splits of a folder.
pub struct ShardWriter {
    folder: PathBuf,
    plan: Manifest,
    width: usize,
    shard_tokens: u64,
    /// In the order of the split numbers.
    splits: Vec<SplitWriter>,
    /// Given up: nothing is taken any more.
    abandoned: bool,
    /// When the journal was last written.
    journaled: Instant,
}

impl ShardWriter {
    /// Begins to write into `folder`, or with `resume` goes on with what is there.
    ///
    /// `plan` is a manifest without shards, but with the names of the splits; `names` orders them.
    ///
    /// # Errors
    /// `Error::Value` for a folder that holds other things, or shards of another plan; `Error::Io`.
    pub fn start(
        folder: &Path,
        plan: Manifest,
        names: &[&str],
        shard_tokens: u64,
        resume: bool,
    ) -> Result<Start> {
        let mut known = None;
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            let found = [MANIFEST, JOURNAL]
                .map(|name| folder.join(name))
                .into_iter()
                .find(|p| p.exists());
            let shown = folder.display();
            match found {
                None if resume => {
                    return Err(Error::value(format!(
                        "{shown}: holds no shards to go on with"
                    )));
                }
                Some(path) if resume => {
                    let before = Manifest::read(&path)?;
                    same_plan(&before, &plan, folder)?;
                    if path.ends_with(MANIFEST) {
                        let _ = fs::remove_file(folder.join(JOURNAL));
                        return Ok(Start::Complete(before));
                    }
                    remove_temporary(folder)?;
                    known = Some(before);
                }
                Some(_) => {
                    return Err(Error::value(format!(
                        "{shown}: the folder is not empty\n\
                         hint: `--resume` goes on with the shards that it holds"
                    )));
                }
                None => return Err(Error::value(format!("{shown}: the folder is not empty"))),
            }
        }
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let width = plan.width()?;
        let mut splits = Vec::new();
        for name in names {
            let before = known
                .as_ref()
                .and_then(|k| k.splits.get(*name))
                .cloned()
                .unwrap_or_default();
            for info in &before.shards {
                let path = folder.join(&info.name);
                let size = fs::metadata(&path).map_err(Error::io(&path))?.len();
                let want = HEADER_BYTES as u64 + info.tokens * width as u64;
                if size != want {
                    return Err(Error::format(format!(
                        "{}: {size} bytes on disk, {want} expected; delete the folder and begin again",
                        path.display()
                    )));
                }
            }
            splits.push(SplitWriter {
                name: (*name).to_string(),
                before,
                done: Split::default(),
                open: None,
            });
        }
        let writer = Self {
            folder: folder.to_path_buf(),
            plan,
            width,
            shard_tokens,
            splits,
            abandoned: false,
            journaled: Instant::now(),
        };
        if known.is_none() {
            writer.write_record(JOURNAL)?;
        }
        Ok(Start::Writer(Box::new(writer)))
    }

    /// Appends a part of a document to split number `split`.
    ///
    /// `token_bytes` gives the length of an id's text.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Value` if a resumed run meets other documents; `Error::Interrupted`.
    pub fn part(
        &mut self,
        split: usize,
        part: Part<'_>,
        token_bytes: &dyn Fn(u32) -> u64,
    ) -> Result<()> {
        let Part {
            mut ids,
            mut bytes,
            begins,
        } = part;
        if self.abandoned {
            return Err(Error::Interrupted);
        }
        if begins {
            let writer = &mut self.splits[split];
            // A shard that is known to be complete says itself whether one more document begins in it.
            let known = writer
                .open
                .as_ref()
                .and_then(|open| Some((open, open.known.as_ref()?)));
            if known.is_some_and(|(open, known)| open.count.documents >= known.documents) {
                self.close(split)?;
            }
            self.opened(split)?.begin();
        }
        loop {
            let limit = self.shard_tokens;
            let open = self.opened(split)?;
            let room = (open.known.as_ref().map_or(limit, |known| known.tokens) - open.count.tokens)
                as usize;
            if ids.len() <= room {
                return open.append(ids, bytes);
            }
            if open.known.is_none() && open.has_before() {
                // The document began behind others: it moves, whole so far, to a shard of its own.
                self.move_document(split)?;
                continue;
            }
            let (here, rest) = ids.split_at(room);
            let here_bytes = here
                .iter()
                .map(|&id| token_bytes(id))
                .sum::<u64>()
                .min(bytes);
            open.append(here, here_bytes)?;
            self.close(split)?;
            (ids, bytes) = (rest, bytes - here_bytes);
        }
    }

    /// Completes the last shards and writes the manifest.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Value` if there was nothing to write, or a resumed run met other documents.
    pub fn finish(&mut self) -> Result<Manifest> {
        if self.counts()[1] == 0 {
            return Err(Error::value(
                "there is nothing to write: the inputs hold no text",
            ));
        }
        for split in 0..self.splits.len() {
            if self.splits[split].open.is_some() {
                self.close(split)?;
            }
            let writer = &self.splits[split];
            if writer.done.shards.len() < writer.before.shards.len() {
                return Err(changed(&self.folder));
            }
        }
        let manifest = self.write_record(MANIFEST)?;
        let journal = self.folder.join(JOURNAL);
        fs::remove_file(&journal).map_err(Error::io(&journal))?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::io(&self.folder))?;
        Ok(manifest)
    }

    /// Removes what is not complete; gives whether shards are left to go on with.
    pub fn abandon(&mut self) -> bool {
        self.abandoned = true;
        let mut left = false;
        for split in &mut self.splits {
            split.open = None;
            left |= !split.before.shards.is_empty() || !split.done.shards.is_empty();
        }
        // A journal that cannot be written (a full disk) costs a resumed run some shards, no more.
        let _ = if left {
            self.write_record(JOURNAL).map(drop)
        } else {
            fs::remove_file(self.folder.join(JOURNAL)).map_err(Error::io(&self.folder))
        };
        left
    }

    /// Documents, tokens and bytes of text so far.
    pub fn counts(&self) -> [u64; 3] {
        let mut sums = [0; 3];
        for split in &self.splits {
            let open = split.open.as_ref().map_or([0; 3], |open| {
                [open.count.documents, open.count.tokens, open.count.bytes]
            });
            let done = [split.done.documents, split.done.tokens, split.done.bytes];
            for (sum, (a, b)) in sums.iter_mut().zip(open.into_iter().zip(done)) {
                *sum += a + b;
            }
        }
        sums
    }

    fn write_record(&self, name: &str) -> Result<Manifest> {
        let mut manifest = self.plan.clone();
        for split in &self.splits {
            let held = if split.done.shards.len() < split.before.shards.len() {
                &split.before
            } else {
                &split.done
            };
            manifest.splits.insert(split.name.clone(), held.clone());
        }
        let splits = manifest.splits.values();
        manifest.documents = splits.clone().map(|s| s.documents).sum();
        manifest.tokens = splits.clone().map(|s| s.tokens).sum();
        manifest.bytes = splits.map(|s| s.bytes).sum();
        let mut text =
            serde_json::to_string_pretty(&manifest).expect("a manifest has string keys only");
        text.push('\n');
        write_whole(&self.folder.join(name), text.as_bytes())?;
        Ok(manifest)
    }

    /// The open shard of a split, begun if there is none.
    fn opened(&mut self, split: usize) -> Result<&mut OpenShard> {
        if self.splits[split].open.is_none() {
            let number = self.splits[split].done.shards.len();
            self.splits[split].open = Some(self.create(split, number)?);
        }
        Ok(self.splits[split]
            .open
            .as_mut()
            .expect("it was just opened"))
    }

    fn create(&self, split: usize, number: usize) -> Result<OpenShard> {
        let writer = &self.splits[split];
        let path = self.folder.join(format!("{}_{number:06}.bin", writer.name));
        OpenShard::create(path, self.width, writer.before.shards.get(number).cloned())
    }

    /// Completes the open shard.
    fn close(&mut self, split: usize) -> Result<()> {
        let open = self.splits[split]
            .open
            .take()
            .expect("only an open shard is closed");
        let info = open
            .complete(self.plan.bos_id.is_none())
            .map_err(|error| match error {
                Error::Value(_) => changed(&self.folder),
                other => other,
            })?;
        let writer = &mut self.splits[split];
        writer.done.push(info);
        let fresh = writer.done.shards.len() > writer.before.shards.len();
        if fresh && self.journaled.elapsed() >= JOURNAL_INTERVAL {
            self.write_record(JOURNAL)?;
            self.journaled = Instant::now();
        }
        Ok(())
    }

    /// Completes the open shard without the document that is being written, which moves to the start of the next.
    fn move_document(&mut self, split: usize) -> Result<()> {
        let mut fresh = self.create(split, self.splits[split].done.shards.len() + 1)?;
        let open = self.splits[split]
            .open
            .as_mut()
            .expect("a document is being written");
        open.move_document(&mut fresh)?;
        self.close(split)?;
        self.splits[split].open = Some(fresh);
        Ok(())
    }
}

/// Removes what a killed run left unfinished.
fn remove_temporary(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") && path.is_file() {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn changed(folder: &Path) -> Error {
    Error::value(format!(
        "{}: the inputs are not those that the shards there were made from",
        folder.display()
    ))
}

/// Refuses to go on with shards that were asked for in another way.
fn same_plan(before: &Manifest, now: &Manifest, folder: &Path) -> Result<()> {
    let shown = |what: &str, a: &dyn std::fmt::Display, b: &dyn std::fmt::Display| {
        Err(Error::value(format!(
            "{}: its shards have {what} {a}, this run {b}",
            folder.display()
        )))
    };
    if before.tokenizer_hash != now.tokenizer_hash {
        let [a, b] = [before, now].map(|m| m.tokenizer_hash.chars().take(12).collect::<String>());
        return shown("the tokenizer", &a, &b);
    }
    if before.dtype != now.dtype {
        return shown("the dtype", &before.dtype, &now.dtype);
    }
    for (name, ids) in [
        ("the BOS id", [before.bos_id, now.bos_id]),
        ("the EOS id", [before.eos_id, now.eos_id]),
    ] {
        if ids[0] != ids[1] {
            let [a, b] = ids.map(|id| id.map_or("none".to_string(), |id| id.to_string()));
            return shown(name, &a, &b);
        }
    }
    for option in now
        .options
        .as_object()
        .into_iter()
        .flat_map(|options| options.keys())
    {
        let [a, b] = [before, now].map(|manifest| &manifest.options[option]);
        if a != b {
            return shown(option, a, b);
        }
    }
    if before.sources == now.sources {
        Ok(())
    } else {
        Err(changed(folder))
    }
}

struct SplitWriter {
    name: String,
    /// Shards of the run that is resumed.
    before: Split,
    /// Shards gone through by this run.
    done: Split,
    open: Option<OpenShard>,
}
