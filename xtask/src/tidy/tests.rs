//! The checkout is tidy, and each rule catches a planted breach.

use super::source::lines;
use super::{Tree, private_paths};
use crate::workspace;
use std::path::Path;

#[test]
fn checkout_is_tidy() {
    let findings = Tree::read(&workspace()).unwrap().check();
    let report: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}

fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    let tree = Tree {
        files: files.collect(),
        private_paths: private_paths(Path::new("/place/of/ours")),
    };
    tree.check().iter().map(ToString::to_string).collect()
}

/// The files break exactly one rule, and the finding says so.
#[track_caller]
fn assert_caught(files: &[(&str, &str)], words: &str) {
    let found = findings(files);
    assert!(
        found.len() == 1 && found[0].contains(words),
        "{words}: {found:#?}"
    );
}

#[track_caller]
fn assert_tidy(files: &[(&str, &str)]) {
    assert_eq!(findings(files), [""; 0]);
}

#[test]
fn sources_are_held_to_form() {
    assert_caught(
        &[("core/driver/src/a.rs", "fn a() {}\n")],
        "begin with `//!`",
    );
    let long = format!("//! Long.\n{}", "\n".repeat(600));
    assert_caught(&[("core/driver/src/a.rs", &long)], "601 lines");
    assert_tidy(&[("core/driver/tests/a.rs", &long)]);
    assert_caught(&[("core/driver/src/util.rs", "//! U.\n")], "says nothing");
    assert_caught(
        &[("core/driver/src/util/mod.rs", "//! U.\n")],
        "says nothing",
    );
    assert_caught(
        &[("harness/src/a.rs", "//! A.\nfn a() { todo!() }\n")],
        "a.rs:2: `todo!`",
    );
    assert_caught(
        &[("harness/src/a.rs", "//! A.\n#[allow(dead_code)]\n")],
        "#[expect(",
    );
}

#[test]
fn unsafe_code_stays_in_its_crate() {
    let block = "//! A.\nfn a() { unsafe { b() } }\n";
    assert_caught(&[("harness/src/a.rs", block)], "a.rs:2: `unsafe` outside");
    assert_tidy(&[("core/sys/src/a.rs", block)]);
    assert_tidy(&[(
        "harness/src/a.rs",
        "//! A.\n// unsafe\nconst A: &str = r#\"unsafe \"\"#;\n",
    )]);
    let root = [
        ("harness/Cargo.toml", ""),
        ("harness/src/lib.rs", "//! H.\n"),
    ];
    assert_caught(&root, "lacks `#![forbid(unsafe_code)]`");
}

#[test]
fn blocking_is_crossed_in_one_place() {
    let crossing = "//! A.\nfn a() { tokio::task::spawn_blocking(b); }\n";
    assert_tidy(&[
        ("core/driver/src/a.rs", crossing),
        ("drivers/vfs/tests/b.rs", crossing),
    ]);
    let two = findings(&[
        ("core/driver/src/a.rs", crossing),
        ("drivers/vfs/src/b.rs", crossing),
    ]);
    assert_eq!(two.len(), 2, "{two:?}");
}

#[test]
fn texts_name_no_private_place() {
    assert_caught(
        &[("docs/a.md", "See /place/of/ours/docs.\n")],
        "only this machine",
    );
    assert_caught(&[("docs/a.md", "`/place/x`\n")], "only this machine");
    assert_tidy(&[(
        "docs/a.md",
        "a/place/x, /placebo/x and https://host/place/x\n",
    )]);
}

#[test]
fn arrows_run_one_way() {
    let manifest = |section: &str, name: &str| format!("[{section}]\n{name}.workspace = true\n");
    let forbidden = [
        ("xtask", "dependencies", "strata-sys"),
        ("core/sys", "dependencies", "strata-driver"),
        ("core/driver", "dev-dependencies", "strata-harness"),
        ("harness", "dev-dependencies", "strata-drivers"),
        ("drivers/overlay", "dependencies", "strata-harness"),
        ("drivers/overlay", "dev-dependencies", "strata-vfs"),
        (
            "drivers/overlay",
            "target.'cfg(unix)'.dependencies",
            "strata-vfs",
        ),
    ];
    for (folder, section, name) in forbidden {
        let path = format!("{folder}/Cargo.toml");
        assert_caught(&[(&path, &manifest(section, name))], "must not depend");
    }
    let named = [(
        "xtask/Cargo.toml",
        "[dependencies.strata-sys]\nworkspace = true\n",
    )];
    assert_caught(&named, "must not depend");
    assert_tidy(&[
        (
            "drivers/overlay/Cargo.toml",
            &manifest("dev-dependencies", "strata-harness"),
        ),
        (
            "drivers/all/Cargo.toml",
            &manifest("dependencies", "strata-overlay"),
        ),
        (
            "harness/Cargo.toml",
            &manifest("dependencies", "strata-driver"),
        ),
    ]);
    assert_caught(
        &[("harness/Cargo.toml", "[dependencies]\nhex = \"0.4\"\n")],
        "root manifest",
    );
}

