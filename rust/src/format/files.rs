//! Reading with a bound, writing whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Largest file that a reader takes; tokenizer.json of 200,000 tokens has 20 MB.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// A file's content.
///
/// # Errors
/// `Error::Io`, or `Error::Format` if it is larger than any tokenizer.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_or(0, |m| m.len()).min(MAX_FILE_BYTES);
    content.reserve(size as usize + 1);
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(Error::io(path))?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::format(format!(
            "{}: larger than {MAX_FILE_BYTES} bytes, no tokenizer has that size",
            path.display()
        )));
    }
    Ok(content)
}

/// Writes a file under a temporary name beside it, syncs and renames.
///
/// # Errors
/// `Error::Io`; what was there is then untouched.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let partial = beside(path)?;
    let written = write_synced(&partial, content)
        .and_then(|()| fs::rename(&partial, path).map_err(Error::io(path)));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    sync_folder(path.parent().unwrap_or(Path::new(".")));
    Ok(())
}

/// Writes a folder of files, in place of an older one of the same kind only when all are on disk.
///
/// # Errors
/// `Error::Io`, or `Error::Value` if the folder holds files other than the named; what was there is then untouched.
pub fn write_folder(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    // A link is followed, so that its target is replaced and not the link.
    let folder = &fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    let exists = match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(Error::io(folder))?.file_name();
                if !files.iter().any(|(ours, _)| name == *ours) {
                    return Err(Error::value(format!(
                        "{} holds {}, which is no part of a tokenizer\nhint: choose a folder of its own",
                        folder.display(),
                        name.to_string_lossy()
                    )));
                }
            }
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io(folder)(error)),
    };
    if let Some(parent) = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    let partial = beside(folder)?;
    // What a killed process left.
    let _ = fs::remove_dir_all(&partial);
    let written = (|| {
        fs::create_dir(&partial).map_err(Error::io(&partial))?;
        for (name, content) in files {
            write_synced(&partial.join(name), content)?;
        }
        sync_folder(&partial);
        if exists {
            exchange(&partial, folder)
        } else {
            fs::rename(&partial, folder)
        }
        .map_err(Error::io(folder))
    })();
    // After an exchange this is the older folder.
    let _ = fs::remove_dir_all(&partial);
    written?;
    // A process that was killed between two renames left the older folder here.
    let _ = fs::remove_dir_all(aside(&partial));
    sync_folder(folder.parent().unwrap_or(Path::new(".")));
    Ok(())
}

fn beside(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::value(format!(
            "{} is no name for a file or folder",
            path.display()
        )));
    };
    Ok(path.with_file_name(format!(".{}.partial", name.to_string_lossy())))
}

fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(Error::io(path))
}

/// Makes a rename last; file systems that cannot are left to their own ways.
fn sync_folder(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Swaps two folders in one step, so that a kill at any moment leaves the one or the other.
#[cfg(target_os = "linux")]
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    let new_c = CString::new(new.as_os_str().as_bytes())?;
    let old_c = CString::new(old.as_os_str().as_bytes())?;
    // SAFETY: both are strings that end in a zero byte and outlive the call, which only reads them.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            new_c.as_ptr(),
            libc::AT_FDCWD,
            old_c.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Some file systems know no exchange.
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP) => replace(new, old),
        _ => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    replace(new, old)
}

/// Where the older folder of a replacement waits.
fn aside(new: &Path) -> PathBuf {
    let mut name = new.as_os_str().to_owned();
    name.push("-old");
    name.into()
}

/// The older folder steps aside, comes back if the new one cannot take its place, and is removed.
fn replace(new: &Path, old: &Path) -> io::Result<()> {
    let aside = aside(new);
    let _ = fs::remove_dir_all(&aside);
    fs::rename(old, &aside)?;
    if let Err(error) = fs::rename(new, old) {
        fs::rename(&aside, old)?;
        return Err(error);
    }
    let _ = fs::remove_dir_all(&aside);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn replaces_without_an_exchange_of_folders() {
        let made = tempfile::tempdir().unwrap();
        let (new, old) = (made.path().join(".tok.partial"), made.path().join("tok"));
        for (folder, content) in [(&new, "new"), (&old, "old")] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("a"), content).unwrap();
        }
        replace(&new, &old).unwrap();
        assert_eq!(fs::read(old.join("a")).unwrap(), b"new");
        assert_eq!(names(made.path()), ["tok"]);
    }

    #[test]
    fn what_killed_processes_left_goes_with_the_next_success() {
        let made = tempfile::tempdir().unwrap();
        for left in [".tok.partial", ".tok.partial-old"] {
            fs::create_dir(made.path().join(left)).unwrap();
            fs::write(made.path().join(left).join("a"), "left").unwrap();
        }
        let folder = made.path().join("tok");
        for content in ["one", "two"] {
            write_folder(&folder, &[("a", content.into())]).unwrap();
            assert_eq!(fs::read(folder.join("a")).unwrap(), content.as_bytes());
            assert_eq!(names(made.path()), ["tok"]);
        }
    }
}
