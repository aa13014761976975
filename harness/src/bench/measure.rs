//! Measuring one sample: phases with their wall time, their write-back and their device bytes.

use crate::bench::bed::{Bed, DeviceCounts};
use crate::bench::sample::{Counted, Figure, Measured, PhaseSample, Space, SyscallCounts, Unit};
use crate::bench::syscalls::SyscallCounter;
use anyhow::Result;
use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

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
    measured: Measured,
    used_before: Option<u64>,
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
            measured: Measured::default(),
            used_before: None,
            device: DeviceCounts::default(),
        }
    }

    /// Runs `work` as `phase`; phases of one name are added up.
    pub(crate) fn time<T>(&mut self, phase: &Phase, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.take(phase, work, |_, elapsed| elapsed)
    }

    /// As [`Recorder::time`], for work that tells itself how long it took: what waits for a
    /// schedule is not measured by the clock on the wall.
    pub(crate) fn time_told<T>(
        &mut self,
        phase: &Phase,
        work: impl FnOnce() -> Result<T>,
        told: impl FnOnce(&T) -> Duration,
    ) -> Result<T> {
        self.take(phase, work, |value, _| told(value))
    }

    fn take<T>(
        &mut self,
        phase: &Phase,
        work: impl FnOnce() -> Result<T>,
        time: impl FnOnce(&T, Duration) -> Duration,
    ) -> Result<T> {
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
                let ns = time(&value, start.elapsed()).as_nanos() as u64;
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
        let phases = &mut self.measured.phases;
        let known = phases.iter_mut().find(|known| known.name == phase.name);
        if let Some(known) = known {
            known.ns += ns;
            known.drain_ns += drain_ns;
            known.device_bytes = known.device_bytes.map(|sum| sum + bytes);
        } else {
            phases.push(PhaseSample {
                name: phase.name.clone().into_owned(),
                ns,
                drain_ns,
                device_bytes: Some(bytes),
                counted: phase.counted,
            });
        }
    }

    /// Adds a number to the sample.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: Unit) {
        let figure = Figure { value, unit };
        self.measured.figures.insert(name.to_owned(), figure);
    }

    /// Adds the time of one operation of the kind `name`.
    pub(crate) fn latency(&mut self, name: &str, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.measured
            .latencies
            .entry(name.to_owned())
            .or_default()
            .push(ns);
    }

    /// From here on, space that is taken belongs to the layers of the sample.
    pub(crate) fn layers_begin(&mut self) -> Result<()> {
        if matches!(self.mode, Mode::Timed) {
            self.bed.drain()?;
            self.used_before = Some(self.bed.used_bytes()?);
        }
        Ok(())
    }

    /// The layers are made, and hold `logical` bytes of content.
    pub(crate) fn layers_end(&mut self, logical: u64) -> Result<()> {
        if let Some(before) = self.used_before.take() {
            self.bed.drain()?;
            let used = self.bed.used_bytes()? as i64 - before as i64;
            self.measured.space = Some(Space { used, logical });
        }
        Ok(())
    }

    /// Bytes that reached the device so far in the phases that count; none where it is not known.
    pub(crate) fn device_bytes(&self) -> Option<u64> {
        match self.mode {
            Mode::Timed => self.measured.device_bytes(),
            Mode::Counting(_) => None,
        }
    }

    /// Where the cell's file system is mounted.
    pub(crate) fn bed_path(&self) -> &'a Path {
        self.bed.path()
    }

    /// Writes everything dirty to the device, in untimed repetitions too.
    pub(crate) fn drain(&self) -> Result<()> {
        self.bed.drain()
    }

    /// Begins the sample's phases with nothing dirty from what prepared it.
    pub(crate) fn settle(&self) -> Result<()> {
        self.bed.drain()
    }

    /// All that was measured.
    pub(crate) fn measured(self) -> Measured {
        self.measured
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
