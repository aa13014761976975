//! The walk: two directories at a time, by several threads, each into a share of its own.

use super::marks::{Mark, Marks, UpperEntry, look_up};
use super::names::ChangedNames;
use super::node::{Key, LinkRow, NONE, NameRef, Node, Share, State};
use super::same::{Comparer, Side, open};
use crate::error::{Error, ErrorKind, Result};
use crate::tree::CopyRecord;
use crate::tree::inode::errno;
use crate::tree::names::{Name, Names};
use crate::tree::queue::{Queue, Worker};
use crate::tree::trail::Trail;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use std::cmp::Ordering;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering as Memory};
use strata_sys::dir::DirectoryReader;

const WHITEOUT_PREFIX: &[u8] = crate::changeset::entry::WHITEOUT_PREFIX;

/// What the upper tree shows of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// What is in the upper directory; the lower tree has no directory there.
    Alone,
    /// What is in the upper directory; the lower tree has a directory there.
    Whole,
    /// What is in the upper directory, laid over the lower one.
    Merged,
    /// What is in the upper directory; the lower tree has a directory there, and they can only
    /// differ in the names of this node.
    Named(u32),
}

/// A directory of both trees.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) trail: Arc<Trail>,
    pub(super) upper: OwnedFd,
    pub(super) lower: Option<OwnedFd>,
}

/// A directory to be compared.
#[derive(Debug)]
pub(super) struct Job {
    /// The number that its parent's node has for it.
    pub(super) folder: u32,
    pub(super) above: Arc<Pair>,
    /// Its name; empty for the root itself.
    pub(super) name: CString,
    pub(super) view: View,
}

/// What all threads share.
pub(super) struct Shared<'a> {
    pub(super) marks: Option<&'a dyn Marks>,
    pub(super) record: Option<&'a CopyRecord>,
    /// All names that may differ, where they are known.
    pub(super) names: Option<&'a ChangedNames>,
    /// Devices of the two roots: what else is mounted there is not in the record.
    pub(super) devices: (u64, u64),
    pub(super) folders: AtomicU32,
    /// Something lies elsewhere: the walk is in vain.
    pub(super) undecided: AtomicBool,
}

/// One thread of a comparison.
pub(super) struct Walker<'a> {
    pub(super) share: Share,
    /// Names looked at, in both trees.
    pub(super) walked: u64,
    /// Inodes of the lower tree with several names, as often as a name of theirs was looked at,
    /// and how many names they have. Kept where not every name is looked at.
    pub(super) seen: Vec<(Key, u32)>,
    /// The same of the upper tree; kept where only some of its names are looked at.
    pub(super) seen_upper: Vec<(Key, u32)>,
    pub(super) shared: &'a Shared<'a>,
    pub(super) number: u16,
    comparer: Comparer,
    reader: DirectoryReader,
    upper_names: Names,
    lower_names: Names,
    jobs: Vec<Job>,
    whiteouts: bool,
}

/// What a name of the upper directory is, its marks taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Present,
    Opaque,
    /// Nothing is there; whatever the lower tree has of this name is gone.
    Gone,
    GoneOther(CString),
    /// Nothing is there, and nothing is said of the lower tree.
    Nothing,
}

impl Worker<Job> for Walker<'_> {
    fn work(&mut self, job: Job, queue: &Queue<Job>) -> Result<()> {
        if self.shared.undecided.load(Memory::Relaxed) {
            return Ok(());
        }
        let pair = Arc::new(enter(&job)?);
        let start = self.share.nodes.len();
        self.whiteouts = false;
        match job.view {
            View::Named(node) => self.named(&pair, node)?,
            view => self.listed(&pair, view)?,
        }
        if self.whiteouts {
            let arena = &self.share.arena;
            self.share.nodes[start..]
                .sort_by(|one, other| bytes(arena, one).cmp(bytes(arena, other)));
        }
        let end = self.share.nodes.len();
        if end > start {
            let folder = (job.folder, start as u32, end as u32);
            self.share.folders.push(folder);
        }
        queue.extend(self.jobs.drain(..).rev());
        Ok(())
    }
}

fn bytes<'a>(arena: &'a [u8], node: &Node) -> &'a [u8] {
    let start = node.name.offset as usize;
    &arena[start..start + usize::from(node.name.length)]
}

/// Opens both directories of a job.
fn enter(job: &Job) -> Result<Pair> {
    let above = &job.above;
    let (name, trail) = if job.name.is_empty() {
        (c".", Arc::clone(&above.trail))
    } else {
        (&*job.name, above.trail.below(&job.name))
    };
    let open = |from: &OwnedFd| {
        open(from.as_fd(), name, OFlags::DIRECTORY)
            .map_err(|errno| trail.error("open the directory", c"", errno))
    };
    let lower = match (&above.lower, job.view) {
        (Some(lower), View::Whole | View::Merged | View::Named(_)) => Some(open(lower)?),
        _ => None,
    };
    Ok(Pair {
        upper: open(&above.upper)?,
        lower,
        trail,
    })
}

