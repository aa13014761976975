//! The list is sorted and whole, and documents name cases that exist.

use super::ALL;
use std::path::Path;

fn exists(name: &str) -> bool {
    ALL.iter().any(|case| case.name == name)
}

fn read(path: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs_err::read_to_string(workspace.join(path)).unwrap()
}

#[test]
fn cases_are_sorted_and_unique() {
    let names: Vec<_> = ALL.iter().map(|case| case.name).collect();
    assert!(names.is_sorted_by(|one, two| one < two), "{names:?}");
}

#[test]
fn every_case_that_the_contract_names_exists() {
    for file in ["driver", "capability", "factory"] {
        let text = read(&format!("core/driver/src/{file}.rs"));
        let mut named = 0;
        for part in text.split("(`").skip(1) {
            let name = part.split("`)").next().unwrap();
            if name
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '_')
            {
                assert!(exists(name), "core/driver/src/{file}.rs names `{name}`");
                named += 1;
            }
        }
        assert!(named > 0, "{file} names no case");
    }
}

#[test]
fn every_constant_is_listed() {
    let mut declared = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cases")];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs_err::read_to_string(path).unwrap();
                declared += text.matches(concat!(": Case = ", "Case {")).count();
            }
        }
    }
    assert_eq!(declared, ALL.len());
}
