//! Extended attributes of files and of names in directories.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, also in its set-up, it is the assertion"
)]

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use strata_sys::xattr;
use tempfile::TempDir;

fn open(path: &Path, flags: OFlags) -> OwnedFd {
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

#[test]
fn binary_values_come_back_as_they_were() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("file");
    fs_err::write(&path, b"").unwrap();
    let file = open(&path, OFlags::RDWR);
    let directory = open(place.path(), OFlags::PATH);
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&b"a\nb\n"[..], b"\0", b"", b"x=y\0\n\0", &every_byte] {
        xattr::set(&file, "user.value", value).unwrap();
        assert_eq!(
            xattr::get(&file, "user.value").unwrap().as_deref(),
            Some(value)
        );
        assert_eq!(
            xattr::get_at(&directory, "file", "user.value")
                .unwrap()
                .as_deref(),
            Some(value)
        );
        xattr::set_at(&directory, "file", "user.other", value).unwrap();
        assert_eq!(
            xattr::get(&file, "user.other").unwrap().as_deref(),
            Some(value)
        );
    }
    assert_eq!(xattr::get(&file, "user.missing").unwrap(), None);
    assert!(xattr::remove(&file, "user.value").unwrap());
    assert!(!xattr::remove(&file, "user.value").unwrap());
    assert!(xattr::remove_at(&directory, "file", "user.other").unwrap());
    assert!(
        xattr::list(&file)
            .unwrap()
            .iter()
            .all(|name| !name.starts_with(b"user."))
    );
}

#[test]
fn lists_and_values_longer_than_the_first_buffer_come_whole() {
    let place = TempDir::new().unwrap();
    fs_err::write(place.path().join("file"), b"").unwrap();
    let file = open(&place.path().join("file"), OFlags::RDWR);
    let directory = open(place.path(), OFlags::PATH);
    let mut expected = Vec::new();
    for number in 0..20 {
        let name = format!("user.{}{number:02}", "n".repeat(120));
        xattr::set(&file, name.as_str(), b"").unwrap();
        expected.push(name.into_bytes());
    }
    let (mut by_file, mut by_name) = (Vec::new(), b"old content".to_vec());
    xattr::list_into(&file, &mut by_file).unwrap();
    xattr::list_at_into(&directory, "file", &mut by_name).unwrap();
    for list in [&by_file, &by_name] {
        let mut found: Vec<&[u8]> = xattr::names(list)
            .map(std::ffi::CStr::to_bytes)
            .filter(|name| name.starts_with(b"user."))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_file_without_attributes_has_an_empty_list() {
    let place = TempDir::new().unwrap();
    fs_err::write(place.path().join("file"), b"").unwrap();
    let mut list = b"old content".to_vec();
    xattr::list_into(open(&place.path().join("file"), OFlags::RDONLY), &mut list).unwrap();
    assert!(xattr::names(&list).all(|name| name.to_bytes().starts_with(b"security.")));
    let missing = xattr::list_at_into(open(place.path(), OFlags::PATH), "missing", &mut list);
    assert!(missing.unwrap_err().is(Errno::NOENT));
}

#[test]
fn links_are_not_followed_and_o_path_descriptors_serve() {
    let place = TempDir::new().unwrap();
    fs_err::write(place.path().join("file"), b"").unwrap();
    symlink("file", place.path().join("link")).unwrap();
    let directory = open(place.path(), OFlags::PATH);
    xattr::set_at(&directory, "file", "user.of-file", b"1").unwrap();
    assert_eq!(
        xattr::get_at(&directory, "link", "trusted.of-file").unwrap_or(None),
        None
    );
    // user(7) attributes are refused on links themselves.
    let error = xattr::set_at(&directory, "link", "user.a", b"1").unwrap_err();
    assert!(error.is(Errno::PERM), "{error:?}");

    let link = open(&place.path().join("link"), OFlags::PATH | OFlags::NOFOLLOW);
    let file = open(&place.path().join("file"), OFlags::PATH);
    assert_eq!(
        xattr::get_at(&file, "", "user.of-file").unwrap().as_deref(),
        Some(&b"1"[..])
    );
    if rustix::process::geteuid().is_root() {
        xattr::set_at(&link, "", "trusted.of-link", b"2").unwrap();
        let mut list = Vec::new();
        xattr::list_at_into(&directory, "link", &mut list).unwrap();
        assert!(xattr::names(&list).any(|name| name == c"trusted.of-link"));
        xattr::list_at_into(&directory, "file", &mut list).unwrap();
        assert!(!xattr::names(&list).any(|name| name == c"trusted.of-link"));
    } else {
        eprintln!("skipped: attributes of symbolic links, needs root");
    }
}
