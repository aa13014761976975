//! Operations on a plain directory: what they do, and what they are refused with.

use super::*;
use crate::model::operation::Operation;
use crate::tree::{Kind, Tree};

/// A performer on a directory of its own.
struct Bed {
    directory: tempfile::TempDir,
    performer: Performer,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let performer = Performer::new(directory.path()).unwrap();
        Self {
            directory,
            performer,
        }
    }

    /// One with what `lines` make.
    fn with(lines: &str) -> Self {
        let mut bed = Self::new();
        bed.done(lines);
        bed
    }

    fn run(&mut self, line: &str) -> Outcome {
        match Operation::parse(line).unwrap() {
            Operation::File(operation) => self.performer.perform(&operation),
            Operation::Layer(_) => panic!("`{line}` is no operation on files"),
        }
    }

    #[track_caller]
    fn done(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim) {
            assert_eq!(self.run(line), Ok(Answer::Done), "{line}");
        }
    }

    /// Each line is an errno and what gives it.
    #[track_caller]
    fn refused(&mut self, lines: &[(Errno, &str)]) {
        for (errno, line) in lines {
            assert_eq!(self.run(line), Err(*errno), "{line}");
        }
    }

    #[track_caller]
    fn content(&mut self, line: &str) -> Vec<u8> {
        match self.run(line) {
            Ok(Answer::Content(content)) => content,
            other => panic!("`{line}` gives {other:?}"),
        }
    }

    #[track_caller]
    fn node(&self, path: &str) -> crate::tree::Node {
        self.performer.look(&path.into()).unwrap().unwrap()
    }

    fn has(&self, path: &str) -> bool {
        self.performer.look(&path.into()).unwrap().is_some()
    }
}

