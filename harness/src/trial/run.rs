//! Runs a script on a driver and on the model, and holds one against the other at every step.

use super::beside;
use super::laws::{self, Law};
use super::perform::Performer;
use super::tally::Tally;
use crate::context::{Context, Setting};
use crate::interrupt;
use crate::live::Live;
use crate::model::inode::UMASK;
use crate::model::operation::{FileOperation, LayerNumber, LayerOperation, Operation};
use crate::model::quirks::Bent;
use crate::model::{Committed, Model, Outcome, Predicted, ROOT};
use crate::tree::TreePath;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use strata_driver::{
    CommitOptions, DiffId, ErrorKind, Labels, PrepareOptions, Quirk, SnapshotName,
};

/// The clock of file systems ticks less often than the one that is asked; nanoseconds.
const TICK: i128 = 20_000_000;

/// A line at which a driver and the model part.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The line's place in the script, from 0.
    pub line: usize,
    /// What does not hold.
    pub law: Law,
    /// What was expected, and what was found.
    pub text: String,
}

/// What came of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was done and looked at.
    pub(super) tally: Tally,
    /// The layers' changesets in the order of commits; none where the format cannot carry one.
    pub diffs: Vec<Option<DiffId>>,
    /// Where it failed, if it did.
    pub failure: Option<Failure>,
}

/// Runs `script` in a fresh root below `place`, which is made and taken away.
pub fn run(script: &[Operation], setting: &Setting, bent: &Bent, place: &Path) -> Result<Report> {
    // Modes in scripts are meant under this mask, which is the process's.
    let _mask = Mask::set();
    let mut report = Report::default();
    let context = Context::new(setting, place.to_owned()).context("open the driver")?;
    let mut trial = Trial::start(context, Model::new(bent.clone()))?;
    for (line, operation) in script.iter().enumerate() {
        interrupt::check()?;
        let done = trial.step(operation);
        trial.tally.operation(operation.kind());
        if let Err(broken) = done {
            report.failure = Some(Failure {
                line,
                law: broken.law,
                text: format!("{:#}", broken.error),
            });
            break;
        }
    }
    report.tally = std::mem::take(&mut trial.tally);
    report.diffs = std::mem::take(&mut trial.diffs);
    let closed = trial.close();
    let removed = crate::runner::remove_place(place);
    if report.failure.is_none() {
        closed.context("close the driver")?;
        removed?;
    }
    Ok(report)
}

/// Puts the umask of before back when dropped.
struct Mask(rustix::fs::Mode);

impl Mask {
    fn set() -> Self {
        Self(rustix::process::umask(rustix::fs::Mode::from_raw_mode(
            UMASK,
        )))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        rustix::process::umask(self.0);
    }
}

/// A law that does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) law: Law,
    pub(super) error: anyhow::Error,
}

/// Says under which law something is demanded.
pub(super) trait Under<T> {
    fn under(self, law: Law) -> Result<T, Broken>;
}

impl<T, E: Into<anyhow::Error>> Under<T> for Result<T, E> {
    fn under(self, law: Law) -> Result<T, Broken> {
        self.map_err(|error| Broken {
            law,
            error: error.into(),
        })
    }
}

/// A driver and the model, side by side.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) context: Context,
    pub(super) model: Model,
    pub(super) key: SnapshotName,
    /// How often layers were given other labels.
    labels: BTreeMap<LayerNumber, u32>,
    pub(super) tally: Tally,
    /// Inode numbers as they were first seen in this snapshot.
    pub(super) inodes: BTreeMap<u32, u64>,
    /// Digests of directories that hold lower layers.
    pub(super) lower: BTreeMap<PathBuf, [u8; 32]>,
    diffs: Vec<Option<DiffId>>,
    mounted: Option<(Performer, Live)>,
}

impl Trial {
    fn start(context: Context, model: Model) -> Result<Self> {
        let mut trial = Self {
            context,
            model,
            // The same for all: what was committed or removed must not be remembered by it.
            key: crate::context::name("active"),
            labels: BTreeMap::new(),
            tally: Tally::default(),
            inodes: BTreeMap::new(),
            lower: BTreeMap::new(),
            diffs: Vec::new(),
            mounted: None,
        };
        trial.prepare(None)?;
        trial.mount()?;
        Ok(trial)
    }

    fn prepare(&mut self, base: Option<LayerNumber>) -> Result<()> {
        let options = PrepareOptions::default().with_labels(self.labels_of(None));
        let base = base.map(layer_name);
        self.context
            .prepare_with(&self.key, base.as_ref(), &options)?;
        Ok(())
    }

    /// The last layer on which nothing stands.
    pub(super) fn leaf(&self) -> Option<LayerNumber> {
        let layers = self.model.layers();
        let mut leaves = (0..layers.len()).rev().filter(|number| {
            let stands = |layer: &Committed| !layer.is_removed && layer.parent == Some(*number);
            let is_base = self.model.base() == Some(*number);
            !layers[*number].is_removed && !is_base && !layers.iter().any(stands)
        });
        leaves.next()
    }

