//! What can go wrong, said once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything the crate can refuse. User data never panics: it ends here.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A value outside what is allowed: what, got, allowed in one line.
    Value(String),
    /// A file or byte stream that does not hold what its format asks for.
    Format(String),
    /// The operating system's refusal, with the path it was about.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A token that the vocabulary does not have.
    UnknownToken(String),
    /// The caller asked to stop.
    Interrupted,
}

impl Error {
    /// An [`Error::Value`] from anything printable.
    pub fn value(message: impl Into<String>) -> Self {
        Self::Value(message.into())
    }

    /// An [`Error::Format`] from anything printable.
    pub fn format(message: impl Into<String>) -> Self {
        Self::Format(message.into())
    }

    /// Wraps the system's error with the path it was about.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// What went wrong when a file was read: the system's refusal, or what a decoder says of its content.
    pub fn reading(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| match source.raw_os_error() {
            Some(_) => Self::Io { path, source },
            None => Self::Format(format!("{}: {source}", path.display())),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(m) | Self::Format(m) | Self::UnknownToken(m) => f.write_str(m),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
