//! What files hold.

use crate::{Fixture, mounted};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, SeekFrom};
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use strata_fuse::{NodeId, SessionOptions};
use strata_sys::map::SharedMap;

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn open(path: &Path, flags: OFlags) -> std::fs::File {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::open(path, flags | OFlags::CLOEXEC, mode)
        .unwrap()
        .into()
}

#[test]
fn large_reads_and_writes_come_in_large_pieces() {
    mounted(&SessionOptions::default(), |f| {
        let data = pattern((5 << 20) + 777);
        fs_err::write(f.path("file"), &data).unwrap();
        // 1 MiB each, and none of them cut by the kernel more than once.
        assert!(f.calls("write") <= 12, "{}", f.calls("write"));
        assert!(
            fs_err::read(f.path("file")).unwrap() == data,
            "through the page cache"
        );
        let before = f.calls("read");
        let file = open(&f.path("file"), OFlags::RDWR | OFlags::DIRECT);
        let mut room = vec![0; data.len()];
        file.read_exact_at(&mut room, 0).unwrap();
        assert!(room == data, "past the page cache");
        assert!(f.calls("read") - before <= 12);
        file.write_all_at(&data[..3 << 20], 4096).unwrap();
        let changed = f.fs.state().find(NodeId::ROOT, c"file").unwrap();
        let found = f.fs.state().node(changed).unwrap().data.clone();
        assert!(found[4096..4096 + (3 << 20)] == data[..3 << 20]);
    });
}

#[test]
fn an_open_that_truncates_is_one_request() {
    mounted(&SessionOptions::default(), |f| {
        fs_err::write(f.path("file"), "old content").unwrap();
        let before = f.calls("setattr");
        drop(open(&f.path("file"), OFlags::WRONLY | OFlags::TRUNC));
        assert_eq!(f.calls("setattr"), before);
        let (flags, kill_suidgid) = f.fs.state().opened.unwrap();
        assert!(flags.contains(OFlags::TRUNC | OFlags::WRONLY));
        assert!(!kill_suidgid, "root keeps set-id bits");
        assert_eq!(fs_err::metadata(f.path("file")).unwrap().len(), 0);
    });
}

#[test]
fn a_file_without_a_name_can_get_one() {
    mounted(&SessionOptions::default(), |f| {
        let mut file = open(&f.root, OFlags::TMPFILE | OFlags::RDWR);
        file.write_all(b"without a name").unwrap();
        assert_eq!(f.calls("tmpfile"), 1);
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        let flags = AtFlags::EMPTY_PATH;
        rustix::fs::linkat(&file, "", CWD, f.path("named"), flags).unwrap();
        drop(file);
        let content = fs_err::read_to_string(f.path("named")).unwrap();
        assert_eq!(content, "without a name");
    });
}

#[test]
fn allocation_seeks_and_syncs_arrive() {
    mounted(&SessionOptions::default(), |f| {
        let file = open(&f.path("file"), OFlags::RDWR | OFlags::CREATE);
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 10, 90).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100);
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(20)), Ok(100));
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(20)), Ok(20));
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        fs_err::File::open(&f.root).unwrap().sync_all().unwrap();
        let synced = ["fsync", "fdatasync", "fsyncdir"].map(|name| f.calls(name));
        assert_eq!(synced, [1, 1, 1]);
        drop(file);
        assert_eq!(f.calls("flush"), 1);
        f.fs.wait_until(|state| state.calls.get("release") == Some(&1));
    });
}

#[test]
fn cached_content_goes_when_told() {
    mounted(&SessionOptions::default(), |f| {
        f.fs.state().attr_ttl = Duration::from_hours(24);
        fs_err::write(f.path("file"), "before").unwrap();
        let file = open(&f.path("file"), OFlags::RDONLY);
        let read = || {
            let mut room = [0; 6];
            file.read_exact_at(&mut room, 0).unwrap();
            room
        };
        assert_eq!(&read(), b"before");
        let node = f.fs.state().find(NodeId::ROOT, c"file").unwrap();
        f.fs.state().node(node).unwrap().data = b"after!".to_vec();
        assert_eq!(&read(), b"before", "from the page cache");
        f.notifier.inval_inode(node, 0, 0).unwrap();
        assert_eq!(&read(), b"after!");
        f.notifier.inval_inode(NodeId(9_999), 0, 0).unwrap();
    });
}