fn bytes(seed: u32, length: u32) -> Vec<u8> {
    Data { seed, length }.bytes()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn files_are_made_read_and_written() {
    let mut bed = Bed::with("mkdir d 0700\ncreate d/a 0600\nfifo f 0600");
    assert_eq!(bed.node("d/a").mode, 0o600);
    bed.done("write d/a 5 7x3");
    assert_eq!(
        bed.content("read d/a"),
        [&[0; 5][..], &bytes(7, 3)].concat()
    );
    bed.done("append d/a 8x9000");
    assert_eq!(bed.content("read d/a")[8..], bytes(8, 9000));
    bed.done("rewrite d/a 9x10\nrewrite d/b 1x0");
    assert_eq!(bed.content("read d/a"), bytes(9, 10));
    assert_eq!(bed.content("read d/b"), b"");
    bed.done("truncate d/a 4");
    assert_eq!(bed.content("read d/a"), bytes(9, 10)[..4]);
    bed.done("allocate d/a 0 8192");
    assert_eq!(bed.node("d/a").size, 8192);
    bed.done("write d/a 0 7x8192\npunch d/a 0 4096");
    let content = bed.content("read d/a");
    assert_eq!(content[..4096], [0; 4096]);
    assert_eq!(content[4096..], bytes(7, 8192)[4096..]);
    bed.refused(&[
        (Errno::EXIST, "create d/a 0600"),
        (Errno::NOENT, "create x/a 0600"),
        (Errno::NOTDIR, "create d/a/b 0600"),
        (Errno::NOENT, "read d/x"),
        (Errno::ISDIR, "read d"),
        (Errno::NOENT, "write d/x 0 1x1"),
        (Errno::ISDIR, "append d 1x1"),
        (Errno::ISDIR, "rewrite d 1x1"),
        (Errno::NOENT, "rewrite x/a 1x1"),
        (Errno::NOENT, "truncate d/x 0"),
        (Errno::ISDIR, "truncate d 0"),
        (Errno::INVAL, "allocate d/a 0 0"),
        (Errno::INVAL, "punch d/a 0 0"),
    ]);
}

#[test]
fn a_mapping_writes_up_to_the_end() {
    let mut bed = Bed::with("rewrite a 1x100");
    bed.done("map-write a 90 2x20\nmap-write a 100 3x1\nmap-write a 0 3x0");
    let expected = [&bytes(1, 100)[..90], &bytes(2, 20)[..10]].concat();
    assert_eq!(bed.content("read a"), expected);
    // Beyond the last page of a file, writing would be SIGBUS.
    bed.done("rewrite a 1x4096\nmap-write a 4090 2x20");
    assert_eq!(bed.content("read a")[4090..], bytes(2, 6));
    bed.refused(&[
        (Errno::NOENT, "map-write x 0 1x1"),
        (Errno::ISDIR, "map-write . 0 1x1"),
    ]);
}

#[test]
fn names_are_made_moved_and_removed() {
    let mut bed = Bed::with("mkdir d 0700\ncreate a 0600\nlink a d/b\nsymlink \"../a\" d/l");
    assert_eq!(bed.node("a").link_count, 2);
    assert_eq!(
        bed.run("read-link d/l"),
        Ok(Answer::Target(b"../a".to_vec()))
    );
    let names = vec![b"b".to_vec(), b"l".to_vec()];
    assert_eq!(bed.run("list d"), Ok(Answer::Names(names)));
    bed.refused(&[
        (Errno::EXIST, "mkdir a 0700"),
        (Errno::NOTEMPTY, "rmdir d"),
        (Errno::NOTDIR, "rmdir a"),
        (Errno::ISDIR, "unlink d"),
        (Errno::NOENT, "unlink x"),
        (Errno::NOENT, "remove-tree x"),
        (Errno::EXIST, "link a d/b"),
        (Errno::PERM, "link d e"),
        // What is missing counts before where it would go.
        (Errno::NOENT, "link x a/y"),
        (Errno::EXIST, "symlink \"t\" a"),
        (Errno::NOENT, "symlink \"\" a/x"),
        (Errno::NOENT, "rename x y"),
        (Errno::EXIST, "rename-noreplace a d"),
        (Errno::NOENT, "rename-exchange a x"),
        (Errno::INVAL, "rename d d/e"),
        (Errno::INVAL, "read-link a"),
        (Errno::NOTDIR, "list a"),
        (Errno::EXIST, "fifo a 0600"),
        (Errno::EXIST, "tmpfile a 0600 1x1"),
        (Errno::NOTDIR, "tmpfile a/x 0600 1x1"),
    ]);
    bed.done("rename a c\nrename-noreplace c e\nrename-exchange e d\nunlink d");
    bed.done("tmpfile e/t 0600 4x10\nfifo e/f 0600\nsocket e/s 0600\nmkdir e/d 0700\nrmdir e/d");
    assert_eq!(bed.content("read e/t"), bytes(4, 10));
    assert_eq!(bed.node("e/t").mode, 0o600);
    assert_eq!(bed.node("e/s").kind, Kind::Socket);
    bed.done("remove-tree e");
    assert_eq!(bed.run("list ."), Ok(Answer::Names(Vec::new())));
}

#[test]
fn a_tree_is_removed_without_following_links() {
    let mut bed = Bed::with("mkdir d 0700\nmkdir e 0700\ncreate e/kept 0600\nmkdir d/d 0700");
    bed.done(
        "symlink \"/e\" d/d/l\nsymlink \"e\" l\ncreate d/a 0600\nremove-tree d\nremove-tree l",
    );
    assert!(bed.has("e/kept"));
    assert!(!bed.has("d") && !bed.has("l"));
}

#[test]
fn attributes_are_set() {
    let mut bed = Bed::with("mkdir d 0700\ncreate a 0600\nsymlink \"a\" l");
    bed.done("chmod l 0640\nutimens l -1.500000000\nutimens a 1700000000.000000001");
    assert_eq!(bed.node("a").mode, 0o640);
    assert_eq!(bed.node("a").mtime, 1_700_000_000_000_000_001);
    assert_eq!(bed.node("l").mtime, -1_500_000_000);
    bed.done("set-xattr a user.k \"v\\x00\"\nset-xattr . user.k \"root\"");
    assert_eq!(bed.node("a").xattrs[&b"user.k"[..]], b"v\0");
    assert_eq!(bed.node("").xattrs[&b"user.k"[..]], b"root");
    bed.done("remove-xattr a user.k");
    assert!(bed.node("a").xattrs.is_empty());
    let entries = "owner=6 user:1000=5 group=4 mask=7 other=0";
    bed.done(&format!(
        "acl a access {entries}\nacl d default {entries}\nacl d default none"
    ));
    assert_eq!(bed.node("a").mode, 0o670);
    assert!(
        bed.node("a")
            .xattrs
            .contains_key(&b"system.posix_acl_access"[..])
    );
    assert!(bed.node("d").xattrs.is_empty());
    bed.refused(&[
        (Errno::NOENT, "chmod x 0600"),
        (Errno::NOENT, "chown x 0 0"),
        (Errno::NOENT, "utimens x 0.000000000"),
        (Errno::OPNOTSUPP, "set-xattr a odd \"v\""),
        (Errno::NODATA, "remove-xattr a user.k"),
        (Errno::PERM, "set-xattr l user.k \"v\""),
    ]);
    let refused = bed.run(&format!("acl a default {entries}"));
    assert_eq!(refused, Err(Errno::ACCESS));
}

#[test]
fn owners_devices_and_trusted_attributes_are_set() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let mut bed = Bed::with("create a 4700\nsymlink \"a\" l\nchown l 6 7\nchown a 8 4294967295");
    let owner = |node: crate::tree::Node| (node.uid, node.gid);
    assert_eq!(owner(bed.node("l")), (6, 7));
    assert_eq!(owner(bed.node("a")), (8, 0));
    assert_eq!(bed.node("a").mode, 0o700);
    bed.done("set-xattr l trusted.k \"v\"");
    assert!(bed.node("a").xattrs.is_empty());
    bed.done("character c 1:3 0600\nblock b 7:300 0600");
    assert_eq!(bed.node("c").kind, Kind::CharacterDevice);
    assert_eq!(bed.node("b").device, (7, 300));
    bed.refused(&[
        (Errno::NXIO, "read c"),
        (Errno::NXIO, "rewrite c 1x1"),
        (Errno::EXIST, "character c 1:3 0600"),
        (Errno::NXIO, "hold 0 b read"),
    ]);
}

