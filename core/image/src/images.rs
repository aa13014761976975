//! The images of a store by the names that people give them: finding, naming, removing.
//!
//! What a removal untags and deletes, and when it is refused, is as in Docker 28
//! (moby `daemon/images/image_delete.go`).

use crate::layout;
use crate::reference::{DEFAULT_TAG, Reference};
use crate::{ImageError, Result};
use strata_store::phase::Phase;
use strata_store::{ChainId, Digest, Freed, ImageRow, ReferenceRow, Store, Target};

/// One thing that a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name ended.
    Untagged(String),
    /// An image is gone.
    Image(Digest),
    /// A layer is gone.
    Layer(ChainId),
}

/// How far a removal goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also what has several names.
    pub force: bool,
    /// Leave parents that have no name.
    pub keep_parents: bool,
}

/// What a removal came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// In the order in which it was done.
    pub removed: Vec<Removed>,
    /// Bytes that are given back, now or soon.
    pub bytes: u64,
}

/// The images of a store.
#[derive(Clone, Debug)]
pub struct Images<'a> {
    store: &'a Store,
}

/// What a person's word for an image means.
#[derive(Clone, Debug)]
struct Found {
    id: Digest,
    /// The name by which it was found; none if by its id.
    name: Option<(Reference, Target)>,
}

impl<'a> Images<'a> {
    /// Those of `store`.
    pub fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// The image that `text` means: a name, an id, or the beginning of one.
    pub fn find(&self, text: &str) -> Result<ImageRow> {
        let id = self.look(text)?.id;
        self.store
            .facts()
            .image(&id)?
            .ok_or_else(|| no_such(text.to_owned()))
    }

    fn look(&self, text: &str) -> Result<Found> {
        let facts = self.store.facts();
        let by_id = |prefix: &str| -> Result<Option<Digest>> {
            if prefix.is_empty() || !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Ok(None);
            }
            match facts.images_by_prefix(prefix)?.as_slice() {
                [] => Ok(None),
                [one] => Ok(Some(*one)),
                _ => Err(ImageError::Ambiguous {
                    prefix: prefix.to_owned(),
                }),
            }
        };
        let found = |id| Ok(Found { id, name: None });
        if let Some(hex) = text.strip_prefix("sha256:") {
            return by_id(hex)?.map_or_else(|| Err(no_such(text.to_owned())), found);
        }
        // 64 digits are an id and no name.
        if text.len() == 64
            && let Some(id) = by_id(text)?
        {
            return found(id);
        }
        let reference = match Reference::parse(text) {
            Ok(reference) => reference.or_latest(),
            Err(error) => {
                return by_id(text)?.map_or_else(|| Err(error.into()), found);
            }
        };
        let target = target_of(&reference);
        if let Some(id) = facts.reference(&reference.repository().to_string(), &target)? {
            return Ok(Found {
                id,
                name: Some((reference, target)),
            });
        }
        match by_id(text)? {
            Some(id) => found(id),
            None => Err(no_such(reference.familiar())),
        }
    }

    /// Gives an image one more name.
    pub fn tag(&self, image: &str, name: &str) -> Result<()> {
        let reference = Reference::parse(name)?;
        if reference.digest().is_some() {
            return Err(ImageError::TagWithDigest);
        }
        let reference = reference.or_latest();
        let image = self.find(image)?;
        let (repository, target) = (reference.repository().to_string(), target_of(&reference));
        self.store.register()?;
        self.store
            .facts()
            .set_reference(&repository, &target, &image.id)?;
        layout::note_after(self.store, [(&*repository, &target)]);
        Ok(())
    }

    /// Removes a name, and the image with the last of them. Bytes of layers and blobs that
    /// nothing needs any more are doomed, and go with the store's next sweep.
    pub fn remove(&self, text: &str, options: RemoveOptions) -> Result<Removal> {
        let _phase = self.begin()?;
        let mut removal = Removal::default();
        let outcome = self.remove_into(text, options, &mut removal);
        removal.leave_layout(self.store);
        outcome.map(|()| removal)
    }

    /// Whoever dies between the rows and the layout for other tools is known to have died.
    fn begin(&self) -> Result<strata_store::phase::Entered> {
        let phase = Phase::Delete.enter();
        self.store.register()?;
        Ok(phase)
    }

    fn remove_into(&self, text: &str, options: RemoveOptions, removal: &mut Removal) -> Result<()> {
        let found = self.look(text)?;
        let facts = self.store.facts();
        if let Some((reference, target)) = &found.name {
            let repository = reference.repository().to_string();
            let names = facts.references_of(&found.id)?;
            let is_here = |row: &&ReferenceRow| row.repository == repository;
            let is_tagged = names
                .iter()
                .filter(is_here)
                .any(|row| matches!(row.target, Target::Tag(_)) && row.target != *target);
            // Digests alone keep nothing of a repository whose last tag goes.
            let takes_digests = matches!(target, Target::Tag(_)) && !is_tagged;
            let (going, staying): (Vec<ReferenceRow>, Vec<_>) = names
                .into_iter()
                .partition(|row| is_here(&row) && (row.target == *target || takes_digests));
            // An image that others were built upon stays without a name.
            if !staying.is_empty() || !facts.children(&found.id)?.is_empty() {
                facts.remove_references(&going)?;
                for row in &going {
                    removal.untag(&row.repository, &row.target);
                }
                return Ok(());
            }
        } else {
            let names = facts.references_of(&found.id)?;
            if !is_single(&names) && !options.force {
                return Err(ImageError::Conflict {
                    what: format!(
                        "unable to delete {} (must be forced) - image is referenced in \
                         multiple repositories",
                        crate::pull::short(&found.id)
                    ),
                });
            }
            if !names.is_empty() && !facts.children(&found.id)?.is_empty() {
                return Err(has_children(&found.id));
            }
        }
        self.delete(&found.id, options, removal)
    }

    /// Deletes an image with its names and, if asked, the nameless ones that it alone was built
    /// upon.
    fn delete(&self, id: &Digest, options: RemoveOptions, removal: &mut Removal) -> Result<()> {
        let facts = self.store.facts();
        if !facts.children(id)?.is_empty() {
            return Err(has_children(id));
        }
        let mut next = Some(*id);
        while let Some(id) = next {
            let parent = facts.image(&id)?.and_then(|image| image.parent);
            let names = facts.references_of(&id)?;
            let Freed { layers, bytes } = self.store.remove_image(&id, names.len())?;
            for row in &names {
                removal.untag(&row.repository, &row.target);
            }
            removal.removed.push(Removed::Image(id));
            removal
                .removed
                .extend(layers.into_iter().map(Removed::Layer));
            removal.bytes += bytes.0;
            next = parent.filter(|_| !options.keep_parents);
            if let Some(parent) = &next
                && (!facts.children(parent)?.is_empty()
                    || !facts.references_of(parent)?.is_empty()
                    || facts.image(parent)?.is_none())
            {
                next = None;
            }
        }
        Ok(())
    }

    /// Removes images that no container uses: those without a name, or all of them.
    pub fn prune(&self, is_prey: impl Fn(&ImageRow, &[ReferenceRow]) -> bool) -> Result<Removal> {
        let _phase = self.begin()?;
        let mut removal = Removal::default();
        let outcome = self.prune_into(is_prey, &mut removal);
        removal.leave_layout(self.store);
        outcome.map(|()| removal)
    }

    fn prune_into(
        &self,
        is_prey: impl Fn(&ImageRow, &[ReferenceRow]) -> bool,
        removal: &mut Removal,
    ) -> Result<()> {
        let facts = self.store.facts();
        loop {
            let mut is_done = true;
            for image in facts.images()? {
                let names = facts.references_of(&image.id)?;
                if is_prey(&image, &names) && facts.children(&image.id)?.is_empty() {
                    let options = RemoveOptions {
                        force: true,
                        keep_parents: true,
                    };
                    self.delete(&image.id, options, removal)?;
                    is_done = false;
                }
            }
            if is_done {
                return Ok(());
            }
        }
    }
}

