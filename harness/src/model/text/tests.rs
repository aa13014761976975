//! Every kind and every odd name there and back, and what errors say.

use super::parse::FORMS;
use super::*;
use crate::model::operation::KINDS;

/// A line of every kind, as it is rendered.
const SAMPLES: &str = r#"create d/a 0644
read d/a
write d/a 4096 7x5000
append d/a 1x0
rewrite d/a 4294967295x1
truncate d/a 60000000
allocate d/a 0 4096
punch d/a 1 2
map-write d/a 3 2x10
mkdir d 1777
rmdir d
unlink d/a
remove-tree .
link d/a b
symlink "../x y\xff" l
rename d/a b
rename-noreplace d/a b
rename-exchange d/a b
character c 0:0 0600
block b 4095:1048575 0600
fifo f 0644
socket s 0000
tmpfile t 0600 3x5
chmod d/a 4755
chown d/a 1000 4294967294
utimens d/a 1700000000.000000001
set-xattr d/a user.k "\x00\"v"
remove-xattr d/a user.k
acl d access owner=6 user:1000=5 group=4 mask=7 other=0
acl d default none
list .
read-link l
hold 3 d/a read
hold 4 d/a write
hold 255 d/a map
held-read 3
held-write 3 0 1x1
held-truncate 3 9
release 3
commit
remount
reopen
view 1
sibling 2
sibling none
diff
compare 0 2
compare none 1
rebase 1
relabel 0
misuse
fork 2
fork none
apply 0
remove 2
check
"#;

#[test]
fn every_kind_reads_as_it_is_written() {
    let script = parse_script(SAMPLES).unwrap();
    assert_eq!(render_script(&script), SAMPLES);
    for kind in KINDS {
        assert!(
            script.iter().any(|operation| operation.kind() == *kind),
            "{kind}"
        );
        assert!(FORMS.iter().any(|(known, _)| known == kind), "{kind}");
    }
    assert_eq!(FORMS.len(), KINDS.len());
}

#[test]
fn lines_mean_what_they_say() {
    let write = FileOperation::Write {
        path: "d/a".into(),
        at: 4096,
        data: Data {
            seed: 7,
            length: 5000,
        },
    };
    let acl = FileOperation::SetAcl {
        path: "d".into(),
        kind: AclKind::Access,
        acl: Some(Acl {
            owner: 6,
            named: (1000, 5),
            group: 4,
            mask: 7,
            other: 0,
        }),
    };
    for operation in [write, acl].map(Operation::File) {
        assert!(
            parse_script(SAMPLES).unwrap().contains(&operation),
            "{operation}"
        );
    }
}

#[test]
fn every_name_survives() {
    let long = [b'n'; 255];
    let names: [&[u8]; 16] = [
        b"a b",
        b"\"",
        b"'",
        b"\\",
        b"\xff\xfe",
        b"a\nb",
        b"#",
        b"a#b",
        b".wh.x",
        b"...",
        b"a,b:c",
        b" ",
        b"\t\r",
        b"\xc3\xa4",
        b"none",
        &long,
    ];
    for name in names {
        let path = TreePath::root().join(name);
        for path in [path.clone(), path.join(name)] {
            let operation = Operation::File(FileOperation::Link {
                from: path.clone(),
                to: path,
            });
            let line = operation.to_string();
            assert!(!line.contains('\n'));
            assert_eq!(Operation::parse(&line).unwrap(), operation, "{line}");
        }
    }
}

#[test]
fn plain_paths_stand_bare() {
    let read = |path: &str| FileOperation::Read { path: path.into() }.to_string();
    assert_eq!(read("d/.wh.a,b:c#"), "read d/.wh.a,b:c#");
    assert_eq!(read("#a"), "read \"#a\"");
    assert_eq!(read(""), "read .");
}

