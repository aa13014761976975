//! Random answers of an engine: odd names, odd sizes, odd letters, and nothing at all.

use crate::docker::rows::{DiskUsage, HistoryItem, ImageSummary, SearchResult};
use crate::docker::units::duration;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt;
use strata_harness::seed::Generator;

/// What the engine answers, kept as JSON so that both sides read it.
#[derive(Clone, Debug, Default)]
pub(super) struct DataSet {
    pub(super) images: Value,
    pub(super) search: Value,
    pub(super) history: Value,
    pub(super) usage: Value,
    /// What is known of one image.
    pub(super) document: Value,
}

impl fmt::Display for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [&self.images, &self.search, &self.history, &self.usage];
        all.iter().try_for_each(|value| writeln!(f, "{value}"))
    }
}

impl DataSet {
    pub(super) fn random(generator: &mut Generator, now: i64) -> Self {
        let mut random = Random { generator, now };
        let cache = random.list(Random::build_cache);
        Self {
            images: random.list(Random::image),
            search: random.search(),
            history: random.list(Random::history),
            usage: json!({
                "LayersSize": random.size(),
                "Images": random.list(Random::image),
                "Containers": [],
                "Volumes": [],
                "BuildCache": cache,
            }),
            document: Value::Null,
        }
    }

    pub(super) fn images(&self) -> Vec<ImageSummary> {
        read(&self.images)
    }

    pub(super) fn search(&self) -> Vec<SearchResult> {
        read(&self.search)
    }

    pub(super) fn history(&self) -> Vec<HistoryItem> {
        read(&self.history)
    }

    pub(super) fn usage(&self) -> DiskUsage {
        read(&self.usage)
    }
}

fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    let read: Option<T> = serde_json::from_value(value.clone()).unwrap();
    read.unwrap_or_default()
}

const WORDS: &[&str] = &[
    "a",
    "ubuntu",
    "latest",
    "漢字",
    "ナニ",
    "…",
    "<none>",
    "&",
    "é",
    "e\u{301}",
    "🦀",
    "\"quoted\"",
    "it's",
    "\\",
    "/bin/sh -c",
    "#(nop) ",
    "CMD",
    "x=1",
    "\u{2028}",
    "\u{7f}",
    "ﾊﾝ",
    "longer-than-the-others",
    "\u{200b}",
    "\u{a0}",
    "Ångström",
    "가나다",
];
const SPACES: &[&str] = &[" ", " ", " ", "", "\n", "\r", "\t", "  "];
const NAMES: &[&str] = &[
    "ubuntu",
    "docker.io/library/ubuntu",
    "index.docker.io/library/odd",
    "docker.io/team/app",
    "team/app",
    "library/a/b",
    "localhost:5000/team/app",
    "localhost/x",
    "registry.example.com/a/b/c/d/e",
    "127.0.0.1:5000/peers/small",
    "a__b/c---d.e",
    "EXAMPLE.com/upper",
    "a-very-long-repository-name/with-parts/and-more-of-them",
];
const NO_NAMES: &[&str] = &["upper/Case:1", "a//b:1", "a:", "-a:1", "untagged", ""];
const TAGS: &[&str] = &[
    "latest",
    "1",
    "16.04",
    "v1.2.3-rc4",
    "_x",
    "UPPER",
    "a.b-c_d",
];

struct Random<'a> {
    generator: &'a mut Generator,
    now: i64,
}

