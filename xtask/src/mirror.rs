//! Where this host gets its Debian packages from.

use std::path::Path;
use xshell::{Shell, cmd};

/// The suite that the root file system and the chroot are made of.
pub(crate) const SUITE: &str = "bookworm";

/// Where Debian itself points everybody, for hosts that are no Debian.
const EVERYBODYS: &str = "http://deb.debian.org/debian";

/// The mirror that this host's own apt uses for [`SUITE`], or for another suite of Debian, or else
/// the one for everybody.
pub(crate) fn mirror() -> String {
    choose(&sources(Path::new("/etc/apt")))
}

/// The proxy that this host's apt is told to use, if any.
pub(crate) fn proxy(sh: &Shell) -> Option<String> {
    let printed = cmd!(sh, "apt-config shell PROXY Acquire::http::Proxy")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()?;
    let proxy = printed.strip_prefix("PROXY='")?.strip_suffix('\'')?;
    (!proxy.is_empty() && proxy != "DIRECT").then(|| proxy.to_owned())
}

#[derive(Debug, PartialEq, Eq)]
struct Source {
    address: String,
    suites: Vec<String>,
    components: Vec<String>,
}

fn sources(apt: &Path) -> Vec<Source> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = fs_err::read_dir(apt.join("sources.list.d")) {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs_err::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(one_line)),
            Some("sources") => found.extend(text.split("\n\n").flat_map(stanza)),
            _ => {}
        }
    }
    found
}

/// `deb [options] address suite component...`, see sources.list(5).
fn one_line(line: &str) -> Option<Source> {
    let rest = line
        .trim()
        .strip_prefix("deb")?
        .strip_prefix([' ', '\t'])?
        .trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        address: words.next()?,
        suites: vec![words.next()?],
        components: words.take_while(|word| !word.starts_with('#')).collect(),
    })
}

/// One paragraph of a deb822 file, see sources.list(5); one source per address.
fn stanza(paragraph: &str) -> Vec<Source> {
    let field = |name: &str| -> Vec<String> {
        let lines = paragraph.lines().filter(|line| !line.starts_with('#'));
        let mut values = Vec::new();
        let mut inside = false;
        for line in lines {
            let value = if line.starts_with([' ', '\t']) {
                inside.then_some(line)
            } else {
                let split = line.split_once(':');
                inside = split.is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
                split.filter(|_| inside).map(|(_, value)| value)
            };
            values.extend(
                value
                    .into_iter()
                    .flat_map(str::split_whitespace)
                    .map(str::to_owned),
            );
        }
        values
    };
    let is_disabled = field("Enabled").iter().any(|value| value == "no");
    if is_disabled || !field("Types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let (suites, components) = (field("Suites"), field("Components"));
    field("URIs")
        .into_iter()
        .map(|address| Source {
            address,
            suites: suites.clone(),
            components: components.clone(),
        })
        .collect()
}

fn choose(sources: &[Source]) -> String {
    let is_main = |source: &&Source| source.components.iter().any(|word| word == "main");
    let has_suite = |source: &&Source| source.suites.iter().any(|suite| suite == SUITE);
    // Mirrors hold all suites, and name the archive at the end of the address.
    let is_debian = |source: &&Source| source.address.trim_end_matches('/').ends_with("/debian");
    let main = || sources.iter().filter(is_main);
    main()
        .find(has_suite)
        .or_else(|| main().find(is_debian))
        .map_or_else(|| EVERYBODYS.to_owned(), |source| source.address.clone())
}

#[cfg(test)]
mod tests {
    use super::{EVERYBODYS, choose, one_line, stanza};

    #[test]
    fn choose_takes_the_mirror_of_the_suite() {
        let sources: Vec<_> = [
            "deb http://security.example/debian-security bookworm-security main",
            "# deb http://commented.example/debian bookworm main",
            "deb-src http://source.example/debian bookworm main",
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main # ours",
        ]
        .into_iter()
        .filter_map(one_line)
        .collect();
        assert_eq!(choose(&sources), "http://mirror.example/debian");
    }

    #[test]
    fn choose_reads_deb822_with_comments_and_folded_fields() {
        let sources = stanza(
            "Types: deb\n# an old address\nURIs: http://mirror.example/debian\nSuites:\n bookworm\n \
             bookworm-updates\nComponents: main",
        );
        assert_eq!(choose(&sources), "http://mirror.example/debian");
        assert!(stanza("Types: deb\nURIs: http://m.example/debian\nEnabled: no").is_empty());
    }

    #[test]
    fn choose_passes_over_other_distributions() {
        let sources: Vec<_> = one_line("deb http://archive.example/ubuntu noble main")
            .into_iter()
            .collect();
        assert_eq!(choose(&sources), EVERYBODYS);
    }
}
