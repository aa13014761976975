//! Steps in the words of mount(2): one comma-separated text of less than a page.

use super::build::{BIND, LOWER};
use super::daemon;
use crate::plan::MountStep;
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use strata_sys::SysError;
use strata_sys::mount::{MountClassic, MountFlags, UnmountFlags, mount_classic};
use strata_sys::namespace;

/// The option key that adds one data-only layer below all lower ones.
const DATA: &str = "datadir+";
/// Options whose values are one path, in which overlay takes a backslash for an escape.
const PATH_KEYS: [&str; 2] = ["upperdir", "workdir"];
const OVERLAY: &str = "overlay";

/// What mount(2), mount(8) and containerd take for a step.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ClassicMount {
    /// File system type, or `bind`.
    pub fs_type: String,
    /// The source; the type's name where it has none.
    pub source: PathBuf,
    /// Options as they stand between commas, escaped; `bind`, `ro` and `rw` among them.
    pub options: Vec<String>,
}

impl ClassicMount {
    /// The options as one text, as `mount -o` takes them.
    pub fn option_text(&self) -> String {
        self.options.join(",")
    }
}

pub(super) fn of_step(step: &MountStep) -> ClassicMount {
    let mut options = Vec::new();
    let access = if step.flags.read_only { "ro" } else { "rw" };
    if step.fs_type == BIND {
        options.push(BIND.to_owned());
        options.push(access.to_owned());
    } else if step.flags.read_only && !step.options.iter().any(|option| option.key == "ro") {
        options.push(access.to_owned());
    }
    options.extend(data(step, ToOwned::to_owned));
    let source = if step.source.as_os_str().is_empty() {
        PathBuf::from(&step.fs_type)
    } else {
        step.source.clone()
    };
    ClassicMount {
        fs_type: step.fs_type.clone(),
        source,
        options,
    }
}

/// The options that go into the data of mount(2), paths as `shown` gives them.
fn data(step: &MountStep, shown: impl Fn(&str) -> String) -> Vec<String> {
    // A daemon reads its options as overlay's are read, with escapes in all values.
    let served = daemon::subtype(&step.fs_type).is_some();
    let overlay = step.fs_type == OVERLAY || served;
    let mut options = Vec::new();
    let layers = |wanted: &str| {
        let values = step.options.iter().filter(|option| option.key == wanted);
        values
            .filter_map(|option| option.value.as_deref())
            .map(|path| escaped(&shown(path), &['\\', ':', ',']))
            .collect::<Vec<_>>()
    };
    if overlay {
        let (lowers, datas) = (layers(LOWER), layers(DATA));
        if !lowers.is_empty() {
            let layers: Vec<_> = [lowers.join(":")].into_iter().chain(datas).collect();
            options.push(format!("lowerdir={}", layers.join("::")));
        }
    }
    for option in &step.options {
        match &option.value {
            None => options.push(option.key.clone()),
            Some(_) if overlay && (option.key == LOWER || option.key == DATA) => {}
            Some(path) if overlay && PATH_KEYS.contains(&option.key.as_str()) => {
                options.push(format!(
                    "{}={}",
                    option.key,
                    escaped(&shown(path), &['\\', ','])
                ));
            }
            Some(value) if served => {
                options.push(format!("{}={}", option.key, escaped(value, &['\\', ','])));
            }
            Some(value) => options.push(format!("{}={value}", option.key)),
        }
    }
    options
}

/// Whether `step` is an overlay whose paths need no escape.
pub(super) fn is_plain(step: &MountStep) -> bool {
    let is_plain = |value: &String| !value.contains(['\\', ':', ',']);
    let mut values = step
        .options
        .iter()
        .filter_map(|option| option.value.as_ref());
    step.fs_type == OVERLAY && values.all(is_plain)
}

fn escaped(path: &str, special: &[char]) -> String {
    let mut text = String::with_capacity(path.len());
    for letter in path.chars() {
        if special.contains(&letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Mounts `step` with mount(2). Paths that do not fit into a page are given relative to the
/// directory that they share.
pub(super) fn mount(step: &MountStep, target: &Path) -> Result<(), SysError> {
    let classic = of_step(step);
    let mut flags = MountFlags::empty();
    flags.set(
        MountFlags::RDONLY,
        classic.options.iter().any(|option| option == "ro"),
    );
    if step.fs_type == BIND {
        return bind(&step.source, target, flags);
    }
    if step.is_remount() {
        let data = data(step, ToOwned::to_owned).split_off(1).join(",");
        return rustix::mount::mount_remount(target, flags, data.as_str())
            .map_err(|errno| SysError::new("mount(MS_REMOUNT)", errno, target.display()));
    }
    let call = |options: &[String]| {
        let data = options
            .iter()
            .filter(|option| !["ro", "rw"].contains(&option.as_str()))
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",");
        mount_classic(&MountClassic {
            source: classic.source.as_os_str(),
            target,
            fstype: &step.fs_type,
            flags,
            data: data.as_ref(),
        })
    };
    if classic.option_text().len() < rustix::param::page_size() {
        return call(&classic.options);
    }
    let Some(shared) = shared_parent(step) else {
        return call(&classic.options);
    };
    let prefix = shared.to_string_lossy().into_owned();
    let short = data(step, |path| {
        let rest = path.strip_prefix(&prefix).unwrap_or(path);
        rest.trim_start_matches('/').to_owned()
    });
    let directory = rustix::fs::open(&shared, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", errno, shared.display()))?;
    namespace::run_in_directory(&directory, || call(&short))?
}

/// mount(2): a bind mount takes its attributes in a second call.
fn bind(source: &Path, target: &Path, flags: MountFlags) -> Result<(), SysError> {
    mount_classic(&MountClassic {
        source: source.as_os_str(),
        target,
        fstype: "",
        flags: MountFlags::BIND,
        data: "".as_ref(),
    })?;
    if flags.is_empty() {
        return Ok(());
    }
    let made = rustix::mount::mount_remount(target, MountFlags::BIND | flags, "")
        .map_err(|errno| SysError::new("mount(MS_REMOUNT)", errno, target.display()));
    if made.is_err() {
        strata_sys::mount::unmount(target, UnmountFlags::DETACH)?;
    }
    made
}

/// The deepest directory that is above all of overlay's paths.
fn shared_parent(step: &MountStep) -> Option<PathBuf> {
    let paths = step.options.iter().filter(|option| {
        [LOWER, DATA].contains(&option.key.as_str()) || PATH_KEYS.contains(&option.key.as_str())
    });
    let mut parents = paths.filter_map(|option| Path::new(option.value.as_deref()?).parent());
    let mut shared = parents.next()?;
    for parent in parents {
        while !parent.starts_with(shared) {
            shared = shared.parent()?;
        }
    }
    Some(shared.to_owned())
}
