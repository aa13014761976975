//! Reading a btrfs send stream: from bytes to what is done to which path. No I/O.
//!
//! A stream begins with a magic word and a version. Then come commands: a length, a number and a
//! checksum, and attributes, each a type, a length and a value, all in little endian
//! (btrfs documentation, "Send stream format"). Of the attributes only paths are of interest here.
//!
//! The checksums are not verified: the stream comes out of this kernel through a pipe a moment
//! ago, and nothing lies between that could damage it. A command that is not known ends the
//! reading, since it might do anything to a name.

/// What a stream begins with; the version follows.
const MAGIC: &[u8] = b"btrfs-stream\0";
const HEADER: usize = MAGIC.len() + 4;
const VERSION: u32 = 1;
/// Length, number and checksum of a command.
const COMMAND_HEADER: usize = 4 + 2 + 4;
/// The kernel's buffer for one command of version 1, header included.
const COMMAND_MOST: usize = 64 * 1024;
/// `PATH_MAX`, with its NUL.
const PATH_MOST: usize = 4096;
const NAME_MOST: usize = 255;

const PATH: u16 = 15;
const PATH_TO: u16 = 16;
const PATH_LINK: u16 = 17;
/// The last attribute of version 1.
const LAST_ATTRIBUTE: u16 = 24;

/// What a command does to names. Paths are relative to the root, which is the empty path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Something new is at `path`.
    Made { path: &'a [u8], directory: bool },
    /// What was at `from` is at `to`, and all below it.
    Moved { from: &'a [u8], to: &'a [u8] },
    /// `path` is one more name of what is at `target`.
    Linked { path: &'a [u8], target: &'a [u8] },
    /// Nothing is at `path`.
    Removed { path: &'a [u8] },
    /// Attributes or content of what is at `path` may have changed.
    Touched { path: &'a [u8] },
}

/// Why a stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it does not begin as a send stream")]
    Magic,
    #[error("it has version {0}, and only version 1 was asked for")]
    Version(u32),
    #[error("a command of {0} bytes is longer than any of version 1")]
    TooLong(usize),
    #[error("command {0} is not known")]
    UnknownCommand(u16),
    #[error("the attributes of command {0} are not what it has in version 1")]
    Attributes(u16),
    #[error("command {0} has a path that is none")]
    Path(u16),
    #[error("something follows its end")]
    AfterEnd,
    #[error("it ends before its end")]
    CutShort,
    #[error("a directory is moved into itself")]
    IntoItself,
    #[error("it is about more names than are kept")]
    TooMany,
}

/// Reads a stream that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// What came and is not read yet: less than a command.
    pending: Vec<u8>,
    begun: bool,
    ended: bool,
}

