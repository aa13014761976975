//! References as people write them.

use crate::docker::names::Familiar;

#[test]
fn names_lose_what_goes_without_saying() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (text, shown) in [
        ("ubuntu:16.04", "ubuntu:16.04"),
        ("docker.io/library/ubuntu:16.04", "ubuntu:16.04"),
        ("index.docker.io/library/ubuntu", "ubuntu"),
        ("docker.io/team/app", "team/app"),
        ("docker.io/library/a/b:1", "library/a/b:1"),
        ("localhost:5000/a/b:1.0", "localhost:5000/a/b:1.0"),
        ("localhost/a", "localhost/a"),
        ("example.com/library/a:1", "example.com/library/a:1"),
        ("a__b/c-----d.e_f:X-1._", "a__b/c-----d.e_f:X-1._"),
        ("EXAMPLE.com/a:1", "EXAMPLE.com/a:1"),
        ("foo.bar_baz/x:1", "foo.bar_baz/x:1"),
        (&*format!("a:1@{digest}"), &*format!("a:1@{digest}")),
        (&*format!("a@{digest}"), &*format!("a@{digest}")),
    ] {
        let parsed = Familiar::parse(text);
        assert_eq!(
            parsed.map(|name| name.to_string()).as_deref(),
            Some(shown),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_reference_is_refused() {
    let id = "0".repeat(64);
    let long = "a".repeat(300);
    for text in [
        "",
        ":1",
        "a:",
        "a:-1",
        "A/b",
        "a//b",
        "a___b",
        "a..b",
        "-a",
        "a-",
        "a@sha256:1",
        "a@md5:00000000000000000000000000000000",
        "<none>:<none>",
        "exa$mple.com/a",
        "a b",
        &id,
        &long,
    ] {
        assert_eq!(Familiar::parse(text), None, "{text}");
    }
}
