//! start-N: containers of one image start on a fixed schedule, whether or not the ones before are
//! ready; each reads a little of the image and is ready. Times run from the intended start.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::measure::Phase;
use crate::bench::outcome::{Outcome, Times};
use crate::bench::plan::Profile;
use crate::bench::residency::Watched;
use crate::bench::sample::Unit;
use crate::bench::subject::{Live, Subject, add_layer};
use crate::seed::Seed;
use anyhow::{Result, anyhow, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

const BASE: &str = "start-image";
/// Layers of the image, lowest first.
const LAYERS: u32 = 12;
/// Of what a container reads at its start, half lies in so many lowest layers: at a depth of nine
/// or more below the top, as Slacker (FAST '16, section 4) found in the images of a registry.
const LOWEST: u32 = 4;
/// Shares of the image's bytes that a container reads, in thousandths (Slacker: 6.4 %).
const READ_PER_MILLE: u32 = 64;

#[derive(Debug)]
pub(super) struct StartN {
    containers: u32,
    /// Files of each layer, and their bytes.
    files: u32,
    bytes: usize,
    /// Time between two intended starts.
    interval: Duration,
}

impl StartN {
    pub(super) fn new(profile: Profile) -> Self {
        // A copying driver copies the image for each container: 6 MiB eight times, or 48 MiB 32
        // times. The interval leaves a driver that shares layers time to be ready.
        let (containers, files, bytes, interval) =
            profile.pick((8, 32, 16 << 10, 5), (32, 64, 64 << 10, 10));
        Self {
            containers,
            files,
            bytes,
            interval: Duration::from_millis(interval),
        }
    }

    fn file(layer: u32, number: u32) -> PathBuf {
        PathBuf::from(format!("layer-{layer}/start-{layer}-{number}"))
    }

    /// What a container reads: half of it evenly from the lowest layers, half from the others.
    fn read_list(&self) -> Vec<PathBuf> {
        let all = LAYERS * self.files;
        let wanted = (all * READ_PER_MILLE + 500) / 1000;
        let low = wanted / 2;
        let from_low = (0..low).map(|index| (index % LOWEST, index / LOWEST));
        let others = LAYERS - LOWEST;
        let from_others = (0..wanted - low).map(|index| (LOWEST + index % others, index / others));
        from_low
            .chain(from_others)
            .map(|(layer, number)| Self::file(layer, number))
            .collect()
    }

    fn read(&self, root: &Path, list: &[PathBuf]) -> Result<()> {
        for path in list {
            let length = fs_err::read(root.join(path))?.len();
            ensure!(
                length == self.bytes,
                "{} has {length} bytes",
                path.display()
            );
        }
        Ok(())
    }

    /// One container, from its intended start to ready.
    fn start(
        &self,
        subject: &dyn Subject,
        (key, number): (&str, u32),
        list: &[PathBuf],
        intended: Instant,
    ) -> Result<(Live, Duration)> {
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        subject.prepare(key, Some(BASE))?;
        let live = subject.mount_at(key, number)?;
        self.read(live.path(), list)?;
        Ok((live, intended.elapsed()))
    }

    /// All containers, each on a thread of its own, so that a slow one delays no other's start.
    fn burst(
        &self,
        subject: &dyn Subject,
        keys: &[String],
        list: &[PathBuf],
    ) -> Result<Vec<(Live, Duration)>> {
        std::thread::scope(|scope| {
            // The threads are there before the first start is due.
            let first = Instant::now() + Duration::from_millis(2);
            let starts: Vec<_> = intended_starts(first, self.interval, self.containers)
                .into_iter()
                .zip(keys)
                .zip(0..)
                .map(|((intended, key), number)| {
                    scope.spawn(move || self.start(subject, (key, number), list, intended))
                })
                .collect();
            let ended: Vec<_> = starts.into_iter().map(ScopedJoinHandle::join).collect();
            ended
                .into_iter()
                .map(|start| start.map_err(|_| anyhow!("a container's thread panicked"))?)
                .collect()
        })
    }
}

/// When each container is to start: known before any has, so that waiting for a slow one shows.
fn intended_starts(first: Instant, interval: Duration, count: u32) -> Vec<Instant> {
    (0..count).map(|number| first + interval * number).collect()
}

impl Workload for StartN {
    fn name(&self) -> &'static str {
        "start-N"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        let image = u64::from(LAYERS * self.files) * self.bytes as u64;
        BTreeMap::from([
            ("containers", self.containers.into()),
            ("interval-us", self.interval.as_micros() as u64),
            ("layers", LAYERS.into()),
            ("image-bytes", image),
            ("read-bytes", (self.read_list().len() * self.bytes) as u64),
        ])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        let mut random = Seed::default().generator("start");
        let mut parent: Option<String> = None;
        for layer in 0..LAYERS {
            let top = layer + 1 == LAYERS;
            let name = if top {
                BASE.to_owned()
            } else {
                format!("{BASE}-{layer}")
            };
            add_layer(subject, parent.as_deref(), &name, &mut |root| {
                fs_err::create_dir(root.join(format!("layer-{layer}")))?;
                for number in 0..self.files {
                    let content = random.bytes(self.bytes);
                    fs_err::write(root.join(Self::file(layer, number)), content)?;
                }
                Ok(())
            })?;
            parent = Some(name);
        }
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let prefix = run.key("start");
        let keys: Vec<_> = (0..self.containers)
            .map(|number| format!("{prefix}-{number}"))
            .collect();
        let list = self.read_list();
        run.recorder.settle()?;
        // The wall would mostly measure the schedule: what counts is how long containers waited.
        let subject = run.subject;
        let started = run.recorder.time_told(
            &Phase::new("start"),
            || self.burst(subject, &keys, &list),
            |started| started.iter().map(|(_, time)| *time).sum(),
        )?;
        for (_, time) in &started {
            run.recorder.latency("ready", *time);
        }
        let roots: Vec<&Path> = started.iter().map(|(live, _)| live.path()).collect();
        let watched = Watched::open(run.recorder.bed_path(), &list, &roots)?;
        if let Some(found) = watched.residency()? {
            let total = found.total() as f64;
            run.recorder.figure("cached-total", total, Unit::Bytes);
        }
        let outcome = Outcome::of_tree(roots[0], Times::Natural)?;
        drop(watched);
        for ((live, _), key) in started.into_iter().zip(&keys) {
            live.unmount()?;
            run.subject.remove(key)?;
        }
        run.subject.reclaim()?;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn starts_are_fixed_beforehand_and_evenly_apart() {
        let first = Instant::now();
        let starts = intended_starts(first, Duration::from_millis(5), 8);
        assert_eq!(starts.len(), 8);
        assert_eq!(starts[0], first);
        for (number, start) in (0..).zip(&starts) {
            assert_eq!(*start - first, Duration::from_millis(5) * number);
        }
    }

    #[test]
    fn a_container_reads_the_known_share_half_of_it_deep_down() {
        for profile in [Profile::Quick, Profile::Full] {
            let row = StartN::new(profile);
            let list = row.read_list();
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len());
            let share = list.len() as f64 / f64::from(LAYERS * row.files);
            assert!((0.060..0.068).contains(&share), "{share}");
            let low: BTreeSet<_> = (0..LOWEST)
                .flat_map(|layer| (0..row.files).map(move |file| StartN::file(layer, file)))
                .collect();
            let deep = list.iter().filter(|path| low.contains(*path)).count();
            assert_eq!(deep, list.len() / 2);
            let layers: BTreeSet<_> = list.iter().map(|path| path.parent()).collect();
            assert_eq!(layers.len(), LAYERS as usize, "every layer is read from");
        }
    }
}
