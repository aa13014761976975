//! `strata verify`: drivers against the conformance suite, also in a user namespace.

use crate::config::Settings;
use crate::flags::VerifyFlags;
use anyhow::{Context as _, bail};
use rustix::fs::{CWD, Gid, Mode, Uid};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;
use strata_driver::{DriverFactory, Registry};
use strata_harness::case::Check;
use strata_harness::conformance::{self, Options, Place, Progress};
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_harness::interrupt;
use strata_harness::model::text::parse_script;
use strata_harness::seed::Seed;
use strata_harness::trial::{Extent, session};
use strata_sys::namespace::{IdMap, IdMaps, is_chrooted, spawn_in_user_namespace};

/// Ids that a user namespace gets when root makes it: a range of the usual size, away from
/// those of people.
const SUBORDINATES: IdMap = IdMap {
    inside: 0,
    outside: 1_000_000,
    count: 65_536,
};
/// Bytes of the file system for the rootless suite; sparse.
const ROOTLESS_SIZE: u64 = 4 << 30;

/// If this process is one that the suite starts to kill it, does that work.
pub(crate) fn child() -> Option<ExitCode> {
    conformance::child(strata_drivers::registry().factories())
}

pub(crate) fn run(
    flags: &VerifyFlags,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<ExitCode> {
    if flags.list {
        let mut out = std::io::stdout().lock();
        for check in Check::all(&settings.file.workloads) {
            writeln!(out, "{}", check.name())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if flags.rootless {
        return rootless(flags, settings);
    }
    let factories = selected(flags, settings, registry)?;
    if flags.cross {
        return cross(flags, &factories);
    }
    if flags.cases.is_some() || flags.seconds.is_some() || !flags.replay.is_empty() {
        return trial(flags, settings, &factories);
    }
    let mut options = Options::new();
    options.require.clone_from(&flags.require);
    options.filter.clone_from(&flags.filter);
    options.place = place(flags)?;
    if let Some(seed) = flags.seed {
        options.seed = Seed(seed);
    }
    options.junit.clone_from(&flags.junit);
    options.json.clone_from(&flags.json);
    options.progress = if flags.quiet {
        Progress::Quiet
    } else {
        Progress::Lines
    };
    options.child = Some(std::env::current_exe()?);
    options.workloads.clone_from(&settings.file.workloads);
    options.settings = given(settings);
    if let Some(filter) = &options.filter
        && !Check::all(&options.workloads).any(|check| check.name().contains(filter.as_str()))
    {
        bail!("no case's name holds `{filter}`; `strata verify --list` lists them");
    }
    let summary = conformance::run(&factories, &options)?;
    Ok(summary.exit_code())
}

fn place(flags: &VerifyFlags) -> anyhow::Result<Place> {
    Ok(match &flags.directory {
        Some(directory) => Place::Directory(directory.clone()),
        None => Place::FileSystem(flags.file_system.parse::<FileSystemKind>()?),
    })
}

/// The options of the driver that is named.
fn given(settings: &Settings) -> BTreeMap<String, String> {
    let named = settings.driver.iter();
    named
        .filter_map(|driver| settings.options.get(&driver.value))
        .flatten()
        .map(|(key, setting)| (key.clone(), setting.value.clone()))
        .collect()
}

/// Random scripts, and those of files, against the model.
fn trial(
    flags: &VerifyFlags,
    settings: &Settings,
    factories: &[Arc<dyn DriverFactory>],
) -> anyhow::Result<ExitCode> {
    let mut options = session::Options::new(place(flags)?);
    options.extent = match (flags.cases, flags.seconds) {
        (Some(cases), _) => Some(Extent::Cases(cases)),
        (None, Some(seconds)) => Some(Extent::Time(Duration::from_secs(seconds))),
        (None, None) => None,
    };
    for path in &flags.replay {
        let text = fs_err::read_to_string(path)?;
        let script = parse_script(&text).with_context(|| format!("`{}`", path.display()))?;
        options.replays.push((path.display().to_string(), script));
    }
    options.require.clone_from(&flags.require);
    if let Some(seed) = flags.seed {
        options.seed = Seed(seed);
    }
    options.settings = given(settings);
    options.scripts = Some("strata-verify".into());
    options.junit.clone_from(&flags.junit);
    options.json.clone_from(&flags.json);
    if flags.quiet {
        options.progress = Progress::Quiet;
    }
    Ok(session::run(factories, &options)?.exit_code())
}

/// One script on every driver and file system: the same layers everywhere.
fn cross(flags: &VerifyFlags, factories: &[Arc<dyn DriverFactory>]) -> anyhow::Result<ExitCode> {
    let kinds = [
        FileSystemKind::Ext4,
        FileSystemKind::Xfs,
        FileSystemKind::Btrfs,
    ];
    let seed = flags.seed.map_or_else(Seed::default, Seed);
    let report = strata_harness::cross::same_diffs(factories, &kinds, seed)?;
    std::io::stdout()
        .lock()
        .write_all(report.render().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The driver that is named, those that are required, or all.
fn selected(
    flags: &VerifyFlags,
    settings: &Settings,
    registry: &Registry,
) -> anyhow::Result<Vec<Arc<dyn DriverFactory>>> {
    let named = settings
        .driver
        .iter()
        .map(|driver| &driver.value)
        .chain(&flags.require);
    let mut chosen: Vec<Arc<dyn DriverFactory>> = Vec::new();
    for name in named {
        let factory = registry.get(name)?;
        if !chosen.iter().any(|known| known.name() == factory.name()) {
            chosen.push(Arc::clone(factory));
        }
    }
    if chosen.is_empty() {
        chosen.extend(registry.factories().iter().cloned());
    }
    Ok(chosen)
}

/// Runs the suite in a child that is root of a user namespace only.
fn rootless(flags: &VerifyFlags, settings: &Settings) -> anyhow::Result<ExitCode> {
    let root = rustix::process::geteuid().is_root();
    if is_chrooted() {
        bail!("the kernel makes no user namespace in a chroot; run this outside of it");
    }
    // The file system is made out here: a user namespace has no loop devices.
    let fixture = match (&flags.directory, root) {
        (Some(directory), _) => Fixture::directory_in(directory)?,
        (None, true) => {
            Fixture::file_system(flags.file_system.parse::<FileSystemKind>()?, ROOTLESS_SIZE)?
        }
        (None, false) => Fixture::directory()?,
    };
    let place = fixture.path().join("rootless");
    rustix::fs::mkdir(&place, Mode::from_raw_mode(0o755))
        .with_context(|| format!("`{}`", place.display()))?;
    let maps = if root {
        rustix::fs::chownat(
            CWD,
            &place,
            Some(Uid::from_raw(SUBORDINATES.outside)),
            Some(Gid::from_raw(SUBORDINATES.outside)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        open_the_way(&place)?;
        IdMaps {
            users: vec![SUBORDINATES],
            groups: vec![SUBORDINATES],
        }
    } else {
        let user = std::env::var("USER").unwrap_or_default();
        IdMaps::with_subordinates(&user)?
    };
    let mut command = inner(flags, settings, &place)?;
    if let Some(file) = &settings.file_path {
        // A copy, since the namespace's root may not be allowed to read the file itself.
        let copy = fixture.path().join("config.yaml");
        fs_err::copy(file, &copy)?;
        rustix::fs::chmod(&copy, Mode::from_raw_mode(0o644))?;
        command.arg("--config").arg(copy);
    }
    let status = attended(spawn_in_user_namespace(command, &maps)?);
    fixture.close()?;
    match status.context("the suite in the user namespace")?.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        None => bail!("the suite in the user namespace was killed"),
    }
}

/// Waits for the suite, and passes an interrupt on to it: it takes away what it made, and then
/// what was made for it goes.
fn attended(mut suite: Child) -> anyhow::Result<ExitStatus> {
    let runtime = crate::opening::runtime()?;
    interrupt::listen(&runtime);
    let mut told = false;
    loop {
        if let Some(status) = suite.try_wait()? {
            return Ok(status);
        }
        if interrupt::interrupted() && !told {
            told = true;
            let pid = rustix::process::Pid::from_child(&suite);
            match rustix::process::kill_process(pid, rustix::process::Signal::INT) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(errno).context("interrupt the suite"),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets the namespace's root pass through the directories above `place`, which are ours.
fn open_the_way(place: &Path) -> anyhow::Result<()> {
    for directory in place.ancestors().skip(1) {
        let stat = rustix::fs::stat(directory)?;
        if stat.st_mode & 0o001 != 0 {
            continue;
        }
        let ours = directory
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("strata-"))
            || directory
                .parent()
                .and_then(Path::file_name)
                .is_some_and(|name| name.to_string_lossy().starts_with("strata-"));
        if !ours {
            bail!(
                "`{}` lets no other user pass; choose another scratch place",
                directory.display()
            );
        }
        rustix::fs::chmod(
            directory,
            Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o011),
        )?;
    }
    Ok(())
}

/// The same command for the inside: on a directory, and no further namespace.
fn inner(
    flags: &VerifyFlags,
    settings: &Settings,
    place: &Path,
) -> anyhow::Result<std::process::Command> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("verify").arg("--directory").arg(place);
    if let Some(driver) = &settings.driver {
        command.arg("--driver").arg(&driver.value);
        for (key, setting) in settings.options.get(&driver.value).into_iter().flatten() {
            command.arg("-o").arg(format!("{key}={}", setting.value));
        }
    }
    if !flags.require.is_empty() {
        command.arg("--require").arg(flags.require.join(","));
    }
    if let Some(filter) = &flags.filter {
        command.arg("--filter").arg(filter);
    }
    if let Some(seed) = flags.seed {
        command.arg("--seed").arg(seed.to_string());
    }
    if flags.quiet {
        command.arg("--quiet");
    }
    Ok(command)
}
