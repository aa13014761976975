//! Replaying what a send stream does to names, to learn which of them changed.
//!
//! The replay keeps objects (what a path stands for at the moment) and places (a name in a
//! directory object). Nothing is known of the older tree beforehand: an object is made up when the
//! stream first speaks of its path, which is right as long as every move before was replayed.
//! Objects move with all that hangs on them, so each place has its final path at the end.
//!
//! A place is *whole* if a directory came to it, or left it: what lies below has changed without
//! being spoken of, in the older tree and in the newer one. Temporary names of the stream
//! (`oINODE-GENERATION-N`) are places that were empty before and are empty afterwards: these are
//! left out.

use super::stream::{Command, Malformed};
use std::collections::{BTreeMap, HashMap};
use strata_driver::Result;
use strata_driver::diff::ChangedNames;

/// Objects and places kept, about half a gigabyte of them.
const MOST: usize = 1 << 22;

/// The tree of names as far as a stream spoke of it.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The root first. Those that are gone stay, and nothing leads to them.
    objects: Vec<Object>,
    places: usize,
}

#[derive(Debug, Default)]
struct Object {
    /// The directory that holds it; none for the root and for what is gone.
    parent: Option<u32>,
    below: HashMap<Box<[u8]>, u32>,
    /// The names in it that the stream spoke of.
    places: BTreeMap<Box<[u8]>, Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    whole: bool,
    /// Whether something was there before the stream, as the first word of it shows.
    before: bool,
    /// Whether something is there after it.
    after: bool,
}

/// What a command does to one place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Comes,
    Goes,
    Stays,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            objects: vec![Object::default()],
            places: 0,
        }
    }
}

impl Replay {
    /// Does one command.
    pub(crate) fn apply(&mut self, command: Command<'_>) -> Result<(), Malformed> {
        match command {
            Command::Made { path, directory } => {
                let (parent, name) = self.place(path)?;
                self.detach(parent, name);
                self.note(parent, name, Event::Comes, directory)
            }
            Command::Moved { from, to } => self.moved(from, to),
            Command::Linked { path, target } => {
                let (parent, name) = self.place(path)?;
                self.detach(parent, name);
                self.note(parent, name, Event::Comes, false)?;
                self.touched(target)
            }
            Command::Removed { path } => {
                let (parent, name) = self.place(path)?;
                self.detach(parent, name);
                self.note(parent, name, Event::Goes, false)
            }
            Command::Touched { path } => self.touched(path),
        }
    }

    fn touched(&mut self, path: &[u8]) -> Result<(), Malformed> {
        if path.is_empty() {
            return Ok(()); // a comparison always looks at the root
        }
        let (parent, name) = self.place(path)?;
        self.note(parent, name, Event::Stays, false)
    }

    fn moved(&mut self, from: &[u8], to: &[u8]) -> Result<(), Malformed> {
        let (old_parent, old_name) = self.place(from)?;
        let (parent, name) = self.place(to)?;
        let object = self.child(old_parent, old_name)?;
        let mut above = Some(parent);
        while let Some(here) = above {
            if here == object {
                return Err(Malformed::IntoItself);
            }
            above = self.objects[here as usize].parent;
        }
        self.detach(old_parent, old_name);
        self.detach(parent, name);
        self.objects[object as usize].parent = Some(parent);
        self.objects[parent as usize]
            .below
            .insert(name.into(), object);
        self.note(old_parent, old_name, Event::Goes, true)?;
        self.note(parent, name, Event::Comes, true)
    }

    /// The directory of `path` and the last name of it.
    fn place<'p>(&mut self, path: &'p [u8]) -> Result<(u32, &'p [u8]), Malformed> {
        let mut here = 0;
        let mut names = path.split(|byte| *byte == b'/');
        let mut name = names.next().unwrap_or_default();
        for next in names {
            here = self.child(here, name)?;
            name = next;
        }
        Ok((here, name))
    }

    /// What is at `name` in the directory; made up if nobody spoke of it before.
    fn child(&mut self, directory: u32, name: &[u8]) -> Result<u32, Malformed> {
        if let Some(found) = self.objects[directory as usize].below.get(name) {
            return Ok(*found);
        }
        self.limit()?;
        let new = self.objects.len() as u32;
        self.objects.push(Object {
            parent: Some(directory),
            ..Object::default()
        });
        self.objects[directory as usize]
            .below
            .insert(name.into(), new);
        Ok(new)
    }

    /// Nothing is at `name` any more.
    fn detach(&mut self, directory: u32, name: &[u8]) {
        if let Some(object) = self.objects[directory as usize].below.remove(name) {
            self.objects[object as usize].parent = None;
        }
    }

    fn note(
        &mut self,
        directory: u32,
        name: &[u8],
        event: Event,
        whole: bool,
    ) -> Result<(), Malformed> {
        let places = &mut self.objects[directory as usize].places;
        if let Some(place) = places.get_mut(name) {
            place.whole |= whole;
            place.after = event != Event::Goes;
            return Ok(());
        }
        let place = Place {
            whole,
            before: event != Event::Comes,
            after: event != Event::Goes,
        };
        places.insert(name.into(), place);
        self.places += 1;
        self.limit()
    }

    fn limit(&self) -> Result<(), Malformed> {
        if self.objects.len() + self.places > MOST {
            return Err(Malformed::TooMany);
        }
        Ok(())
    }

    /// The names that changed, under their final paths.
    pub(crate) fn into_names(self) -> Result<ChangedNames> {
        let mut names = ChangedNames::new();
        let mut open = vec![(0_u32, Vec::new())];
        while let Some((object, path)) = open.pop() {
            let object = &self.objects[object as usize];
            let under = |name: &[u8]| match &*path {
                b"" => name.to_vec(),
                path => [path, b"/", name].concat(),
            };
            for (name, place) in &object.places {
                if place.whole && (place.before || place.after) {
                    names.add_whole(&under(name))?;
                } else if place.before || place.after {
                    names.add(&under(name))?;
                }
            }
            open.extend(
                object
                    .below
                    .iter()
                    .map(|(name, child)| (*child, under(name))),
            );
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests;
