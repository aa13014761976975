//! Names that are no names of images, or of a registry that is not there.

use super::ground::complaint;
use crate::support::{Cell, Store, cells};

#[test]
fn names_that_do_not_parse_are_refused_before_anything_is_made() {
    let Some(cell) = cells().into_iter().next() else {
        return;
    };
    let Cell { driver, kind } = cell;
    let store = Store::on(Cell { driver, kind }, kind.least_size());
    let long = "a/".repeat(130) + "a";
    let digest = format!("app@sha256:{}", "a".repeat(64));
    let cases: Vec<(&str, &str)> = vec![
        ("", "invalid reference format"),
        (" ", "invalid reference format"),
        (
            "App",
            "invalid reference format: repository name (library/App) must be lowercase",
        ),
        ("app:", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("app:a b", "invalid reference format"),
        ("app@", "invalid reference format"),
        ("app@sha256:abc", "invalid"),
        ("app@sha512:abc", "invalid"),
        ("../app", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("/app", "invalid reference format"),
        ("http://host/app", "invalid reference format"),
        ("app\x1b[31m", "invalid reference format"),
        (
            &long,
            "repository name must not be more than 255 characters",
        ),
    ];
    for (name, expected) in cases {
        let (error, _) = complaint(&store.run(&["pull", name]));
        assert!(error.contains(expected), "{name:?}: {error}");
    }
    let output = store.run(&["pull", "-a", &digest]);
    let (error, _) = complaint(&output);
    assert_eq!(error, "tag can't be used with --all-tags/-a");
}

#[test]
fn a_registry_that_is_not_there_is_told_once_with_the_way_out() {
    let Some(cell) = cells().into_iter().next() else {
        return;
    };
    let Cell { driver, kind } = cell;
    let store = Store::on(Cell { driver, kind }, kind.least_size());
    let host = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (error, hint) = complaint(&store.run(&["pull", &format!("{host}/app")]));
    assert_eq!(
        error,
        format!("Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused")
    );
    let way_out = format!("is a registry running at {host}, and is the name right?");
    assert_eq!(hint, Some(way_out));
}