#[test]
fn lock_file_keeps_to_bans_and_sources() {
    let deny = (
        "deny.toml",
        "[bans]\ndeny = [\n    { crate = \"bad\", reason = \"bad\" },\n]\n",
    );
    assert_caught(&[deny, ("Cargo.lock", "name = \"bad\"\n")], "is banned");
    assert_caught(
        &[deny, ("Cargo.lock", "source = \"git+https://x.example\"\n")],
        "crates.io",
    );
}

#[test]
fn driver_crates_have_the_same_rooms() {
    let rooms = [
        "config",
        "diff",
        "driver",
        "error",
        "layout",
        "mechanism/mod",
        "probe",
    ];
    let mut files = vec![("drivers/vfs/Cargo.toml".to_owned(), "")];
    files.extend(rooms.map(|room| (format!("drivers/vfs/src/{room}.rs"), "//! R.\n")));
    files.push(("drivers/vfs/tests/conformance.rs".to_owned(), "//! C.\n"));
    let document = "# vfs\n## Idea\n## On disk\n```\n## no heading\n```\n## Needs\n## Capabilities\n\
                    ## Life of a layer\n## Costs\n## Quirks\n## Recovery\n## References\n";
    files.push(("docs/drivers/vfs.md".to_owned(), document));
    let without = |left_out: &str| -> Vec<(&str, &str)> {
        let kept = files.iter().filter(|(path, _)| path != left_out);
        kept.map(|(path, text)| (path.as_str(), *text)).collect()
    };
    assert_tidy(&without(""));
    for room in rooms.iter().filter(|room| **room != "driver") {
        assert_caught(
            &without(&format!("drivers/vfs/src/{room}.rs")),
            "room is missing",
        );
    }
    assert_caught(&without("drivers/vfs/tests/conformance.rs"), "does not run");
    assert_caught(&without("docs/drivers/vfs.md"), "no such document");
    let mut with_another = without("");
    with_another.push(("drivers/vfs/src/attic.rs", "//! A.\n"));
    assert_caught(&with_another, "`attic` is no room");
    let out_of_order = ("docs/drivers/vfs.md", "## On disk\n## Idea\n");
    assert_caught(&[("drivers/vfs/Cargo.toml", ""), out_of_order], "headings");
}

#[test]
fn nobody_else_knows_a_drivers_name() {
    let caught = [
        "if name == \"overlay\" {}",
        "match name { \"btrfs\" => 1, _ => 2 }",
        "matches!(name, \"zfs\" | \"other\")",
        "let a = \"vfs\";",
    ];
    for code in caught {
        let text = format!("//! A.\nfn a() {{ {code} }}\n");
        assert_caught(&[("harness/src/a.rs", &text)], "knows a driver's name");
        assert_tidy(&[("drivers/all/src/a.rs", &text)]);
    }
    let fine = "//! A.\n/// Not for \"vfs\".\nfn a() { mount(\"overlay\"); }\n\
                #[cfg(test)]\nmod tests {\n    const A: &str = \"vfs\";\n}\n";
    assert_tidy(&[("core/driver/src/a.rs", fine)]);
}

#[test]
fn cases_are_listed_and_named_truly() {
    let case = ("harness/src/cases/prepare_twice.rs", "//! C.\n");
    let list = ("harness/src/cases/mod.rs", "//! L.\nmod prepare_twice;\n");
    assert_tidy(&[case, list]);
    assert_caught(
        &[case, ("harness/src/cases/mod.rs", "//! prepare_twice\n")],
        "not listed",
    );

    let bullet =
        |end: &str| format!("//! D.\n/// # Behaviour\n/// - A key in use\n///   fails. {end}\n");
    let contract = "core/driver/src/driver.rs";
    assert_tidy(&[case, list, (contract, &bullet("(`prepare_twice`)"))]);
    assert_tidy(&[(contract, &bullet("(`not_written_yet`)"))]);
    assert_caught(
        &[case, list, (contract, &bullet("(`other`)"))],
        "no case is named `other`",
    );
    assert_caught(&[(contract, &bullet(""))], "does not end with the case");

    let table = |cell: &str| format!("| Upstream check | Case |\n|---|---|\n| A | {cell} |\n");
    assert_tidy(&[case, list, ("docs/testing.md", &table("`prepare_twice`"))]);
    assert_caught(
        &[case, list, ("docs/testing.md", &table("`other`"))],
        "no case is named",
    );
    assert_caught(
        &[case, list, ("docs/testing.md", &table("none"))],
        "names no case",
    );
}

#[test]
fn lines_tell_code_from_text() {
    let text =
        "let a = '\"'; // \"c\"\nlet b: &'static str = \"x \\\" y\"; /* \"d\n */ f(b\"z\")\n";
    let lines = lines(text);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].code.trim(), "let a = ' ';");
    assert_eq!(lines[1].literals.len(), 1);
    assert_eq!(lines[1].literals[0].1, "x \\\" y");
    assert_eq!(lines[2].literals[0].1, "z");
}