    /// The labels that a layer has, or the active snapshot.
    pub(super) fn labels_of(&self, number: Option<LayerNumber>) -> Labels {
        let label = match number {
            None => ("is".to_owned(), "active".to_owned()),
            Some(number) => {
                let times = self.labels.get(&number).copied().unwrap_or(0);
                ("relabelled".to_owned(), times.to_string())
            }
        };
        Labels::from([label])
    }

    fn set_labels(&self, name: &SnapshotName, labels: &Labels) -> strata_driver::Result<()> {
        self.context
            .wait(self.context.driver().relabel(name, labels))
    }

    fn relabel(&mut self, number: LayerNumber) -> Result<(), Broken> {
        *self.labels.entry(number).or_default() += 1;
        let labels = self.labels_of(Some(number));
        self.set_labels(&layer_name(number), &labels)
            .under(Law::Answer)?;
        laws::listed(self).under(Law::Answer)
    }

    fn close(mut self) -> Result<()> {
        self.unmount()?;
        self.context.shut()
    }

    fn mount(&mut self) -> Result<()> {
        let key = self.key.clone();
        let live = self.context.mount(&key)?;
        let performer = Performer::new(live.path())?;
        self.mounted = Some((performer, live));
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        if let Some((performer, live)) = self.mounted.take() {
            drop(performer);
            live.unmount()?;
        }
        Ok(())
    }

    /// What performs on the mounted snapshot.
    pub(super) fn performer(&mut self) -> &mut Performer {
        let mounted = self.mounted.as_mut();
        &mut mounted.expect("mounted between operations").0
    }

    /// Where the snapshot is mounted.
    pub(super) fn live(&self) -> &Live {
        &self.mounted.as_ref().expect("mounted between operations").1
    }

    /// Whether the driver declares a quirk.
    pub(super) fn declares(&self, quirk: Quirk) -> bool {
        self.context.capabilities().declares(quirk)
    }

    /// Whether names of one inode below part when one of them is written.
    pub(super) fn splits(&self) -> bool {
        self.declares(Quirk::HardLinkSplits)
    }

    fn step(&mut self, operation: &Operation) -> Result<(), Broken> {
        match operation {
            Operation::File(operation) => self.file_step(operation),
            Operation::Layer(operation) => {
                if operation.unmounts() {
                    self.performer().release_all();
                }
                self.layer_step(operation)
            }
        }
    }

    fn file_step(&mut self, operation: &FileOperation) -> Result<(), Broken> {
        let predicted = match self.model.perform(operation) {
            Predicted::Outcome(outcome) => outcome,
            Predicted::LeftOut(quirk) => {
                self.tally.left_out(quirk);
                return Ok(());
            }
        };
        let before = now();
        let found = self.performer().perform(operation);
        let after = now();
        if found != predicted {
            let text = format!("expected {}, got {}", shown(&predicted), shown(&found));
            return Err(anyhow::anyhow!(text)).under(Law::Answer);
        }
        self.tally.held(Law::Answer);
        self.learn(before - TICK, after).under(Law::Look)?;
        laws::look(self, operation).under(Law::Look)?;
        self.tally.held(Law::Look);
        Ok(())
    }

    /// Reads the times that were set to now, demands that they were, and tells the model.
    fn learn(&mut self, earliest: i128, latest: i128) -> Result<()> {
        for (path, id) in self.model.files().unlearned() {
            let node = self.performer().look(&path)?;
            let node = node.with_context(|| format!("`{path}` is missing"))?;
            let within = (earliest..=latest).contains(&node.mtime);
            let kept = self.model.files().inode(id).mtime.is_or(node.mtime);
            ensure!(
                within || kept,
                "the time of `{path}` is {}, which is not within the operation ({earliest} to {latest})",
                node.mtime
            );
            self.model.learn(id, node.mtime);
        }
        Ok(())
    }

    fn layer_step(&mut self, operation: &LayerOperation) -> Result<(), Broken> {
        if *operation == LayerOperation::Commit {
            return self.commit();
        }
        if matches!(operation, LayerOperation::Remount | LayerOperation::Reopen) {
            laws::all(self)?;
            self.unmount().under(Law::Kept)?;
        }
        if !self.change(operation)? {
            return Ok(());
        }
        match operation {
            LayerOperation::Check => laws::all(self),
            LayerOperation::Remount | LayerOperation::Reopen => {
                if *operation == LayerOperation::Reopen {
                    self.context.reopen().under(Law::Kept)?;
                }
                self.mount().under(Law::Kept)?;
                laws::kept(self)
            }
            LayerOperation::View(number) => laws::view(self, *number),
            LayerOperation::Sibling(base) => beside::sibling(self, *base),
            LayerOperation::Diff => beside::active_diff(self),
            LayerOperation::Compare(lower, upper) => beside::compare(self, *lower, *upper),
            LayerOperation::Rebase(number) => beside::rebase(self, *number),
            LayerOperation::Relabel(number) => self.relabel(*number),
            LayerOperation::Misuse => beside::misuse(self),
            LayerOperation::Fork(base) => self.go_on_from(*base),
            LayerOperation::Apply(number) => self.go_on_from_applied(*number),
            LayerOperation::Remove(_) | LayerOperation::Commit => Ok(()),
        }
    }