#[test]
fn a_fifo_is_never_opened() {
    // Where one is, opening it waits for the other side for ever.
    let mut bed = Bed::with("fifo f 0600\nsymlink \"f\" l");
    for line in [
        "read f",
        "read l",
        "write f 0 1x1",
        "append f 1x1",
        "rewrite l 1x1",
        "truncate f 0",
        "allocate f 0 1",
        "punch f 0 1",
        "map-write f 0 1x1",
        "hold 0 f read",
        "hold 0 f write",
        "hold 0 f map",
    ] {
        assert_eq!(bed.run(line), Err(Errno::NXIO), "{line}");
    }
    assert_eq!(bed.node("f").kind, Kind::Fifo);
    bed.done("chmod l 0640");
    assert_eq!(bed.node("f").mode, 0o640);
}

#[test]
fn links_end_within_the_root() {
    let mut bed = Bed::with("mkdir d 0700\nrewrite x 5x5\nsymlink \"/x\" d/absolute");
    bed.done("symlink \"../../../../x\" d/up\nsymlink \"/d/made\" dangling\nsymlink \"loop\" loop");
    bed.done("symlink \"/d\" to_d\nsymlink \"/proc/self/exe\" out");
    assert_eq!(bed.content("read d/absolute"), bytes(5, 5));
    assert_eq!(bed.content("read d/up"), bytes(5, 5));
    bed.done("create to_d/a 0600\nrewrite dangling 6x6");
    assert!(bed.has("d/a"));
    assert_eq!(bed.content("read d/made"), bytes(6, 6));
    bed.refused(&[
        (Errno::NOENT, "read out"),
        (Errno::LOOP, "read loop"),
        (Errno::LOOP, "create loop/a 0600"),
        (Errno::EXIST, "create dangling 0600"),
        (Errno::NOTDIR, "list to_d"),
        (Errno::NOTDIR, "rmdir to_d"),
    ]);
    // No script says this, but what is made by hand must not lead out either.
    for path in ["../x", "d/../../x"] {
        let path = path.into();
        let read = FileOperation::Read { path };
        let content = Answer::Content(bytes(5, 5));
        assert_eq!(bed.performer.perform(&read), Ok(content));
    }
    for path in ["..", "d/..", "d/", "."] {
        let path = path.into();
        let list = FileOperation::List { path };
        assert_eq!(bed.performer.perform(&list), Err(Errno::INVAL));
    }
}

