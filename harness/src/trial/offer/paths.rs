//! Which path the next operation is about.

use super::Offer;
use crate::model::operation::LayerNumber;
use crate::seed::Generator;
use crate::tree::TreePath;
use crate::trial::generate::Flavour;

/// Names that meet: a tree of few names is changed at the same places again and again.
const NAMES: &[&[u8]] = &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];
/// Names that begin as others end.
const LIKE_NAMES: &[&[u8]] = &[b"a2", b"a.d", b"b-c", b"b2", b"c.conf", b"ab", b"d d"];
/// Names from the corners: what mount options escape, what is nearly a whiteout, other bytes.
const ODD_NAMES: &[&[u8]] = &[
    b"with space",
    b"a:b",
    b"c,d",
    b"e\\f",
    b"\xff\xfe",
    b".wh",
    b"..x",
    b"new\nline",
    b"=",
    b"#",
];
impl Offer {
    pub(super) fn layer(&self, random: &mut Generator) -> LayerNumber {
        if self.live.is_empty() || random.below(10) == 0 {
            random.below(self.layers + 1)
        } else {
            *random.pick(&self.live)
        }
    }

    /// A path that is most likely free, in a directory that is most likely there.
    pub(super) fn fresh(&self, random: &mut Generator) -> TreePath {
        if random.below(30) == 0 {
            return self.existing(random).join(b"x");
        }
        random.pick(&self.directories).join(&self.name(random))
    }

    pub(super) fn fresh_directory(&self, random: &mut Generator) -> TreePath {
        let goes_deep = self.flavour == Flavour::DeepTree || random.below(10) == 0;
        let deepest = self.directories.iter().max_by_key(|path| path.depth());
        match deepest {
            Some(deepest) if goes_deep && deepest.as_bytes().len() < 3000 => {
                deepest.join(&self.name(random))
            }
            _ => self.fresh(random),
        }
    }

    fn name(&self, random: &mut Generator) -> Vec<u8> {
        let long = if self.flavour == Flavour::DeepTree {
            4
        } else {
            120
        };
        if random.below(long) == 0 {
            let length = *random.pick(&[200, 242, 243, 251, 255, 256]);
            return vec![b'n'; length];
        }
        match random.below(250) {
            0 => b".wh.a".to_vec(),
            1..=12 => random.pick(ODD_NAMES).to_vec(),
            13..=40 => random.pick(LIKE_NAMES).to_vec(),
            _ => random.pick(NAMES).to_vec(),
        }
    }

    pub(super) fn existing(&self, random: &mut Generator) -> TreePath {
        if self.all.is_empty() || random.below(20) == 0 {
            return random.pick(&self.directories).join(&self.name(random));
        }
        random.pick(&self.all).clone()
    }

    pub(super) fn anything(&self, random: &mut Generator) -> TreePath {
        match random.below(20) {
            0 => TreePath::root(),
            1..=4 => random.pick(&self.directories).clone(),
            _ => self.existing(random),
        }
    }

    pub(super) fn directory_or_odd(&self, random: &mut Generator) -> TreePath {
        let inner = self.directories.len() - 1;
        if inner == 0 || random.below(10) == 0 {
            return self.existing(random);
        }
        self.directories[1 + random.below(inner)].clone()
    }

    pub(super) fn existing_file(&self, random: &mut Generator) -> TreePath {
        if self.files.is_empty() || random.below(8) == 0 {
            return self.existing(random);
        }
        random.pick(&self.files).clone()
    }

    /// A file, now and then by way of a link or what is none.
    pub(super) fn file(&self, random: &mut Generator) -> TreePath {
        if !self.links.is_empty() && random.below(8) == 0 {
            return random.pick(&self.links).clone();
        }
        if self.files.is_empty() || random.below(20) == 0 {
            return self.existing(random);
        }
        random.pick(&self.files).clone()
    }

    pub(super) fn target(&self, random: &mut Generator) -> Vec<u8> {
        match random.below(11) {
            0 => b"/".to_vec(),
            1 => b"..".to_vec(),
            2 => b"nowhere".to_vec(),
            3 => [b"/", self.existing(random).as_bytes()].concat(),
            // A directory, from the root on, or beside the link.
            5 => [b"/", random.pick(&self.directories).as_bytes()].concat(),
            6 => random.pick(&self.directories).name().to_vec(),
            // Too long for what file systems keep in the inode itself.
            4 => [b"nowhere/".as_slice(), &vec![b'n'; 50 + random.below(200)]].concat(),
            _ => random.pick(NAMES).to_vec(),
        }
    }
}