#[test]
fn every_time_survives() {
    for mtime in [0, 1, -1, -1_500_000_000, i64::MAX, i64::MIN] {
        let operation = Operation::File(FileOperation::Utimens {
            path: "a".into(),
            mtime,
        });
        assert_eq!(Operation::parse(&operation.to_string()).unwrap(), operation);
    }
    assert_eq!(seconds(-1), "-0.000000001");
}

#[test]
fn comments_and_blanks_are_skipped() {
    let script = parse_script("# first\n\n  read \t a # why\r\n\t# more\ncommit").unwrap();
    assert_eq!(render_script(&script), "read a\ncommit\n");
}

#[test]
fn errors_say_what_is_wrong_and_the_way_out() {
    for (line, said) in [
        ("", "`` is no operation; these are: create, read"),
        (
            "creat a 0644",
            "`creat` is no operation; these are: create, read",
        ),
        ("create a", "MODE is missing; write `create PATH MODE`"),
        (
            "create a 0844",
            "MODE `0844` is not twelve bits in octal such as 0644",
        ),
        ("create a 17777", "MODE `17777` is not twelve bits"),
        ("commit now", "`now` is too much; write `commit`"),
        ("read a b", "`b` is too much; write `read PATH`"),
        (
            "read a/../b",
            "PATH `a/../b` has a component that is no name",
        ),
        ("read /a", "PATH `/a` has a component that is no name"),
        ("read \".\"", "PATH `.` has a component that is no name"),
        (
            "read \"a",
            "the quote before `a` is not closed; end the word with `\"`",
        ),
        ("read \"a\"b", "`b` sticks to the word before it"),
        ("read \"\\q\"", "`\\q\"` begins with no escape; these are"),
        ("read \"\\x+1\"", "begins with no escape"),
        ("read \u{e4}", "put it in `\"`, as \"\\xc3\\xa4\""),
        ("append a 7", "DATA `7` is not SEEDxLENGTH such as 7x5000"),
        ("utimens a 1.5", "nine digits after the point"),
        ("utimens a 9999999999999.000000000", "is not a time"),
        ("character a 1 0644", "MAJOR:MINOR `1` is not two numbers"),
        (
            "hold 300 a read",
            "SLOT `300` is not a number, or is too large",
        ),
        ("hold 3 a open", "read|write|map `open` is not one of these"),
        ("acl a access all", "`all` is neither `none` nor `owner=`"),
        (
            "acl a access owner=6 user:1=5 group=8",
            "group=BITS `group=8` is not three bits",
        ),
        ("remove-xattr a \"\\xff\"", "KEY `\\xff` is not UTF-8"),
        (
            "fork last",
            "LAYER `last` is not a number or `none`; write `fork LAYER|none`",
        ),
    ] {
        let error = Operation::parse(line).unwrap_err().to_string();
        assert!(error.starts_with("cannot read `"), "{error}");
        assert!(error.contains(said), "{error}");
    }
    let error = parse_script("commit\n\nread").unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "line 3: cannot read `read`: PATH is missing; write `read PATH`"
    );
}

#[test]
fn every_form_is_in_the_document() {
    let document = include_str!("../../../../docs/scripts.md");
    for (kind, form) in super::parse::FORMS {
        let row = format!("| `{}` |", format!("{kind} {form}").trim_end());
        assert!(document.contains(&row), "docs/scripts.md lacks {row}");
    }
}

#[test]
fn what_file_systems_differ_in_is_refused() {
    for line in [
        "write a 18446744073709551615 1x1",
        "truncate a 1000000000000",
        "rewrite a 1x4294967295",
        "chown a 1000 4294967295",
        "character c 4096:0 0644",
        "symlink \"x/\" l",
        "utimens a -9000000000.000000000",
        "set-xattr a user. \"v\"",
        "set-xattr a security.foo \"v\"",
        "set-xattr a trusted.overlay.opaque \"y\"",
        "set-xattr a security.capability \"junk\"",
    ] {
        assert!(parse_script(line).is_err(), "{line}");
    }
    assert!(parse_script("# nothing\n").is_err());
}