    /// Asks the model, and demands the same refusal of the driver; says whether there was none.
    fn change(&mut self, operation: &LayerOperation) -> Result<bool, Broken> {
        let predicted = self.model.change(operation);
        if predicted == Err(ErrorKind::Unsupported) {
            self.tally.not_carried += 1;
            beside::refused_diff(self, operation)?;
            return Ok(false);
        }
        let number = match operation {
            LayerOperation::View(number)
            | LayerOperation::Remove(number)
            | LayerOperation::Apply(number)
            | LayerOperation::Sibling(Some(number))
            | LayerOperation::Compare(_, number)
            | LayerOperation::Rebase(number)
            | LayerOperation::Relabel(number)
            | LayerOperation::Fork(Some(number)) => *number,
            _ => return Ok(true),
        };
        let name = layer_name(number);
        let found = match operation {
            LayerOperation::Remove(_) => self.context.remove(&name),
            _ if predicted.is_ok() => return Ok(true),
            LayerOperation::Compare(lower, _) => {
                let lower = lower.map(layer_name);
                self.context.changes(lower.as_ref(), &name).map(drop)
            }
            LayerOperation::Relabel(_) => self.set_labels(&name, &Labels::new()),
            LayerOperation::View(_) => {
                let key = self.context.fresh_name("view");
                self.context.view(&key, Some(&name))
            }
            _ => {
                let key = self.context.fresh_name("fork");
                self.context.prepare(&key, Some(&name))
            }
        };
        let found = found.map_err(|error| error.kind());
        if found != predicted {
            let text = format!("`{name}`: expected {predicted:?}, got {found:?}");
            return Err(anyhow::anyhow!(text)).under(Law::Answer);
        }
        self.tally.held(Law::Answer);
        Ok(predicted.is_ok())
    }

    fn commit(&mut self) -> Result<(), Broken> {
        for operation in self.model.settle() {
            self.file_step(&operation)?;
        }
        laws::all(self)?;
        self.unmount().under(Law::Kept)?;
        let number = self.model.layers().len();
        let name = layer_name(number);
        let options = CommitOptions::default().with_labels(self.labels_of(Some(number)));
        self.context
            .commit_with(&self.key, &name, &options)
            .under(Law::Kept)?;
        let changed = self.model.change(&LayerOperation::Commit);
        changed.expect("a commit is never refused");
        self.model.check_stack(number).under(Law::Model)?;
        self.tally.held(Law::Model);
        let diff = laws::diff(self, number)?;
        self.diffs.push(diff);
        self.start_upon(Some(number)).under(Law::Kept)?;
        laws::kept(self)
    }

    /// Drops the active snapshot for one upon `base`.
    fn go_on_from(&mut self, base: Option<LayerNumber>) -> Result<(), Broken> {
        self.unmount().under(Law::Kept)?;
        self.context.remove(&self.key).under(Law::Kept)?;
        self.start_upon(base).under(Law::Kept)?;
        laws::kept(self)
    }

    fn start_upon(&mut self, base: Option<LayerNumber>) -> Result<()> {
        self.prepare(base)?;
        self.inodes.clear();
        self.mount()
    }

    /// Drops the active snapshot for one in which the changeset of a layer was applied.
    fn go_on_from_applied(&mut self, number: LayerNumber) -> Result<(), Broken> {
        self.unmount().under(Law::Kept)?;
        self.context.remove(&self.key).under(Law::Kept)?;
        let parent = self.model.layers()[number].parent;
        let diff = self
            .context
            .diff(parent.map(layer_name).as_ref(), &layer_name(number));
        let diff = diff.under(Law::Diff)?;
        self.prepare(parent).under(Law::Kept)?;
        self.context.apply(&self.key, &diff).under(Law::Diff)?;
        self.inodes.clear();
        self.mount().under(Law::Kept)?;
        let root = self.performer().look(&TreePath::root()).under(Law::Kept)?;
        let root = root.context("the root is missing").under(Law::Kept)?;
        self.model.learn(ROOT, root.mtime);
        laws::kept(self)
    }
}

/// The name of a layer in the driver.
pub(super) fn layer_name(number: LayerNumber) -> SnapshotName {
    crate::context::name(&format!("number-{number}"))
}

/// Nanoseconds since 1970.
fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as i128)
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Ok(answer) => format!("{answer:?}"),
        Err(errno) => format!("{errno:?} ({errno})"),
    }
}
