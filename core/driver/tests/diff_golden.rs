//! DiffIds made once with the reference program: scripts of edits, and what they must give.
//!
//! This needs no Python. Where there is one, the table itself is checked as well.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
mod diff_support;

use diff_support::{
    Reference, acl, capability, chmod, chown, diff_id, directory, lacks_root, remove, scratch,
    set_mtime, whole, written,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};
use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use strata_driver::diff::CompareOptions;
use strata_driver::tree::{self, CopyOptions};

struct Case {
    name: &'static str,
    /// Edits of an empty directory; none for a comparison with nothing.
    lower: Option<&'static str>,
    /// Edits of a copy of the lower tree.
    upper: &'static str,
    diff_id: &'static str,
}

const TREE: &str = "
dir d 700
file d/one hello
file d/two hello
dir d/sub 755
file d/sub/deep x
link d/one a-link
link d/one z-link
symlink d/one s
";

const CASES: &[Case] = &[
    Case {
        name: "nothing over nothing",
        lower: None,
        upper: "",
        diff_id: "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    },
    Case {
        name: "a tree over nothing",
        lower: None,
        upper: TREE,
        diff_id: "sha256:6655788a270b477ec4e2fd530f68b598ada922e6f71582189fffde5764297713",
    },
    Case {
        name: "a tree over itself",
        lower: Some(TREE),
        upper: "",
        diff_id: "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    },
    Case {
        name: "deep change brings its ancestors",
        lower: Some(TREE),
        upper: "file d/sub/deep y",
        diff_id: "sha256:4c8b4994e1c070b7e906a925a18d9c73ff6f22f9563bd0e461ebfa64d8a07715",
    },
    Case {
        name: "deletions are whiteouts among their siblings",
        lower: Some(TREE),
        upper: "rm d/sub\nrm s\nfile !first 1\nfile d/.w 1\nfile d/.wi 1",
        diff_id: "sha256:810a96522514ec16a537cf0b825e5f88b1ea4d1028123314b84cad6726d5da02",
    },
    Case {
        name: "changes of type",
        lower: Some(TREE),
        upper: "rm d/sub\nfile d/sub now\nrm s\ndir s 755\nfile s/in 1\nrm d/two\nnode fifo d/two 0 0",
        diff_id: "sha256:f4e2d626d527e06e977b245a18924b1717c90146a7fee2f7970f75fd3b5d743e",
    },
    Case {
        name: "a split group keeps its least name unwritten",
        lower: Some(TREE),
        upper: "rm z-link\nfile z-link hello",
        diff_id: "sha256:aa4c52f92780fcdd037bc85e5b02b020120236f2ec41c15a3e226b3d9bc4cec8",
    },
    Case {
        name: "a shrunk group is unchanged, a grown one written whole",
        lower: Some("file a 1\nlink a b\nlink a c\nfile m 2\nlink m n"),
        upper: "rm c\nlink m o",
        diff_id: "sha256:7a91b37e932a297dc4b75c62d9124c141c56d5342ab83e9988e7cc813319fc20",
    },
    Case {
        name: "two equal files made one are written whole",
        lower: Some("file a 1\nfile b 1\nfile c 1"),
        upper: "rm b\nlink a b",
        diff_id: "sha256:d826fa760f628ab67f447b3aa5e701ad8489e939a8a560cf63ed548198c00cca",
    },
    Case {
        name: "devices, pipes and sockets",
        lower: Some("node socket gone 0 0\nfile was 1"),
        upper: "node char c 1 3\nnode char big 300 70000\nnode block b 7 1\nnode fifo f 0 0\nrm was\nnode socket was 0 0",
        diff_id: "sha256:f930f0236f41934ca3912551e5c959663aa2451105d6fe09084d019f2a146933",
    },
    Case {
        name: "attributes and ACLs",
        lower: Some("file f 1\ndir g 755\nsymlink t l"),
        upper: "xattr f user.b\nxattr f trusted.a\ncapability f\nacl g\ndefault-acl g\nxattr l trusted.z\nxattr f trusted.overlay.x",
        diff_id: "sha256:e056306cad7b1aac3224e1228c15434f4d75c3cc5947159d471016f1cac2f685",
    },
    Case {
        name: "numbers at the edge of their fields",
        lower: Some(""),
        upper: "file a 1\nchown a 2097151 2097152\nfile b 1\ntime b -1 500000000\nfile c 1\ntime c 8589934591 0\nfile e 1\ntime e 8589934592 1\nfile g 1\nchmod g 7777\ndir t 1777\ntime t 1 100",
        diff_id: "sha256:23318b476124e047a92f481ab66579d57eac1be6a25bb1cd8770d1dcd6794953",
    },
    Case {
        name: "long names and targets",
        lower: Some(""),
        upper: "dir LONG 755\nfile LONG/LONG 1\nlink LONG/LONG z\nsymlink LONG/LONG/x s\nfile EXACT 1",
        diff_id: "sha256:66649609d8ac3671754576e4b1fcc1876b2b25991145c9059b913925be02a6b0",
    },
    Case {
        name: "holes are zeros and the root counts without its time",
        lower: Some("file a 1"),
        upper: "sparse s 200000\nchmod . 711\ntime . 77 0",
        diff_id: "sha256:22629da754112040e675085c4153584445592a5c9a86988ebd38edbc5ff3b819",
    },
];

/// Runs a script in `root`. Times come last: what the script does not set is of one fixed second.
fn run(root: &Path, script: &str) {
    let long = "l".repeat(150);
    let exact = "e".repeat(100);
    let script = script.replace("LONG", &long).replace("EXACT", &exact);
    let mut times = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let at = |index: usize| -> PathBuf { root.join(words[index]) };
        let number = |index: usize| words[index].parse::<i64>().unwrap();
        let mode = |index: usize| u32::from_str_radix(words[index], 8).unwrap();
        let set = |name: &str, value: &[u8]| {
            rustix::fs::lsetxattr(at(1), name, value, XattrFlags::empty()).unwrap();
        };
        match words[0] {
            "dir" => {
                fs_err::create_dir(at(1)).unwrap();
                chmod(&at(1), mode(2));
            }
            "file" => {
                fs_err::write(at(1), words[2]).unwrap();
                chmod(&at(1), 0o644);
            }
            "sparse" => {
                let file = fs_err::File::create(at(1)).unwrap();
                rustix::fs::ftruncate(&file, number(2) as u64).unwrap();
                rustix::io::pwrite(file.as_fd(), b"middle", 100_000).unwrap();
                chmod(&at(1), 0o644);
            }
            "link" => {
                rustix::fs::linkat(CWD, at(1), CWD, at(2), AtFlags::empty()).unwrap();
            }
            "symlink" => rustix::fs::symlinkat(words[1], CWD, at(2)).unwrap(),
            "node" => {
                let kind = match words[1] {
                    "fifo" => FileType::Fifo,
                    "char" => FileType::CharacterDevice,
                    "block" => FileType::BlockDevice,
                    _ => FileType::Socket,
                };
                let device = rustix::fs::makedev(number(3) as u32, number(4) as u32);
                rustix::fs::mknodat(CWD, at(2), kind, Mode::empty(), device).unwrap();
                chmod(&at(2), 0o640);
            }
            "chmod" => chmod(&at(1), mode(2)),
            "chown" => chown(&at(1), number(2) as u32, number(3) as u32),
            "time" => times.push((at(1), (number(2), number(3)))),
            "xattr" => set(words[2], b"\0\xff\n=value"),
            "capability" => set("security.capability", &capability()),
            "acl" => set("system.posix_acl_access", &acl(5)),
            "default-acl" => set("system.posix_acl_default", &acl(3)),
            "rm" => remove(&at(1)),
            other => panic!("no such edit: {other}"),
        }
    }
    let mut random = diff_support::Random(0);
    let edits = diff_support::Edits {
        root: root.into(),
        random: &mut random,
        model: None,
        tame: false,
    };
    for path in edits.paths() {
        set_mtime(&path, (1_600_000_000, 0));
    }
    for (path, time) in times {
        set_mtime(&path, time);
    }
}

#[test]
fn scripts_give_the_recorded_diff_ids() {
    if lacks_root() {
        return;
    }
    let mut reference = Reference::start();
    let mut wrong = String::new();
    for case in CASES {
        let scratch = scratch();
        let (lower, upper) = (scratch.path().join("lower"), scratch.path().join("upper"));
        for tree in [&lower, &upper] {
            fs_err::create_dir(tree).unwrap();
            chmod(tree, 0o755);
        }
        if let Some(script) = case.lower {
            run(&lower, script);
            let (from, to) = (directory(&lower), directory(&upper));
            tree::copy(from.as_fd(), to.as_fd(), &CopyOptions::default()).unwrap();
        }
        run(&upper, case.upper);
        let lower = case.lower.map(|_| &*lower);
        let found = whole(lower, &upper, &CompareOptions::default()).unwrap();
        let got = diff_id(&written(&found));
        let said = reference
            .as_mut()
            .map(|reference| reference.diff_id(lower, &upper));
        if got != case.diff_id || said.as_ref().is_some_and(|said| *said != case.diff_id) {
            let (name, wanted) = (case.name, case.diff_id);
            writeln!(
                wrong,
                "{name}: recorded {wanted}, got {got}, reference {said:?}"
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
