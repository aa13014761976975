//! Configuration: flag before environment before file before default, and where each came from.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strata_driver::{Durability, Registry};
use strata_harness::workload::UserWorkload;

/// The file that is read when it exists and no other is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/strata/config.yaml";
/// Where snapshots go when nothing says otherwise.
pub(crate) const DEFAULT_ROOT: &str = "/var/lib/strata";

/// A configuration file, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    root: Option<PathBuf>,
    driver: Option<String>,
    durability: Option<Durability>,
    #[serde(default)]
    drivers: Unique<Unique<Scalar>>,
    #[serde(default)]
    pub(crate) bench: BenchFile,
    #[serde(default)]
    pub(crate) registries: RegistriesFile,
    #[serde(default)]
    pub(crate) workloads: Vec<UserWorkload>,
}

/// How registries are reached.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistriesFile {
    /// The one that a search asks that names none.
    pub(crate) default: Option<String>,
    /// Those that may be reached without TLS; loopback always may.
    #[serde(default)]
    pub(crate) insecure: Vec<String>,
    /// By registry, others that are asked before it.
    #[serde(default)]
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    /// Seconds of silence after which a request is given up.
    pub(crate) timeout: Option<u64>,
    /// Attempts in all.
    pub(crate) attempts: Option<u32>,
}

/// Defaults for `strata bench`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BenchFile {
    pub(crate) profile: Option<String>,
    pub(crate) blocks: Option<u32>,
    pub(crate) seed: Option<u64>,
    pub(crate) cells: Option<Vec<String>>,
    pub(crate) output: Option<PathBuf>,
}

/// A scalar as text, so that `index: off` and `index: "off"` mean the same.
#[derive(Debug)]
pub(crate) struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_yaml::Value::deserialize(from)? {
            serde_yaml::Value::String(text) => Ok(Self(text)),
            serde_yaml::Value::Number(number) => Ok(Self(number.to_string())),
            // YAML 1.1 readers take bare on and off for booleans; the options are spelled so.
            serde_yaml::Value::Bool(true) => Ok(Self("on".into())),
            serde_yaml::Value::Bool(false) => Ok(Self("off".into())),
            _ => Err(serde::de::Error::custom(
                "an option's value is a single word or number",
            )),
        }
    }
}

/// A mapping that refuses a key given twice.
#[derive(Debug)]
pub(crate) struct Unique<T>(BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = Unique<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if found.insert(key.clone(), value).is_some() {
                        return Err(serde::de::Error::custom(format!("duplicate key `{key}`")));
                    }
                }
                Ok(Unique(found))
            }
        }
        from.deserialize_map(Visit(std::marker::PhantomData))
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Environment(&'static str),
    File(PathBuf),
    Root,
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Root => f.write_str("what the root already holds"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Setting<T> {
    /// The same with its value read or checked; an error says where the value came from, by the
    /// `key` that it has in the file.
    pub(crate) fn read<U>(
        self,
        key: &str,
        read: impl FnOnce(T) -> anyhow::Result<U>,
    ) -> anyhow::Result<Setting<U>> {
        let origin = self.origin;
        let value = match &origin {
            Origin::File(path) => read(self.value)
                .with_context(|| format!("configuration `{}`: {key}", path.display())),
            Origin::Flag(flag) => read(self.value).with_context(|| format!("`{flag}`")),
            Origin::Environment(_) | Origin::Root | Origin::Default => read(self.value),
        };
        value.map(|value| Setting { value, origin })
    }
}

/// What holds for this run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) root: Setting<PathBuf>,
    pub(crate) driver: Option<Setting<String>>,
    pub(crate) durability: Setting<Durability>,
    /// Options per driver, and per option its origin.
    pub(crate) options: BTreeMap<String, BTreeMap<String, Setting<String>>>,
    pub(crate) file: File,
    pub(crate) file_path: Option<PathBuf>,
}

/// What the command line says of the same things.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) config: Option<PathBuf>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) driver: Option<String>,
    pub(crate) durability: Option<Durability>,
    pub(crate) options: Vec<String>,
}

