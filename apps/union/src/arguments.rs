//! The command line: mount(8)'s for its helpers, and a little more.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

pub(crate) const USAGE: &str = "\
usage: strata-union [-f] [-d] SOURCE TARGET -o OPTIONS
       strata-union control TARGET REQUEST
       mount -t fuse.strata-union SOURCE TARGET -o OPTIONS

  SOURCE      any word; the mount table shows it
  -o OPTIONS  br=UPPER=rw:LOWER=ro[+wh]..., or lowerdir=LOWER:...,upperdir=UPPER,workdir=WORK
  -f          serve in the foreground
  -d          the same, and log much
  REQUEST     pid | branches | add:INDEX:PATH=PERMISSION | append:PATH=PERMISSION
              | prepend:PATH=PERMISSION | del:PATH | mod:PATH=PERMISSION
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) action: Action,
    /// What stood after `-o`, joined by commas.
    pub(crate) options: OsString,
    pub(crate) foreground: bool,
    pub(crate) debug: bool,
    /// Look at the options and mount nothing, `-f` of mount(8).
    pub(crate) fake: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Mount {
        source: OsString,
        target: PathBuf,
    },
    /// Serve, and give the mount away on this descriptor.
    Serve {
        handover: i32,
    },
    Control {
        target: PathBuf,
        request: String,
    },
    /// Help or version.
    Tell(String),
}

/// Reads all arguments, the program's name first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    let is_helper = name.as_bytes().starts_with(b"mount.");

    let mut found = Arguments {
        action: Action::Tell(String::new()),
        options: OsString::new(),
        foreground: false,
        debug: false,
        fake: false,
    };
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = |of: &str| {
            arguments
                .next()
                .ok_or_else(|| format!("`{of}` takes a value"))
        };
        match argument.to_str() {
            Some("-o") => {
                if !found.options.is_empty() {
                    found.options.push(",");
                }
                found.options.push(value("-o")?);
            }
            // The type, and the namespace that mount(8) has entered already.
            Some(flag @ ("-t" | "-N")) => drop(value(flag)?),
            Some("-f") if is_helper => found.fake = true,
            Some("-f") => found.foreground = true,
            Some("-d") => (found.foreground, found.debug) = (true, true),
            // Sloppy, no mtab, verbose.
            Some("-s" | "-n" | "-v") => {}
            Some("-h" | "--help") => found.action = Action::Tell(USAGE.to_owned()),
            Some("-V" | "--version") => {
                let version = concat!("strata-union ", env!("CARGO_PKG_VERSION"), "\n");
                found.action = Action::Tell(version.to_owned());
            }
            Some(flag) if flag.starts_with("--handover=") => {
                let number = flag["--handover=".len()..].parse();
                let handover = number.map_err(|_| format!("`{flag}` is no descriptor"))?;
                found.action = Action::Serve { handover };
            }
            Some(flag) if flag.starts_with('-') && flag != "-" => {
                return Err(format!("unknown argument `{flag}`"));
            }
            _ => words.push(argument),
        }
    }
    match <[OsString; 3]>::try_from(words) {
        Ok([word, target, request]) if word == OsStr::new("control") => {
            let request = request
                .into_string()
                .map_err(|_| "the request is not UTF-8")?;
            let target = target.into();
            found.action = Action::Control { target, request };
        }
        Ok(_) => return Err("too many arguments".to_owned()),
        Err(words) => match <[OsString; 2]>::try_from(words) {
            Ok([source, target]) => {
                let target = target.into();
                found.action = Action::Mount { source, target };
            }
            Err(words) if words.is_empty() && found.action != Action::Tell(String::new()) => {}
            Err(_) => return Err("a source and a target are wanted".to_owned()),
        },
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        parse(line.split(' ').map(OsString::from))
    }

    fn mount(source: &str, target: &str) -> Action {
        Action::Mount {
            source: source.into(),
            target: target.into(),
        }
    }

    #[test]
    fn helpers_and_hands_mean_other_things_by_f() {
        let by_hand = read("/usr/bin/strata-union -f none /mnt -o br=/a -o ro").unwrap();
        assert_eq!(by_hand.action, mount("none", "/mnt"));
        assert_eq!(by_hand.options, "br=/a,ro");
        assert!(by_hand.foreground && !by_hand.fake && !by_hand.debug);
        let line = "/sbin/mount.fuse.strata-union none /mnt -s -f -n -v -o rw,br=/a -t fuse.x";
        let helper = read(line).unwrap();
        assert_eq!(helper.action, mount("none", "/mnt"));
        assert!(helper.fake && !helper.foreground);
        let debug = read("strata-union none /mnt -d").unwrap();
        assert!(debug.foreground && debug.debug);
    }

    #[test]
    fn other_actions_are_told_apart() {
        let action = |line| read(line).unwrap().action;
        assert_eq!(action("u --handover=0"), Action::Serve { handover: 0 });
        let control = Action::Control {
            target: "/mnt".into(),
            request: "del:/a".into(),
        };
        assert_eq!(action("u control /mnt del:/a"), control);
        assert!(matches!(action("u --help"), Action::Tell(text) if text == USAGE));
    }

    #[test]
    fn wrong_lines_are_refused_in_words() {
        for (line, said) in [
            ("u", "wanted"),
            ("u none", "wanted"),
            ("u a b c", "too many"),
            ("u a b c d", "wanted"),
            ("u a b -o", "takes a value"),
            ("u a b --quux", "`--quux`"),
            ("u --handover=x", "no descriptor"),
        ] {
            let reason = read(line).unwrap_err();
            assert!(reason.contains(said), "{line}: {reason}");
        }
    }
}