impl Removal {
    fn untag(&mut self, repository: &str, target: &Target) {
        self.removed
            .push(Removed::Untagged(familiar(repository, target)));
    }

    /// Takes the names that ended out of the layout for other tools.
    fn leave_layout(&self, store: &Store) {
        let names = self.removed.iter().filter_map(|removed| match removed {
            Removed::Untagged(name) => Some(name.clone()),
            _ => None,
        });
        let names = layout::targets(names);
        let names = names.iter();
        layout::note_after(
            store,
            names.map(|(repository, target)| (&**repository, target)),
        );
    }
}

/// A name as people write it: without the default registry.
pub fn familiar(repository: &str, target: &Target) -> String {
    let name = format!("{repository}{target}");
    Reference::parse(&name).map_or(name, |reference| reference.familiar())
}

/// What stands behind the repository of a whole name.
pub fn target_of(reference: &Reference) -> Target {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Target::Digest(digest),
        (None, Some(tag)) => Target::Tag(tag.to_owned()),
        (None, None) => Target::Tag(DEFAULT_TAG.to_owned()),
    }
}

/// At most one tag, and all names in one repository.
fn is_single(names: &[ReferenceRow]) -> bool {
    let tags = names
        .iter()
        .filter(|row| matches!(row.target, Target::Tag(_)));
    tags.count() <= 1
        && names
            .windows(2)
            .all(|pair| pair[0].repository == pair[1].repository)
}

fn no_such(name: String) -> ImageError {
    ImageError::NoSuchImage { name }
}

fn has_children(id: &Digest) -> ImageError {
    ImageError::Conflict {
        what: format!(
            "unable to delete {} (cannot be forced) - image has dependent child images",
            crate::pull::short(id)
        ),
    }
}
