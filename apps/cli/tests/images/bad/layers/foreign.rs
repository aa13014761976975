//! Tars that other programs wrote: recorded ones of GNU tar, and those of whatever is here.

use super::{Case, has};
use std::path::Path;
use std::process::Command;

macro_rules! recorded {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!(
                "../../../../../../core/driver/tests/changeset/gnu/",
                $name,
                ".tar"
            ))
            .as_slice(),
        )
    };
}

/// What is here, and how it writes a tar of the directory `$1` to standard output.
const WRITERS: &[(&str, &str)] = &[
    (
        "tar --version",
        "tar -C $1 --numeric-owner --format=gnu -c .",
    ),
    (
        "tar --version",
        "tar -C $1 --numeric-owner --format=v7 -c .",
    ),
    (
        "tar --version",
        "tar -C $1 --numeric-owner --format=pax -c .",
    ),
    ("bsdtar --version", "bsdtar -C $1 --format=pax -cf - ."),
    ("bsdtar --version", "bsdtar -C $1 --format=ustar -cf - ."),
    ("busybox tar --help", "busybox tar -C $1 -cf - ."),
    (
        "python3 -V",
        "cd $1 && python3 -c 'import sys, tarfile; \
         t = tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.PAX_FORMAT); \
         t.add(\".\"); t.close()'",
    ),
    (
        "python3 -V",
        "cd $1 && python3 -c 'import sys, tarfile; \
         t = tarfile.open(fileobj=sys.stdout.buffer, mode=\"w|\", format=tarfile.GNU_FORMAT); \
         t.add(\".\"); t.close()'",
    ),
    (
        "cpio --version",
        "cd $1 && find . | cpio -o -H ustar --quiet",
    ),
];

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        recorded!("gnu"),
        recorded!("ustar"),
        recorded!("v7"),
        recorded!("posix-sparse-0.0"),
        recorded!("posix-sparse-0.1"),
        recorded!("posix-sparse-1.0"),
    ]
    .into_iter()
    .map(|(name, tar)| {
        let lines = has(&["h hard=file", "l soft->file"]);
        Case::of_tars(format!("recorded {name}"), vec![tar.to_vec()], lines)
    })
    .collect();
    let place = tempfile::tempdir().unwrap();
    plant(place.path());
    for (probe, writer) in WRITERS {
        let is_here = shell(probe, place.path()).is_some();
        if !is_here {
            eprintln!("skipped: a tar of `{probe}`, which is not here");
            continue;
        }
        let tar = shell(writer, place.path()).expect("it is here and writes tars");
        let lines = has(&["d d 750", "f d/a=one 4755", "h d/b=d/a", "l s->d/a"]);
        cases.push(Case::of_tars(
            format!("written by {writer}"),
            vec![tar],
            lines,
        ));
    }
    cases
}

fn plant(place: &Path) {
    let script = "umask 022; cd $1 && mkdir -m 0750 d && printf one > d/a && chmod 4755 d/a && \
                  ln d/a d/b && ln -s d/a s && chmod 0755 .";
    shell(script, place).expect("a shell makes files");
}

fn shell(script: &str, place: &Path) -> Option<Vec<u8>> {
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(place)
        .output()
        .unwrap();
    output.status.success().then_some(output.stdout)
}
