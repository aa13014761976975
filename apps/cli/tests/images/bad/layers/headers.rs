//! Headers: numbers, extended headers, checksums, and where an archive ends.

use super::Verdict::{self, Refused};
use super::{Case, tree};
use strata_harness::tar::{self, BLOCK, Entry, Header};

pub fn cases() -> Vec<Case> {
    let mut cases = sizes();
    cases.extend(extended());
    cases.extend(ends());
    cases
}

fn one(name: &str, tar: Vec<u8>, verdict: Verdict) -> Case {
    Case::of_tars(name, vec![tar], verdict)
}

/// An archive of one empty file with bytes put into its header.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::archive(&[Entry::file("f", "")]);
    tar[at..at + bytes.len()].copy_from_slice(bytes);
    let mut block = tar[..BLOCK].try_into().unwrap();
    tar::set_checksum(&mut block);
    tar[..BLOCK].copy_from_slice(&block);
    tar
}

fn sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    // The size by PAX counts, whatever the header says: what is inside is content, not entries.
    let inner = tar::archive(&[Entry::file("smuggled", "evil")]);
    for claimed in [0, 5, 4096] {
        let mut outer = Entry::file("outer", &inner)
            .pax("size", inner.len().to_string())
            .claiming(claimed);
        outer.mode = 0o600;
        let tar = tar::archive(&[outer, Entry::file("after", "1")]);
        let outer = format!("f outer={} bytes 600", inner.len());
        cases.push(one(
            &format!("PAX size over {claimed}"),
            tar,
            tree(&["f after=1", &outer]),
        ));
    }
    let size = |bytes: &[u8]| patched(124, bytes);
    let number = Refused;
    cases.extend([
        one("size minus one", size(&[0xff; 12]), number("size")),
        one(
            "size 2^63",
            size(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
            number("size"),
        ),
        one(
            "size 2^63-1",
            size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            number("size"),
        ),
        one(
            "size that is no octal",
            size(b"0000000008\0\0"),
            number("size"),
        ),
        one("size with a sign", size(b"-0000000001\0"), number("size")),
        one("owner minus one", patched(108, &[0xff; 8]), number("uid")),
        one(
            "owner that is none",
            patched(108, b"\x80\0\0\0\xff\xff\xff\xff"),
            Refused("4294967295"),
        ),
        one(
            "owner 2^31",
            patched(108, b"\x80\0\0\0\x80\0\0\0"),
            tree(&["f f= 2147483648:0"]),
        ),
    ]);
    let file = || Entry::file("f", "");
    for (name, entry, verdict) in [
        (
            "PAX size 2^63",
            file().pax("size", "9223372036854775808"),
            Refused("size"),
        ),
        (
            "PAX size negative",
            file().pax("size", "-1"),
            Refused("size"),
        ),
        (
            "PAX owner 2^32",
            file().pax("uid", "4294967296"),
            Refused("uid"),
        ),
        (
            "PAX group that is none",
            file().pax("gid", "4294967295"),
            Refused("4294967295"),
        ),
        ("PAX time", file().pax("mtime", "now"), Refused("mtime")),
        (
            "a size that a link claims",
            Entry::symlink("f", "x").claiming(4096),
            tree(&["l f->x"]),
        ),
    ] {
        cases.push(Case::new(name, &[&[entry]], verdict));
    }
    cases
}

fn record(key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (key.into(), value.into())
}

/// An extended header with this body, and a file `f` after it.
fn raw_pax(flag: u8, body: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    let header = Header {
        name: b"././@PaxHeader",
        mode: 0,
        uid: 0,
        gid: 0,
        size: body.len() as u64,
        seconds: 0,
        flag,
        link: b"",
        device: (0, 0),
    };
    tar.extend(header.block());
    tar.extend(body);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    Entry::file("f", "1").write(&mut tar);
    tar::end(&mut tar);
    tar
}

fn extended() -> Vec<Case> {
    let two = {
        let mut tar = Vec::new();
        tar::write_pax(&mut tar, b'x', &[record("path", "a")]);
        tar::write_pax(&mut tar, b'x', &[record("path", "b")]);
        Entry::file("f", "1").write(&mut tar);
        tar::end(&mut tar);
        tar
    };
    let stray = {
        let mut tar = Vec::new();
        tar::write_pax(&mut tar, b'x', &[record("path", "a")]);
        tar::end(&mut tar);
        tar
    };
    let twice = [tar::record(b"path", b"a"), tar::record(b"path", b"b")].concat();
    let of_owner = tar::record(b"uid", b"7");
    let of_name = tar::record(b"path", b"g");
    vec![
        one("two extended headers", two, Refused("extended header")),
        one(
            "an extended header of nothing",
            stray,
            Refused("extended header"),
        ),
        one("a PAX key twice", raw_pax(b'x', &twice), tree(&["f b=1"])),
        one(
            "a PAX length that is none",
            raw_pax(b'x', b"x path=a\n"),
            Refused("a record of the extended header"),
        ),
        one(
            "a PAX length too long",
            raw_pax(b'x', b"99 path=a\n"),
            Refused("a record of the extended header"),
        ),
        one(
            "a PAX length too short",
            raw_pax(b'x', b"3 path=a\n"),
            Refused("a record of the extended header"),
        ),
        one(
            "a global header of owners",
            raw_pax(b'g', &of_owner),
            tree(&["f f=1 7:0"]),
        ),
        one(
            "a global header of names",
            raw_pax(b'g', &of_name),
            Refused("global"),
        ),
    ]
}

fn ends() -> Vec<Case> {
    let mut whole = Vec::new();
    Entry::dir("d").write(&mut whole);
    let after_d = whole.len();
    Entry::file("d/f", [b'x'; 1500]).write(&mut whole);
    let after_f = whole.len();
    Entry::file("g", "2").write(&mut whole);
    let after_g = whole.len();
    tar::end(&mut whole);
    let (d, f, g) = ("d d", "f d/f=1500 bytes", "f g=2");
    let mut cases = Vec::new();
    for cut in (0..=whole.len()).step_by(BLOCK) {
        let verdict = match cut {
            0 => tree(&[]),
            _ if cut == after_d => tree(&[d]),
            _ if cut == after_f => tree(&[d, f]),
            _ if cut >= after_g => tree(&[d, f, g]),
            _ => Refused("ends"),
        };
        cases.push(one(
            &format!("cut at {cut}"),
            whole[..cut].to_vec(),
            verdict,
        ));
    }
    cases.push(one(
        "cut in a header",
        whole[..100].to_vec(),
        Refused("tar"),
    ));
    let mut sum = whole.clone();
    sum[150] ^= 1;
    let mut name = whole.clone();
    name[after_d] = b'e';
    let lone = [&whole[..after_d], &[0; BLOCK], &whole[after_d..]].concat();
    let two = [&whole[..], &tar::archive(&[Entry::file("z", "")])].concat();
    cases.extend([
        one("wrong checksum at first", sum, Refused("no tar archive")),
        one("wrong checksum later", name, Refused("checksum")),
        one(
            "no tar",
            b"this is no tar\n".repeat(100),
            Refused("no tar archive"),
        ),
        one("a lone block of zeros", lone, Refused("zero block")),
        one(
            "garbage after the end",
            [&whole[..], b"garbage"].concat(),
            tree(&[d, f, g]),
        ),
        one("two archives", two, tree(&[d, f, g])),
        one("an archive of nothing", vec![0; 2 * BLOCK], tree(&[])),
    ]);
    cases
}