impl Settings {
    /// What a flag gives, else the file, else the default.
    pub(crate) fn first<T>(
        &self,
        (flag, given): (&'static str, Option<T>),
        in_file: Option<T>,
        default: T,
    ) -> Setting<T> {
        let path = || self.file_path.clone().unwrap_or_default();
        first([
            given.map(|value| (value, Origin::Flag(flag))),
            in_file.map(|value| (value, Origin::File(path()))),
        ])
        .unwrap_or(Setting {
            value: default,
            origin: Origin::Default,
        })
    }

    /// Puts flags, environment and file together; refuses unknown drivers and options.
    pub(crate) fn load(given: Given, registry: &Registry) -> anyhow::Result<Self> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = given
            .config
            .clone()
            .or_else(|| environment("STRATA_CONFIG").map(PathBuf::from));
        let (file, file_path) = match named {
            Some(path) => (read(&path, registry)?, Some(path)),
            None if Path::new(DEFAULT_FILE).exists() => (
                read(Path::new(DEFAULT_FILE), registry)?,
                Some(PathBuf::from(DEFAULT_FILE)),
            ),
            None => (File::default(), None),
        };
        let from_file = || Origin::File(file_path.clone().unwrap_or_default());

        let root = first([
            given.root.map(|value| (value, Origin::Flag("--root"))),
            environment("STRATA_ROOT").map(|v| (v.into(), Origin::Environment("STRATA_ROOT"))),
            file.root.clone().map(|value| (value, from_file())),
        ])
        .unwrap_or(Setting {
            value: DEFAULT_ROOT.into(),
            origin: Origin::Default,
        });
        let driver = first([
            given.driver.map(|value| (value, Origin::Flag("--driver"))),
            environment("STRATA_DRIVER").map(|v| (v, Origin::Environment("STRATA_DRIVER"))),
            file.driver.clone().map(|value| (value, from_file())),
        ]);
        let durability = first([
            given
                .durability
                .map(|value| (value, Origin::Flag("--durability"))),
            environment("STRATA_DURABILITY")
                .map(|value| parse_durability(&value))
                .transpose()?
                .map(|value| (value, Origin::Environment("STRATA_DURABILITY"))),
            file.durability.map(|value| (value, from_file())),
        ])
        .unwrap_or(Setting {
            value: Durability::default(),
            origin: Origin::Default,
        });

        let mut options: BTreeMap<String, BTreeMap<String, Setting<String>>> = BTreeMap::new();
        for (name, settings) in &file.drivers.0 {
            for (key, Scalar(value)) in &settings.0 {
                let setting = Setting {
                    value: value.clone(),
                    origin: from_file(),
                };
                options
                    .entry(name.clone())
                    .or_default()
                    .insert(key.clone(), setting);
            }
        }
        if let Some(driver) = &driver {
            registry.get(&driver.value)?;
        }
        if !given.options.is_empty() && driver.is_none() {
            bail!("`--option` needs `--driver`, since options belong to one driver");
        }
        for pair in &given.options {
            let Some((key, value)) = pair.split_once('=') else {
                bail!("`--option` takes KEY=VALUE, not `{pair}`");
            };
            let name = driver
                .as_ref()
                .map(|driver| driver.value.clone())
                .unwrap_or_default();
            let setting = Setting {
                value: value.to_owned(),
                origin: Origin::Flag("--option"),
            };
            options
                .entry(name)
                .or_default()
                .insert(key.to_owned(), setting);
        }
        Ok(Self {
            root,
            driver,
            durability,
            options,
            file,
            file_path,
        })
    }
}

fn first<T>(candidates: impl IntoIterator<Item = Option<(T, Origin)>>) -> Option<Setting<T>> {
    candidates
        .into_iter()
        .flatten()
        .next()
        .map(|(value, origin)| Setting { value, origin })
}