impl<'a> Walker<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, number: u16) -> Self {
        Self {
            share: Share::default(),
            walked: 0,
            seen: Vec::new(),
            seen_upper: Vec::new(),
            shared,
            number,
            comparer: Comparer::default(),
            reader: DirectoryReader::new(),
            upper_names: Names::default(),
            lower_names: Names::default(),
            jobs: Vec::new(),
            whiteouts: false,
        }
    }

    /// Lists the upper directory, and the lower one unless the upper lies over it.
    fn listed(&mut self, pair: &Arc<Pair>, view: View) -> Result<()> {
        let mut upper = std::mem::take(&mut self.upper_names);
        let mut lower = std::mem::take(&mut self.lower_names);
        self.list(&mut upper, pair.upper.as_fd(), &pair.trail)?;
        if view == View::Merged {
            for name in upper.iter() {
                self.merged(pair, &name)?;
            }
        } else {
            lower.clear();
            if let Some(directory) = &pair.lower {
                self.list(&mut lower, directory.as_fd(), &pair.trail)?;
            }
            self.side_by_side(pair, &upper, &lower)?;
        }
        self.upper_names = upper;
        self.lower_names = lower;
        Ok(())
    }

    fn list(&mut self, names: &mut Names, directory: BorrowedFd<'_>, trail: &Trail) -> Result<()> {
        names
            .read(&mut self.reader, directory)
            .map_err(|error| trail.error("read the directory", c"", errno(&error)))?;
        names.sort_by_name();
        self.walked += names.len() as u64;
        Ok(())
    }

    /// Goes through the names of two directories in order.
    fn side_by_side(&mut self, pair: &Arc<Pair>, upper: &Names, lower: &Names) -> Result<()> {
        let (mut here, mut there) = (0, 0);
        loop {
            let order = match (upper.get(here), lower.get(there)) {
                (None, None) => return Ok(()),
                (Some(name), None) => {
                    self.upper_only(pair, &name)?;
                    Ordering::Less
                }
                (None, Some(name)) => {
                    self.lower_only(pair, name.text, name.file_type)?;
                    Ordering::Greater
                }
                (Some(one), Some(other)) => {
                    let order = one.order(&other);
                    match order {
                        Ordering::Less => self.upper_only(pair, &one)?,
                        Ordering::Greater => {
                            self.lower_only(pair, other.text, other.file_type)?;
                        }
                        Ordering::Equal => self.both(pair, &one, &other)?,
                    }
                    order
                }
            };
            here += usize::from(order != Ordering::Greater);
            there += usize::from(order != Ordering::Less);
        }
    }

    fn upper_only(&mut self, pair: &Arc<Pair>, name: &Name<'_>) -> Result<()> {
        let stat = stat(&pair.upper, name.text, &pair.trail)?;
        if matches!(
            self.look(pair, name.text, &stat)?,
            Seen::Present | Seen::Opaque
        ) {
            self.added(pair, name.text, &stat)?;
        }
        Ok(())
    }

    pub(super) fn added(&mut self, pair: &Arc<Pair>, name: &CStr, stat: &Stat) -> Result<()> {
        let node = self.node(pair, name, State::Added, stat)?;
        self.share.nodes.push(node);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.go_down(pair, name, View::Alone);
        } else if stat.st_nlink > 1 {
            self.link(stat, None);
        }
        Ok(())
    }

    /// `name` is not in the upper tree; `file_type` is the lower one's, if known.
    fn lower_only(&mut self, pair: &Pair, name: &CStr, file_type: FileType) -> Result<()> {
        // Where names are counted, those that are gone count too.
        let asks = file_type == FileType::Unknown
            || (self.shared.names.is_some() && file_type != FileType::Directory);
        let file_type = match &pair.lower {
            Some(lower) if asks => {
                let stat = stat(lower, name, &pair.trail)?;
                if self.shared.names.is_some() {
                    self.saw(&stat);
                }
                FileType::from_raw_mode(stat.st_mode)
            }
            _ => file_type,
        };
        self.gone(pair, name, file_type)
    }

    /// The lower tree's `name`, which is a `file_type`, does not show.
    pub(super) fn gone(&mut self, pair: &Pair, name: &CStr, file_type: FileType) -> Result<()> {
        if file_type == FileType::Directory {
            self.saw_links_below(pair, name)?;
        }
        if file_type == FileType::Socket {
            return Ok(());
        }
        refuse_reserved(name, &pair.trail)?;
        let offset = self.share.arena.len();
        self.share.arena.extend_from_slice(WHITEOUT_PREFIX);
        self.share.arena.extend_from_slice(name.to_bytes());
        let node = Node::deleted(self.name_from(offset));
        self.share.nodes.push(node);
        self.whiteouts = true;
        Ok(())
    }

    /// A name that both directories have.
    fn both(&mut self, pair: &Arc<Pair>, upper: &Name<'_>, lower: &Name<'_>) -> Result<()> {
        let name = upper.text;
        let stat_upper = stat(&pair.upper, name, &pair.trail)?;
        match self.look(pair, name, &stat_upper)? {
            Seen::Present | Seen::Opaque => {}
            _ => return self.lower_only(pair, name, lower.file_type),
        }
        if let Some(record) = self.shared.record
            && stat_upper.st_dev == self.shared.devices.0
            && record.vouches(&stat_upper, lower.inode)
        {
            let source = (self.shared.devices.1, lower.inode);
            return self.unchanged(pair, name, (&stat_upper, source));
        }
        let Some(directory) = &pair.lower else {
            return self.added(pair, name, &stat_upper);
        };
        let stat_lower = stat(directory, name, &pair.trail)?;
        self.compare(pair, name, (&stat_upper, &stat_lower), View::Whole)
    }

    /// The record vouches for `name`.
    fn unchanged(
        &mut self,
        pair: &Arc<Pair>,
        name: &CStr,
        (stat, source): (&Stat, Key),
    ) -> Result<()> {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let node = self.node(pair, name, State::Same, stat)?;
            self.share.nodes.push(node);
            self.go_down(pair, name, View::Whole);
        } else if stat.st_nlink > 1 {
            let node = self.node(pair, name, State::Same, stat)?;
            self.share.nodes.push(node);
            self.link(stat, Some(source));
        } else {
            refuse_reserved(name, &pair.trail)?;
        }
        Ok(())
    }

    /// A name of an upper directory that lies over the lower one.
    fn merged(&mut self, pair: &Arc<Pair>, name: &Name<'_>) -> Result<()> {
        let stat_upper = stat(&pair.upper, name.text, &pair.trail)?;
        let view = match self.look(pair, name.text, &stat_upper)? {
            Seen::Nothing => return Ok(()),
            Seen::Gone => return self.whiteout(pair, name.text),
            Seen::GoneOther(other) => return self.whiteout(pair, &other),
            Seen::Present => View::Merged,
            Seen::Opaque => View::Whole,
        };
        match self.look_below(pair, name.text)? {
            None => self.added(pair, name.text, &stat_upper),
            Some(stat_lower) => self.compare(pair, name.text, (&stat_upper, &stat_lower), view),
        }
    }

    /// The union hides `name`: a change if the lower tree has it.
    fn whiteout(&mut self, pair: &Pair, name: &CStr) -> Result<()> {
        match self.look_below(pair, name)? {
            None => Ok(()),
            Some(stat) => {
                self.saw(&stat);
                self.gone(pair, name, FileType::from_raw_mode(stat.st_mode))
            }
        }
    }

    pub(super) fn look_below(&mut self, pair: &Pair, name: &CStr) -> Result<Option<Stat>> {
        self.walked += 1;
        let Some(lower) = &pair.lower else {
            return Ok(None);
        };
        look_up(lower.as_fd(), name).map_err(|(step, errno)| pair.trail.error(step, name, errno))
    }

    /// Compares what both trees have of one name. `view` is that of a directory over a directory.
    pub(super) fn compare(
        &mut self,
        pair: &Arc<Pair>,
        name: &CStr,
        (upper, lower): (&Stat, &Stat),
        view: View,
    ) -> Result<()> {
        let (kind, kind_lower) = (
            FileType::from_raw_mode(upper.st_mode),
            FileType::from_raw_mode(lower.st_mode),
        );
        let Some(directory) = &pair.lower else {
            return self.added(pair, name, upper);
        };
        if kind_lower == FileType::Socket {
            return self.added(pair, name, upper);
        }
        let same = self.comparer.same(
            &Side {
                directory: pair.upper.as_fd(),
                name,
                stat: upper,
            },
            &Side {
                directory: directory.as_fd(),
                name,
                stat: lower,
            },
        );
        let same = same.map_err(|(step, errno)| pair.trail.error(step, name, errno))?;
        let state = if same { State::Same } else { State::Modified };
        let folder_below = kind_lower == FileType::Directory;
        if kind == FileType::Directory {
            let node = self.node(pair, name, state, upper)?;
            self.share.nodes.push(node);
            let view = if folder_below { view } else { View::Alone };
            self.go_down(pair, name, view);
            if !folder_below {
                self.saw(lower);
            }
            return Ok(());
        }
        if folder_below {
            self.saw_links_below(pair, name)?;
        }
        self.saw(lower);
        let linked = upper.st_nlink > 1 || (!folder_below && lower.st_nlink > 1);
        if state == State::Same && !linked {
            return refuse_reserved(name, &pair.trail);
        }
        let node = self.node(pair, name, state, upper)?;
        self.share.nodes.push(node);
        if linked {
            self.link(
                upper,
                (!folder_below).then_some((lower.st_dev, lower.st_ino)),
            );
        }
        Ok(())
    }

    /// Takes the marks away from a name of the upper directory. Sockets do not exist.
    fn look(&mut self, pair: &Pair, name: &CStr, stat: &Stat) -> Result<Seen> {
        let mut seen = Seen::Present;
        if let Some(marks) = self.shared.marks {
            let entry = UpperEntry {
                directory: pair.upper.as_fd(),
                name,
                stat,
            };
            seen = match marks
                .classify(&entry)
                .map_err(|error| pair.trail.refusal(error, name))?
            {
                Mark::Plain => Seen::Present,
                Mark::OpaqueDirectory => Seen::Opaque,
                Mark::Whiteout => Seen::Gone,
                Mark::WhiteoutOf(other) => Seen::GoneOther(other),
                Mark::Hidden => Seen::Nothing,
                Mark::Elsewhere => {
                    self.shared.undecided.store(true, Memory::Relaxed);
                    Seen::Nothing
                }
            };
        }
        let socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
        Ok(match seen {
            Seen::Present | Seen::Opaque if socket => Seen::Gone,
            other => other,
        })
    }

    /// Remembers that a name of the lower tree was looked at.
    pub(super) fn saw(&mut self, lower: &Stat) {
        let counts = self.shared.marks.is_some() || self.shared.names.is_some();
        let directory = FileType::from_raw_mode(lower.st_mode) == FileType::Directory;
        if counts && lower.st_nlink > 1 && !directory {
            let inode = (lower.st_dev, lower.st_ino);
            self.seen.push((inode, lower.st_nlink as u32));
        }
    }

    fn node(&mut self, pair: &Pair, name: &CStr, state: State, stat: &Stat) -> Result<Node> {
        refuse_reserved(name, &pair.trail)?;
        let offset = self.share.arena.len();
        self.share.arena.extend_from_slice(name.to_bytes());
        Ok(Node::new(self.name_from(offset), state, stat))
    }

    /// The name that was just added to the arena.
    fn name_from(&self, offset: usize) -> NameRef {
        NameRef {
            offset: offset as u32,
            length: (self.share.arena.len() - offset) as u16,
            worker: self.number,
        }
    }

    /// Goes on below the directory that was just added.
    fn go_down(&mut self, pair: &Arc<Pair>, name: &CStr, view: View) {
        if let (View::Named(node), Some(names)) = (view, self.shared.names)
            && names.ends_at(node)
        {
            return;
        }
        let folder = self.shared.folders.fetch_add(1, Memory::Relaxed);
        if let Some(node) = self.share.nodes.last_mut() {
            node.below = folder;
        }
        self.jobs.push(Job {
            folder,
            above: Arc::clone(pair),
            name: name.to_owned(),
            view,
        });
    }

    /// Notes the inodes of the name that was just added.
    fn link(&mut self, upper: &Stat, lower: Option<Key>) {
        self.saw_upper(upper);
        if let Some(node) = self.share.nodes.last_mut() {
            node.link = self.share.links.len() as u32;
            self.share.links.push(LinkRow {
                node: NONE,
                upper: (upper.st_dev, upper.st_ino),
                lower,
            });
        }
    }
}

fn stat(directory: &OwnedFd, name: &CStr, trail: &Trail) -> Result<Stat> {
    match look_up(directory.as_fd(), name) {
        Ok(Some(stat)) => Ok(stat),
        Ok(None) => Err(trail.error("read the attributes", name, Errno::NOENT)),
        Err((step, errno)) => Err(trail.error(step, name, errno)),
    }
}

/// Names that begin with `.wh.` mean something else in a changeset.
fn refuse_reserved(name: &CStr, trail: &Trail) -> Result<()> {
    if !name.to_bytes().starts_with(WHITEOUT_PREFIX) {
        return Ok(());
    }
    let refused = Error::new(ErrorKind::InvalidInput, "diff")
        .because("a changeset cannot carry names that begin with `.wh.`");
    Err(trail.refusal(refused, name))
}
