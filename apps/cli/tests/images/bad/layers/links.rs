//! Links that lead out, in circles, or to nothing.

use super::Verdict::{self, Refused};
use super::{Case, has, tree};
use strata_harness::tar::Entry;

pub fn cases(outside: &str) -> Vec<Case> {
    let mut cases = out(outside);
    cases.extend(circles());
    cases.extend(hard());
    cases
}

/// Everything that can be done through a link `a`, and what comes of it where the link is of a
/// lower layer.
fn uses(target: &str) -> Vec<(&'static str, Vec<Entry>, Verdict)> {
    let link = format!("l a->{target}");
    let link = link.as_str();
    let kept = || tree(&[link]);
    let made = |line| tree(&["d a", line]);
    vec![
        (
            "file over",
            vec![Entry::file("a/passwd", "evil")],
            made("f a/passwd=evil"),
        ),
        (
            "new file",
            vec![Entry::file("a/new", "evil")],
            made("f a/new=evil"),
        ),
        (
            "directory at",
            vec![Entry::dir("a").mode(0o777)],
            tree(&["d a 777"]),
        ),
        (
            "dot below",
            vec![Entry::dir("a/.").mode(0o777)],
            tree(&["d a 777"]),
        ),
        (
            "directory below",
            vec![Entry::dir("a/sub").mode(0o777).owner(9, 9)],
            made("d a/sub 777 9:9"),
        ),
        (
            "fifo below",
            vec![Entry::new("a/passwd", b'6')],
            made("p a/passwd"),
        ),
        (
            "link below",
            vec![Entry::symlink("a/passwd", "x")],
            made("l a/passwd->x"),
        ),
        (
            "hard link to",
            vec![Entry::hard_link("stolen", "a/passwd")],
            Refused("hard link"),
        ),
        ("whiteout below", vec![Entry::whiteout("a/passwd")], kept()),
        (
            "whiteout of a directory",
            vec![Entry::whiteout("a/sub")],
            kept(),
        ),
        ("opaque", vec![Entry::opaque("a")], kept()),
        ("opaque below", vec![Entry::opaque("a/sub")], kept()),
        ("whiteout of it", vec![Entry::whiteout("a")], tree(&[])),
        (
            "file at",
            vec![Entry::file("a", "evil").mode(0o666)],
            tree(&["f a=evil 666"]),
        ),
    ]
}

fn out(outside: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let climbing = format!("{}{outside}", "..".to_owned() + &"/..".repeat(14));
    let magic = format!("/proc/self/root{outside}");
    for (kind, target) in [
        ("absolute", outside),
        ("climbing", &climbing),
        ("magic", &magic),
    ] {
        for (what, entries, verdict) in uses(target) {
            let link = Entry::symlink("a", target);
            // Of the same layer it is followed inside: directories are made there.
            let inside = match what {
                "hard link to" => Refused("hard link"),
                "directory at" | "dot below" => tree(&["d a 777"]),
                "file at" => tree(&["f a=evil 666"]),
                _ => Verdict::Has(vec![format!("l a->{target}")]),
            };
            let both = [&[link.clone()][..], &entries].concat();
            cases.push(Case::new(format!("{what} {kind} link"), &[&both], inside));
            cases.push(Case::new(
                format!("{what} {kind} link of below"),
                &[&[link], &entries],
                verdict,
            ));
        }
        let target = format!("{target}/passwd");
        cases.push(Case::new(
            format!("file over a {kind} link to a file"),
            &[&[Entry::symlink("p", target)], &[Entry::file("p", "new")]],
            tree(&["f p=new"]),
        ));
    }
    cases
}

fn circles() -> Vec<Case> {
    let chain = |length: usize| {
        let mut entries = vec![Entry::dir("l0")];
        for n in 1..=length {
            entries.push(Entry::symlink(format!("l{n}"), format!("l{}", n - 1)));
        }
        entries.push(Entry::file(format!("l{length}/file"), "1"));
        entries
    };
    let file = Entry::file("a/x", "1");
    vec![
        Case::new(
            "loop of two",
            &[&[
                Entry::symlink("a", "b"),
                Entry::symlink("b", "a"),
                file.clone(),
            ]],
            Refused("symbolic links"),
        ),
        Case::new(
            "link to itself",
            &[&[Entry::symlink("a", "a"), file.clone()]],
            Refused("symbolic links"),
        ),
        Case::new(
            "loop of below",
            &[&[Entry::symlink("a", "a")], std::slice::from_ref(&file)],
            tree(&["d a", "f a/x=1"]),
        ),
        Case::new("chain of 40", &[&chain(40)], has(&["f l0/file=1"])),
        Case::new("chain of 41", &[&chain(41)], Refused("symbolic links")),
        Case::new(
            "dangling parent",
            &[&[Entry::symlink("a", "usr/lib"), file]],
            tree(&["l a->usr/lib", "d usr", "d usr/lib", "f usr/lib/x=1"]),
        ),
        Case::new(
            "file as a parent",
            &[&[Entry::file("a", ""), Entry::file("a/x", "")]],
            Refused("a/x"),
        ),
    ]
}

fn hard() -> Vec<Case> {
    let mut cases = Vec::new();
    let targets = [
        "missing",
        "later",
        "directory",
        "below",
        "../below",
        "/etc/passwd",
        "/",
        ".wh.x",
        ".wh..wh..opq",
    ];
    for target in targets {
        let entries = [
            Entry::dir("directory"),
            Entry::hard_link("link", target),
            Entry::file("later", ""),
        ];
        cases.push(Case::new(
            format!("hard link to {target}"),
            &[&[Entry::file("below", "1")], &entries],
            Refused("link"),
        ));
    }
    cases.push(Case::new(
        "hard links inside",
        &[&[
            Entry::file("a", "1"),
            Entry::symlink("s", "a"),
            Entry::hard_link("b", "a"),
            Entry::hard_link("t", "s"),
            Entry::hard_link("a", "/./a"),
        ]],
        tree(&["f a=1", "h b=a", "l s->a", "h t=s"]),
    ));
    cases
}