impl Parser {
    /// Reads the next piece, of any length, and calls `each` for the commands that it completes.
    pub(crate) fn feed(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(Command<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.pending.extend_from_slice(piece);
        let mut rest = &*self.pending;
        if !self.begun {
            let Some((header, after)) = rest.split_at_checked(HEADER) else {
                let known = rest.len().min(MAGIC.len());
                return if rest[..known] == MAGIC[..known] {
                    Ok(())
                } else {
                    Err(Malformed::Magic)
                };
            };
            if &header[..MAGIC.len()] != MAGIC {
                return Err(Malformed::Magic);
            }
            match number(&header[MAGIC.len()..]) {
                VERSION => {}
                other => return Err(Malformed::Version(other)),
            }
            self.begun = true;
            rest = after;
        }
        while let Some(header) = rest.get(..COMMAND_HEADER) {
            if self.ended {
                break;
            }
            let length = number(&header[..4]) as usize;
            if length > COMMAND_MOST - COMMAND_HEADER {
                return Err(Malformed::TooLong(length));
            }
            let Some(attributes) = rest.get(COMMAND_HEADER..COMMAND_HEADER + length) else {
                break;
            };
            match understand(short(&header[4..6]), attributes)? {
                Understood::Names(command) => each(command)?,
                Understood::Nothing => {}
                Understood::End => self.ended = true,
            }
            rest = &rest[COMMAND_HEADER + length..];
        }
        if self.ended && !rest.is_empty() {
            return Err(Malformed::AfterEnd);
        }
        let read = self.pending.len() - rest.len();
        self.pending.drain(..read);
        Ok(())
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.ended {
            Ok(())
        } else {
            Err(Malformed::CutShort)
        }
    }
}

enum Understood<'a> {
    Names(Command<'a>),
    /// It is about no name of the tree.
    Nothing,
    End,
}

fn understand(command: u16, attributes: &[u8]) -> Result<Understood<'_>, Malformed> {
    let paths = Paths::read(command, attributes)?;
    Ok(Understood::Names(match command {
        // The stream's own subject: the name of the subvolume, or of the snapshot.
        1 | 2 => return Ok(Understood::Nothing),
        21 => return Ok(Understood::End),
        3..=8 => Command::Made {
            path: paths.name()?,
            directory: command == 4,
        },
        9 => Command::Moved {
            from: paths.name()?,
            to: paths.other(paths.to)?,
        },
        10 => Command::Linked {
            path: paths.name()?,
            target: paths.other(paths.link)?,
        },
        11 | 12 => Command::Removed {
            path: paths.name()?,
        },
        // Attributes, content, extents; the root has them too.
        13..=20 | 22 => Command::Touched {
            path: paths.checked(paths.path)?,
        },
        _ => return Err(Malformed::UnknownCommand(command)),
    }))
}

/// The paths of one command.
struct Paths<'a> {
    command: u16,
    path: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
    link: Option<&'a [u8]>,
}

impl<'a> Paths<'a> {
    fn read(command: u16, mut attributes: &'a [u8]) -> Result<Self, Malformed> {
        let mut paths = Self {
            command,
            path: None,
            to: None,
            link: None,
        };
        let wrong = Malformed::Attributes(command);
        while !attributes.is_empty() {
            let (header, rest) = attributes.split_at_checked(4).ok_or(wrong)?;
            let (kind, length) = (short(&header[..2]), short(&header[2..]));
            let (value, rest) = rest.split_at_checked(usize::from(length)).ok_or(wrong)?;
            attributes = rest;
            let place = match kind {
                PATH => &mut paths.path,
                PATH_TO => &mut paths.to,
                PATH_LINK => &mut paths.link,
                0 => return Err(wrong),
                other if other > LAST_ATTRIBUTE => return Err(wrong),
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(wrong);
            }
        }
        Ok(paths)
    }

    /// The path, which is not the root.
    fn name(&self) -> Result<&'a [u8], Malformed> {
        self.other(self.path)
    }

    fn other(&self, path: Option<&'a [u8]>) -> Result<&'a [u8], Malformed> {
        match self.checked(path)? {
            b"" => Err(Malformed::Path(self.command)),
            path => Ok(path),
        }
    }

    /// Only what is used is checked: a symbolic link has its target where a hard link has a path,
    /// and the stream's subject may be called what it likes.
    fn checked(&self, path: Option<&'a [u8]>) -> Result<&'a [u8], Malformed> {
        let path = path.ok_or(Malformed::Attributes(self.command))?;
        if is_path(path) {
            Ok(path)
        } else {
            Err(Malformed::Path(self.command))
        }
    }
}

/// Whether `path` leads from the root to a name, or is the root.
fn is_path(path: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        !matches!(name, b"" | b"." | b"..") && name.len() <= NAME_MOST && !name.contains(&0)
    };
    path.is_empty() || (path.len() < PATH_MOST && path.split(|byte| *byte == b'/').all(is_name))
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn short(bytes: &[u8]) -> u16 {
    number(bytes) as u16
}

#[cfg(test)]
mod tests;