/// Reads a durability class by its name.
pub(crate) fn parse_durability(text: &str) -> anyhow::Result<Durability> {
    match text {
        "durable" => Ok(Durability::Durable),
        "volatile" => Ok(Durability::Volatile),
        _ => bail!("no durability class `{text}`; there are `durable` and `volatile`"),
    }
}

fn read(path: &Path, registry: &Registry) -> anyhow::Result<File> {
    let text = fs_err::read_to_string(path).context("the configuration cannot be read")?;
    parse(&text, registry).with_context(|| format!("configuration `{}`", path.display()))
}

fn parse(text: &str, registry: &Registry) -> anyhow::Result<File> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    let file: File = serde_yaml::from_str(text)?;
    for (name, settings) in &file.drivers.0 {
        let factory = registry
            .get(name)
            .map_err(|error| anyhow::Error::from(error).context(at_line(text, &[name])))?;
        for key in settings.0.keys() {
            if !factory.options().iter().any(|option| option.key == key) {
                let known: Vec<_> = factory.options().iter().map(|option| option.key).collect();
                bail!(
                    "{}: driver `{name}` has no option `{key}`; it has: {}",
                    at_line(text, &[name, key]),
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                );
            }
        }
    }
    if let Some(driver) = &file.driver {
        registry
            .get(driver)
            .map_err(|error| anyhow::Error::from(error).context(at_line(text, &["driver"])))?;
    }
    for (index, workload) in file.workloads.iter().enumerate() {
        workload
            .check()
            .with_context(|| format!("workload `{}`", workload.name))?;
        if file.workloads[..index]
            .iter()
            .any(|other| other.name == workload.name)
        {
            bail!("two workloads are called `{}`", workload.name);
        }
    }
    Ok(file)
}

/// `line N`, where the keys of `path` follow one another in the text.
fn at_line(text: &str, path: &[&str]) -> String {
    let mut wanted = path.iter();
    let mut key = wanted.next();
    for (index, line) in text.lines().enumerate() {
        let Some(name) = key else { break };
        let trimmed = line.trim_start().trim_start_matches(['{', '"', '\'', ' ']);
        if line.contains(&format!("{name}:")) || trimmed.starts_with(name) {
            key = wanted.next();
            if key.is_none_or(|next| line.contains(&format!("{next}:"))) {
                return format!("line {}", index + 1);
            }
        }
    }
    "somewhere in the file".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        format!(
            "{:#}",
            parse(text, &strata_drivers::registry()).unwrap_err()
        )
    }

    #[test]
    fn parse_reads_every_part() {
        let file = parse(
            "root: /x\ndriver: vfs\ndurability: volatile\ndrivers:\n  overlay:\n    index: off\n",
            &strata_drivers::registry(),
        )
        .unwrap();
        assert_eq!(file.durability, Some(Durability::Volatile));
        assert_eq!(file.drivers.0["overlay"].0["index"].0, "off");
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        assert!(
            faults("root: /x\nrot: /y\n").contains("line 2"),
            "{}",
            faults("root: /x\nrot: /y\n")
        );
        let unknown = faults("drivers:\n  overlay:\n    indx: on\n");
        assert!(
            unknown.contains("line 3") && unknown.contains("indx"),
            "{unknown}"
        );
        assert!(faults("drivers:\n  ovrlay: {}\n").contains("line 2"));
        assert!(faults("driver: nosuch\n").contains("line 1"));
    }

    #[test]
    fn duplicate_keys_are_refused() {
        assert!(faults("root: /x\nroot: /y\n").contains("duplicate"));
        let twice = faults("drivers:\n  overlay:\n    index: on\n    index: off\n");
        assert!(twice.contains("duplicate key `index`"), "{twice}");
        let one = "- {name: a, layers: [{ops: []}]}\n";
        let twice = faults(&format!("workloads:\n{one}{one}"));
        assert!(twice.contains("two workloads are called `a`"), "{twice}");
    }
}