impl Random<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.generator.below(bound)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A list of none to eight, or null.
    fn list(&mut self, make: fn(&mut Self) -> Value) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => json!([]),
            length => (0..length.min(8)).map(|_| make(self)).collect(),
        }
    }

    fn text(&mut self, most: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.below(most + 1) {
            text += *self.generator.pick(WORDS);
            text += *self.generator.pick(SPACES);
        }
        text
    }

    fn hex(&mut self, length: usize) -> String {
        let bytes = self.generator.bytes(length);
        bytes
            .iter()
            .map(|byte| char::from(b"0123456789abcdef"[usize::from(byte % 16)]))
            .collect()
    }

    fn id(&mut self) -> String {
        match self.below(10) {
            0 => self.hex(64),
            1 => self.hex(7),
            _ => format!("sha256:{}", self.hex(64)),
        }
    }

    fn size(&mut self) -> i64 {
        let odd = [
            0,
            1,
            -1,
            999,
            1000,
            1001,
            9_999,
            99_949,
            99_950,
            999_499,
            999_500,
            999_949,
            999_950,
            999_999,
            -1000,
            -999_950,
            i64::MAX,
            i64::MIN,
        ];
        if self.one_in(4) {
            return *self.generator.pick(&odd);
        }
        let bits = self.below(63) as u32;
        (self.generator.draw() >> (63 - bits)) as i64
    }

    /// Seconds ago that are told in the same words for some minutes to come.
    fn moment(&mut self) -> i64 {
        let of = |seconds: i64| duration(seconds.saturating_mul(1_000_000_000));
        loop {
            let bits = self.below(31) as u32;
            let ago = (self.generator.draw() >> (63 - bits)) as i64;
            let ago = if self.one_in(20) { -ago - 1000 } else { ago };
            if of(ago) == of(ago + 300) {
                return self.now - ago;
            }
        }
    }

    fn moment_of_text(&mut self) -> String {
        if self.one_in(12) {
            return "0001-01-01T00:00:00Z".to_owned();
        }
        let moment = jiff::Timestamp::from_second(self.moment()).unwrap();
        let fraction = *self.generator.pick(&["", ".5", ".123456789", ".120"]);
        let offset = *self
            .generator
            .pick(&["Z", "Z", "+02:00", "-03:30", "+05:45"]);
        format!("{}{fraction}{offset}", moment.strftime("%Y-%m-%dT%H:%M:%S"))
    }

    /// Names of one repository, since Docker shows several in any order.
    fn image(&mut self) -> Value {
        let name = *self.generator.pick(NAMES);
        let mut tags: Vec<String> = (0..self.below(4))
            .map(|_| format!("{name}:{}", self.generator.pick(TAGS)))
            .collect();
        let mut digests: Vec<String> = (0..self.below(3))
            .map(|_| format!("{name}@sha256:{}", self.hex(64)))
            .collect();
        if self.one_in(8) {
            let at = self.below(tags.len() + 1);
            let odd = *self.generator.pick(NO_NAMES);
            tags.insert(at, odd.to_owned());
        }
        if self.one_in(10) {
            tags = vec!["<none>:<none>".to_owned()];
            digests = vec!["<none>@<none>".to_owned()];
        }
        let list = |names: Vec<String>, is_null: bool| {
            if names.is_empty() && is_null {
                Value::Null
            } else {
                json!(names)
            }
        };
        let is_null = self.one_in(2);
        let size = self.size();
        let mut image = json!({
            "Id": self.id(),
            "ParentId": "",
            "RepoTags": list(tags, is_null),
            "RepoDigests": list(digests, is_null),
            "Created": self.moment(),
            "Size": size,
            "SharedSize": self.size(),
            "VirtualSize": if self.one_in(8) { self.size() } else { size },
            "Labels": null,
            "Containers": self.below(4) as i64 - 1,
        });
        if self.one_in(10) {
            image.as_object_mut().unwrap().shift_remove("VirtualSize");
        }
        image
    }

    /// No two with the same stars, since Docker's sort leaves open which of them comes first.
    fn search(&mut self) -> Value {
        let mut stars: Vec<_> = (0..self.below(8))
            .map(|at| at * 10 + self.below(10))
            .collect();
        self.generator.shuffle(&mut stars);
        stars
            .into_iter()
            .map(|stars| {
                json!({
                    "name": self.generator.pick(NAMES),
                    "description": self.text(12),
                    "star_count": stars,
                    "is_official": self.one_in(2),
                    "is_automated": self.one_in(2),
                })
            })
            .collect()
    }

    fn history(&mut self) -> Value {
        json!({
            "Id": if self.one_in(2) { "<missing>".to_owned() } else { self.id() },
            "Created": if self.one_in(8) { 0 } else { self.moment() },
            "CreatedBy": self.text(12),
            "Tags": null,
            "Size": self.size(),
            "Comment": self.text(3),
        })
    }

    fn build_cache(&mut self) -> Value {
        json!({
            "ID": self.hex(25),
            "Parent": if self.one_in(2) { String::new() } else { self.hex(25) },
            "Type": self.generator.pick(&["regular", "internal", "source.local"]),
            "Description": self.text(3),
            "InUse": self.one_in(2),
            "Shared": self.one_in(2),
            "Size": self.size(),
            "CreatedAt": self.moment_of_text(),
            "LastUsedAt": if self.one_in(3) { Value::Null } else { self.moment_of_text().into() },
            "UsageCount": self.below(100),
        })
    }
}