#[test]
fn the_root_answers_as_the_kernel_does_on_a_dot() {
    let mut bed = Bed::with("create a 0600");
    bed.refused(&[
        (Errno::ISDIR, "create . 0600"),
        (Errno::ISDIR, "read ."),
        (Errno::ISDIR, "rewrite . 1x1"),
        (Errno::ISDIR, "truncate . 0"),
        (Errno::ISDIR, "hold 1 . read"),
        (Errno::EXIST, "mkdir . 0700"),
        (Errno::EXIST, "fifo . 0600"),
        (Errno::EXIST, "symlink \"t\" ."),
        (Errno::EXIST, "link a ."),
        (Errno::EXIST, "tmpfile . 0600 1x1"),
        (Errno::PERM, "link . b"),
        (Errno::INVAL, "rmdir ."),
        (Errno::ISDIR, "unlink ."),
        (Errno::INVAL, "remove-tree ."),
        (Errno::BUSY, "rename . b"),
        (Errno::BUSY, "rename a ."),
        (Errno::BUSY, "rename-noreplace a ."),
        (Errno::BUSY, "rename-exchange . a"),
        (Errno::NOENT, "rename . x/y"),
        (Errno::INVAL, "read-link ."),
    ]);
    bed.done("chmod . 0711\nutimens . 5.000000000");
    assert_eq!(
        (bed.node("").mode, bed.node("").mtime),
        (0o711, 5_000_000_000)
    );
    assert_eq!(bed.run("list ."), Ok(Answer::Names(vec![b"a".to_vec()])));
    if is_root() {
        bed.done("chown . 3 4");
        assert_eq!((bed.node("").uid, bed.node("").gid), (3, 4));
    } else {
        eprintln!("skipped: chown needs root");
    }
}

#[test]
fn held_files_are_read_and_written() {
    let mut bed = Bed::with("rewrite a 1x100\nhold 1 a read\nhold 2 a write\nunlink a");
    bed.done("held-write 2 50 2x100");
    let expected = [&bytes(1, 100)[..50], &bytes(2, 100)].concat();
    assert_eq!(bed.content("held-read 1"), expected);
    bed.done("held-truncate 2 10");
    assert_eq!(bed.content("held-read 2"), expected[..10]);
    bed.refused(&[
        (Errno::BADF, "held-write 1 0 1x1"),
        (Errno::BADF, "held-write 1 0 1x0"),
        (Errno::INVAL, "held-truncate 1 0"),
        (Errno::BADF, "held-read 9"),
        (Errno::BADF, "held-write 9 0 1x1"),
        (Errno::BADF, "held-truncate 9 0"),
        (Errno::BADF, "release 9"),
        // What it held is let go all the same.
        (Errno::NOENT, "hold 1 a read"),
        (Errno::BADF, "held-read 1"),
    ]);
    bed.done("release 2");
    bed.refused(&[(Errno::BADF, "held-read 2")]);
    bed.done("create b 0600\nhold 3 b read");
    bed.performer.release_all();
    bed.refused(&[(Errno::BADF, "held-read 3")]);
}