/// Has `name` stand for a file beside the mount.
fn backed(f: &Fixture, name: &str, backing: &Path) {
    let file = open(backing, OFlags::RDWR);
    let backing = f.notifier.open_backing(&file).unwrap();
    let mut state = f.fs.state();
    let parent = state.node(NodeId::ROOT).unwrap();
    let node = NodeId(parent.names[&std::ffi::CString::new(name).unwrap()]);
    let node = state.node(node).unwrap();
    node.backing = Some(backing);
    node.attr.size = file.metadata().unwrap().len();
}

#[test]
fn passthrough_reads_writes_and_maps_the_backing_file() {
    let options = SessionOptions {
        max_stack_depth: 1,
        ..SessionOptions::default()
    };
    mounted(&options, |f| {
        if !f.features.passthrough() {
            eprintln!("skipped: needs Linux 6.9 with FUSE_PASSTHROUGH");
            return;
        }
        let backing = f.beside.join("backing");
        fs_err::write(&backing, pattern(100_000)).unwrap();
        fs_err::write(f.path("file"), "").unwrap();
        let writes = f.calls("write");
        backed(f, "file", &backing);
        let mut file = open(&f.path("file"), OFlags::RDWR);
        let mut room = Vec::new();
        file.read_to_end(&mut room).unwrap();
        assert!(room == pattern(100_000));
        file.write_all_at(b"written", 5000).unwrap();
        assert_eq!(fs_err::read(&backing).unwrap()[5000..5007], *b"written");
        let mut map = SharedMap::writable(&file, 100_000).unwrap();
        assert_eq!(map.read(5000, 7), b"written");
        map.write(70_000, b"mapped");
        map.sync().unwrap();
        assert_eq!(fs_err::read(&backing).unwrap()[70_000..70_006], *b"mapped");
        assert_eq!((f.calls("read"), f.calls("write")), (0, writes));
        drop((map, file));

        f.fs.wait_until(|state| state.nodes.values().all(|node| node.opens == 0));
        let node = f.fs.state().find(NodeId::ROOT, c"file").unwrap();
        let given = f.fs.state().node(node).unwrap().backing.take().unwrap();
        f.notifier.close_backing(given).unwrap();
        assert!(f.notifier.close_backing(given).is_err(), "only once");
    });
}

#[test]
fn others_who_write_by_passthrough_leave_no_set_id_bits() {
    let options = SessionOptions {
        max_stack_depth: 1,
        allow_other: true,
        ..SessionOptions::default()
    };
    mounted(&options, |f| {
        if !f.features.passthrough() {
            eprintln!("skipped: needs Linux 6.9 with FUSE_PASSTHROUGH");
            return;
        }
        let everyone = Permissions::from_mode(0o755);
        fs_err::set_permissions(f.root.parent().unwrap(), everyone).unwrap();
        let backing = f.beside.join("backing");
        fs_err::write(&backing, "content").unwrap();
        f.fs.state().add_file("file");
        backed(f, "file", &backing);
        let node = f.fs.state().find(NodeId::ROOT, c"file").unwrap();
        f.fs.state().node(node).unwrap().attr.mode = 0o106_777;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "printf more >> \"$0\""]);
        command.arg(f.path("file")).uid(65_534).gid(65_534);
        assert!(command.status().unwrap().success());
        assert_eq!(fs_err::read(&backing).unwrap(), b"contentmore");
        assert_eq!(f.calls("write"), 0);
        assert_eq!(f.fs.state().node(node).unwrap().attr.mode, 0o100_777);
    });
}

#[test]
fn without_passthrough_no_backing_is_taken() {
    mounted(&SessionOptions::default(), |f| {
        assert!(!f.features.passthrough());
        let file = open(&f.beside.join("backing"), OFlags::RDWR | OFlags::CREATE);
        assert_eq!(f.notifier.open_backing(&file), Err(rustix::io::Errno::PERM));
    });
}
