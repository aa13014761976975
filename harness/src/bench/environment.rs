//! Where a run was made: what a reader needs to trust its figures or to repeat them.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use strata_driver::Host;

/// Facts of the host and of the scratch place, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Environment(BTreeMap<String, String>);

/// Facts that change from run to run: shown, but no part of the fingerprint. The scratch directory
/// has a name of its own in each run; what it lies on is a fact of its own.
pub(crate) const FLEETING: &[&str] = &[
    "load",
    "memory-available",
    "scratch-free",
    "boot-id",
    "scratch",
];

fn text(path: impl AsRef<Path>) -> Option<String> {
    let text = fs_err::read_to_string(path.as_ref()).ok()?;
    Some(text.trim().to_owned())
}

fn line_value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl Environment {
    /// Reads what this host tells. What it does not tell is left out.
    pub fn capture(scratch: &Path) -> Self {
        let mut facts = Self::default();
        let host = Host::probe();
        facts.add("kernel", host.kernel.clone());
        facts.add("boot-id", host.boot_id.clone());
        facts.add_some("cmdline", text("/proc/cmdline"));
        facts.add_some("load", text("/proc/loadavg"));
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        facts.add("processors", processors.to_string());
        if let Some(cpuinfo) = text("/proc/cpuinfo") {
            facts.add_some("processor", line_value(&cpuinfo, "model name"));
            let virtual_machine = cpuinfo.contains(" hypervisor");
            facts.add("virtual-machine", virtual_machine.to_string());
        }
        if let Some(memory) = text("/proc/meminfo") {
            facts.add_some("memory", line_value(&memory, "MemTotal"));
            facts.add_some("memory-available", line_value(&memory, "MemAvailable"));
        }
        let governor = text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        facts.add("governor", governor.unwrap_or_else(|| "n/a".into()));
        for name in [
            "dirty_ratio",
            "dirty_background_ratio",
            "dirty_bytes",
            "dirty_background_bytes",
            "dirty_expire_centisecs",
            "dirty_writeback_centisecs",
            "swappiness",
        ] {
            facts.add_some(name, text(format!("/proc/sys/vm/{name}")));
        }
        facts.add("scratch", scratch.display().to_string());
        if let Ok(kind) = Host::file_system_of(scratch) {
            facts.add("scratch-file-system", kind);
        }
        if let Ok(room) = rustix::fs::statvfs(scratch) {
            let free = room.f_bavail * room.f_frsize / (1 << 20);
            facts.add("scratch-free", format!("{free} MiB"));
        }
        if let Ok(found) = rustix::fs::stat(scratch) {
            facts.add_device(found.st_dev);
        }
        facts.add("bench", env!("CARGO_PKG_VERSION"));
        facts.add(
            "build",
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        );
        facts
    }

    fn add_device(&mut self, device: u64) {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let Ok(block) = fs_err::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
            return; // memory has no device
        };
        for holder in [Some(block.as_path()), block.parent()]
            .into_iter()
            .flatten()
        {
            for (name, file) in [
                ("device-rotational", "queue/rotational"),
                ("device-scheduler", "queue/scheduler"),
                ("device-write-cache", "queue/write_cache"),
                ("device-model", "device/model"),
            ] {
                self.add_some(name, text(holder.join(file)));
            }
        }
    }

    /// Adds a fact.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    fn add_some(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(name, value);
        }
    }

    /// Adds the kernel's parameters of a file system type that is in use.
    pub fn add_module(&mut self, fs_type: &str) {
        let Ok(parameters) = fs_err::read_dir(format!("/sys/module/{fs_type}/parameters")) else {
            return; // built in without parameters, or no module
        };
        for parameter in parameters.flatten() {
            let name = parameter.file_name().to_string_lossy().into_owned();
            self.add_some(&format!("{fs_type}.{name}"), text(parameter.path()));
        }
    }

    /// One fact.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All facts in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A digest of what does not change from run to run: equal for runs that can be compared.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in self.iter().filter(|(name, _)| !FLEETING.contains(name)) {
            hash.update(format!("{name}={value}\n"));
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_ignores_load_and_heeds_the_kernel() {
        let mut one = Environment::capture(Path::new("/tmp"));
        let first = one.fingerprint();
        one.add("load", "99");
        assert_eq!(one.fingerprint(), first);
        one.add("kernel", "0.0");
        assert_ne!(one.fingerprint(), first);
        assert!(one.get("processors").is_some());
    }
}
