//! Measuring one sample: phases with their wall time, their write-back and their device bytes.

use crate::bench::bed::{Bed, DeviceCounts};
use crate::bench::sample::{Counted, PhaseSample, SyscallCounts};
use crate::bench::syscalls::SyscallCounter;
use anyhow::Result;
use std::borrow::Cow;
use std::time::Instant;

/// What happens between a phase and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    /// Everything dirty is written back, so that the next phase does not pay for this one.
    Drained,
    /// Nothing: the next phase is about what this one left dirty.
    AsIs,
}

/// A named stretch of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    name: Cow<'static, str>,
    counted: Counted,
    edge: Edge,
}

impl Phase {
    /// A phase that counts, drained at its end.
    pub(crate) fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            counted: Counted::Yes,
            edge: Edge::Drained,
        }
    }

    /// The phase is shown beside the row's time.
    #[must_use]
    pub(crate) fn aside(mut self) -> Self {
        self.counted = Counted::Aside;
        self
    }

    /// What the phase leaves dirty stays so for the next one.
    #[must_use]
    pub(crate) fn undrained(mut self) -> Self {
        self.edge = Edge::AsIs;
        self
    }
}

#[derive(Debug)]
enum Mode<'a> {
    Timed,
    Counting(Option<&'a mut (dyn SyscallCounter + 'static)>),
}

/// Records the phases of one sample.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    bed: &'a Bed,
    mode: Mode<'a>,
    phases: Vec<PhaseSample>,
    device: DeviceCounts,
}

impl<'a> Recorder<'a> {
    /// Records times and device bytes.
    pub(crate) fn timed(bed: &'a Bed) -> Self {
        Self::with(bed, Mode::Timed)
    }

    /// Counts device bytes and, with a counter, calls into the kernel; times nothing.
    pub(crate) fn counting(
        bed: &'a Bed,
        mut counter: Option<&'a mut (dyn SyscallCounter + 'static)>,
    ) -> Result<Self> {
        if let Some(counter) = &mut counter {
            counter.reset()?;
        }
        Ok(Self::with(bed, Mode::Counting(counter)))
    }

    fn with(bed: &'a Bed, mode: Mode<'a>) -> Self {
        Self {
            bed,
            mode,
            phases: Vec::new(),
            device: DeviceCounts::default(),
        }
    }

    /// Runs `work` as `phase`; phases of one name are added up.
    pub(crate) fn time<T>(&mut self, phase: &Phase, work: impl FnOnce() -> Result<T>) -> Result<T> {
        match &mut self.mode {
            Mode::Counting(counter) => {
                if phase.counted == Counted::Aside {
                    return work();
                }
                let before = self.bed.device_counts()?;
                let value = match counter {
                    Some(counter) => {
                        counter.resume()?;
                        let outcome = work();
                        counter.pause()?;
                        outcome?
                    }
                    None => work()?,
                };
                if phase.edge == Edge::Drained {
                    self.bed.drain()?;
                }
                self.device.add(self.bed.device_counts()?.since(before));
                Ok(value)
            }
            Mode::Timed => {
                let before = self.bed.device_counts()?;
                let start = Instant::now();
                let value = work()?;
                let ns = start.elapsed().as_nanos() as u64;
                let mut drain_ns = 0;
                if phase.edge == Edge::Drained {
                    let start = Instant::now();
                    self.bed.drain()?;
                    drain_ns = start.elapsed().as_nanos() as u64;
                }
                let bytes = self.bed.device_counts()?.since(before).bytes;
                self.record(phase, [ns, drain_ns, bytes]);
                Ok(value)
            }
        }
    }

    fn record(&mut self, phase: &Phase, [ns, drain_ns, bytes]: [u64; 3]) {
        let known = self
            .phases
            .iter_mut()
            .find(|known| known.name == phase.name);
        if let Some(known) = known {
            known.ns += ns;
            known.drain_ns += drain_ns;
            known.device_bytes = known.device_bytes.map(|sum| sum + bytes);
        } else {
            self.phases.push(PhaseSample {
                name: phase.name.clone().into_owned(),
                ns,
                drain_ns,
                device_bytes: Some(bytes),
                counted: phase.counted,
            });
        }
    }

    /// Begins the sample's phases with nothing dirty from what prepared it.
    pub(crate) fn settle(&self) -> Result<()> {
        self.bed.drain()
    }

    /// The phases in order of first appearance.
    pub(crate) fn phases(self) -> Vec<PhaseSample> {
        self.phases
    }

    /// What a counting recorder saw reach the device.
    pub(crate) fn device(&self) -> DeviceCounts {
        self.device
    }

    /// Calls into the kernel, if they were counted.
    pub(crate) fn syscalls(self) -> Result<Option<SyscallCounts>> {
        match self.mode {
            Mode::Counting(Some(counter)) => counter.counts().map(Some),
            Mode::Counting(None) | Mode::Timed => Ok(None),
        }
    }
}
