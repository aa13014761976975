//! The command is killed at random moments of every phase. Afterwards the store opens, a full
//! check finds nothing, every byte is on a line of `system df`, `system prune` frees all, and the
//! next pull uses what was verified.

mod account;
mod ends;
mod full;
mod little;
mod scene;
mod victim;

use crate::support::{Cell, cells};
use rustix::process::Signal;
use scene::{Scene, Shop};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use strata_harness::seed::{Generator, Seed, rounds};
use strata_store::phase::Phase;
use victim::Ended;

/// A second name of an image.
const OTHER_NAME: &str = "other:1";

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    /// `pull` into an empty store.
    Pull(&'static str),
    /// `pull` where the lower layers are there.
    PullUpon(&'static str),
    /// `rmi`.
    Remove(&'static str),
    /// `rmi` of one of two names.
    Untag(&'static str),
    /// The process that `rmi` leaves behind.
    Sweep(&'static str),
    /// `system prune -af`.
    Prune,
}

/// Where each phase is met.
fn deeds(phase: Phase) -> &'static [Deed] {
    use little::{TALL, TINY, WIDE};
    match phase {
        Phase::Fetch | Phase::Extract => &[Deed::Pull(WIDE), Deed::PullUpon(WIDE)],
        Phase::Commit => &[Deed::Pull(TALL), Deed::PullUpon(WIDE)],
        Phase::Publish => &[Deed::Pull(TINY), Deed::PullUpon(TINY)],
        Phase::Delete => &[
            Deed::Remove(WIDE),
            Deed::Sweep(WIDE),
            Deed::Prune,
            Deed::Sweep(TALL),
            Deed::Untag(TINY),
        ],
    }
}

/// Kills of one driver by phase: those that met the phase that they were meant for, and in how
/// many of all it was under way.
#[derive(Debug, Default)]
struct Count {
    met: BTreeMap<Phase, usize>,
    under_way: BTreeMap<Phase, usize>,
    tried: usize,
}

#[test]
fn kill_leaves_what_it_can_tell() {
    let Some(shop) = Shop::open() else { return };
    let quota = rounds(5, 40);
    let mut report = String::new();
    for cell in cells() {
        let start = Instant::now();
        let count = Killing::new(&shop, cell).run(quota);
        write!(report, "{}:", cell.driver).unwrap();
        for phase in Phase::ALL {
            let met = count.met.get(&phase).copied().unwrap_or(0);
            let under_way = count.under_way.get(&phase).copied().unwrap_or(0);
            assert!(met >= quota, "{cell:?}: {phase:?} was met {met} times");
            write!(report, " {} {met} ({under_way})", phase.as_str()).unwrap();
        }
        writeln!(report, ", {} tries, {:?}", count.tried, start.elapsed()).unwrap();
    }
    eprint!("kills in each phase (and with it under way among others):\n{report}");
}

struct Killing<'a> {
    scene: Scene<'a>,
    random: Generator,
    /// Of each deed's phases how often they come, and how long they are.
    lengths: BTreeMap<(Deed, Phase), (usize, Duration)>,
    count: Count,
}

impl<'a> Killing<'a> {
    fn new(shop: &'a Shop, cell: Cell) -> Self {
        Self {
            scene: Scene::new(shop, cell),
            random: Seed::default().generator(cell.driver),
            lengths: BTreeMap::new(),
            count: Count::default(),
        }
    }

    fn run(mut self, quota: usize) -> Count {
        for phase in Phase::ALL {
            let most = quota * 8 + 20;
            let mut tries = 0;
            while self.count.met.get(&phase).copied().unwrap_or(0) < quota && tries < most {
                let deeds = deeds(phase);
                self.kill(phase, deeds[tries % deeds.len()], tries);
                tries += 1;
            }
        }
        // A few of the size that people pull.
        if self.scene.shop.has("small") {
            for tries in 0..rounds(0, 4) {
                let phase = [Phase::Fetch, Phase::Extract][tries % 2];
                self.kill(phase, Deed::Pull("small"), 0);
            }
        }
        self.count
    }

    /// Kills one command, and looks at what is left.
    fn kill(&mut self, phase: Phase, deed: Deed, tries: usize) {
        self.prepare(deed);
        let (times, length) = self.lengths(deed, phase);
        let at = 1 + self.random.below(times);
        // Shorter where it was missed: reading what it tells takes time too.
        let most = (length.as_micros() as usize) >> (tries / 2 % 4);
        let delay = Duration::from_micros(self.random.below(most.max(1)) as u64);
        let ended = self.start_and_kill(phase, deed, at, delay);
        self.count.tried += 1;
        let Some(ended) = ended else { return };
        let under_way = ended.trace.under_way();
        if under_way.contains_key(&phase) {
            *self.count.met.entry(phase).or_default() += 1;
        }
        for phase in under_way.keys() {
            *self.count.under_way.entry(*phase).or_default() += 1;
        }
        let why = format!(
            "{}, try {}: {deed:?} killed {delay:?} after beginning {at} of {}, with {under_way:?} \
             under way",
            self.scene.cell.driver,
            self.count.tried,
            phase.as_str(),
        );
        self.look(deed, &why);
    }

    fn look(&self, deed: Deed, why: &str) {
        let scene = &self.scene;
        let (image, kept) = match deed {
            Deed::Pull(image) | Deed::PullUpon(image) => (image, scene.recover_pull(why)),
            Deed::Remove(image) | Deed::Sweep(image) | Deed::Untag(image) => {
                (image, scene.recover(why))
            }
            Deed::Prune => (little::WIDE, scene.recover(why)),
        };
        scene.pull_rest(image, &kept, why);
        scene.recover(&format!("{why}, and pulled"));
        scene.clear(why);
    }

    /// What must be there before.
    fn prepare(&self, deed: Deed) {
        match deed {
            Deed::Pull(_) => {}
            Deed::PullUpon(_) => drop(self.scene.pull(little::BASE)),
            Deed::Remove(image) | Deed::Sweep(image) => {
                self.scene.pull(little::BASE);
                self.scene.pull(image);
            }
            Deed::Untag(image) => {
                self.scene.pull(image);
                self.scene
                    .store
                    .good(&["tag", &self.scene.shop.name(image), OTHER_NAME]);
            }
            Deed::Prune => {
                self.scene.pull(little::TALL);
                self.scene.pull(little::WIDE);
            }
        }
    }

    fn arguments(&self, deed: Deed) -> [String; 3] {
        let name = |image| self.scene.shop.name(image);
        let (first, second, third) = match deed {
            Deed::Pull(image) | Deed::PullUpon(image) => ("pull", "-q", name(image)),
            Deed::Remove(image) | Deed::Sweep(image) => ("image", "rm", name(image)),
            Deed::Untag(_) => ("image", "rm", OTHER_NAME.to_owned()),
            Deed::Prune => ("system", "prune", "-af".to_owned()),
        };
        [first.to_owned(), second.to_owned(), third]
    }

    /// How often a phase comes and how long it is, from one run to the end.
    fn lengths(&mut self, deed: Deed, phase: Phase) -> (usize, Duration) {
        if let Some(known) = self.lengths.get(&(deed, phase)) {
            return *known;
        }
        let arguments = self.arguments(deed);
        let ended = self.scene.run(&arguments.each_ref().map(String::as_str));
        for phase in Phase::ALL {
            let mut known = ended.trace.lengths(phase);
            if phase == Phase::Delete && matches!(deed, Deed::Remove(_) | Deed::Sweep(_)) {
                // The first is the removal's, the second that of the process behind it.
                known.0 = 1;
            }
            self.lengths.insert((deed, phase), known);
        }
        victim::wait_until_all_ended(&self.scene.store.root());
        self.scene.clear("a run that nobody killed");
        self.prepare(deed);
        let known = self.lengths[&(deed, phase)];
        assert!(known.0 > 0, "{deed:?} has no {phase:?}");
        known
    }

    /// None if it had ended before.
    fn start_and_kill(
        &self,
        phase: Phase,
        deed: Deed,
        at: usize,
        delay: Duration,
    ) -> Option<Ended> {
        let scene = &self.scene;
        let arguments = self.arguments(deed);
        let mut victim = scene.watch(&arguments.each_ref().map(String::as_str));
        let mut pid = Some(victim.pid());
        if matches!(deed, Deed::Sweep(_)) {
            victim.wait_for_end(Phase::Delete);
            pid = victim::sweeper(&scene.store.root());
        }
        if let Some(pid) = pid
            && victim.wait_for(phase, at)
        {
            victim::signal_after(delay, pid, Signal::KILL);
            return Some(victim.end());
        }
        victim.end();
        victim::wait_until_all_ended(&scene.store.root());
        scene.clear("a run that ended before it was killed");
        None
    }
}