#[test]
fn a_held_mapping_outlives_a_cut() {
    let mut bed = Bed::with("rewrite a 1x9000\nhold 1 a map");
    assert_eq!(bed.content("held-read 1"), bytes(1, 9000));
    bed.done("truncate a 10");
    assert_eq!(bed.content("held-read 1"), bytes(1, 9000)[..10]);
    bed.done("truncate a 0");
    assert_eq!(bed.content("held-read 1"), b"");
    bed.done("rewrite a 2x20000");
    assert_eq!(bed.content("held-read 1"), bytes(2, 20000)[..9000]);
    bed.done("create empty 0600");
    bed.refused(&[
        (Errno::BADF, "held-write 1 0 1x1"),
        (Errno::BADF, "held-truncate 1 0"),
        (Errno::INVAL, "hold 1 empty map"),
        (Errno::BADF, "held-read 1"),
    ]);
}

#[test]
fn odd_numbers_are_the_kernels_to_judge() {
    let mut bed = Bed::with("rewrite a 1x10\nhold 1 a write");
    let most = u64::MAX;
    for (errno, line) in [
        (Errno::INVAL, format!("write a {most} 1x5")),
        (Errno::INVAL, format!("truncate a {most}")),
        (Errno::INVAL, format!("allocate a {most} 1")),
        (Errno::INVAL, format!("punch a 0 {most}")),
        (Errno::FBIG, format!("allocate a {} 1", i64::MAX)),
        (Errno::INVAL, format!("held-write 1 {most} 1x5")),
        (Errno::INVAL, format!("held-truncate 1 {most}")),
        (
            Errno::NAMETOOLONG,
            format!("mkdir {} 0700", "n".repeat(256)),
        ),
        (
            Errno::NAMETOOLONG,
            format!("read {}", "n/".repeat(4000) + "n"),
        ),
    ] {
        assert_eq!(bed.run(&line), Err(errno), "{line}");
    }
    bed.done(&format!("map-write a {most} 1x5"));
    bed.done("utimens a 9223372036.854775807\nutimens a -9223372036.854775808");
    assert_eq!(bed.content("read a"), bytes(1, 10));
}

#[test]
fn a_look_gives_what_the_tree_reader_gives() {
    let mut bed = Bed::with("mkdir d 0700\nrewrite d/a 1x5000\nlink d/a b\nsymlink \"d/a\" l");
    bed.done("fifo f 0600\nset-xattr d user.k \"v\"\nutimens d/a 3.000000004");
    let tree = Tree::read_with_contents(bed.directory.path()).unwrap();
    assert_eq!(tree.nodes().len(), 6);
    for (path, node) in tree.nodes() {
        let mut node = node.clone();
        node.link_leader = None;
        assert_eq!(bed.performer.look(path).unwrap(), Some(node), "{path}");
        let facts = bed.performer.inode(path).unwrap().unwrap();
        assert_eq!(facts.inode, tree.node(path.clone()).unwrap().inode);
    }
    for missing in ["x", "x/y", "d/a/b"] {
        assert_eq!(bed.performer.look(&missing.into()).unwrap(), None);
        assert_eq!(bed.performer.inode(&missing.into()).unwrap(), None);
    }
    let entries = bed.performer.entries(&"d".into()).unwrap();
    assert_eq!(entries, [(b"a".to_vec(), bed.node("b").inode)]);
    let error = bed.performer.entries(&"x".into()).unwrap_err();
    assert_eq!(error.to_string(), "list `x`");
}

#[test]
fn large_contents_are_digested_only() {
    let bed = Bed::with("create a 0600\ntruncate a 4194305\ncreate b 0600\ntruncate b 4194304");
    let (large, small) = (bed.node("a"), bed.node("b"));
    assert!(large.content_digest.is_some() && large.content.is_none());
    assert_eq!(small.content.unwrap().len(), 4_194_304);
    let facts = bed.performer.inode(&"a".into()).unwrap().unwrap();
    assert!(facts.blocks < 4_194_304 / 512);
}
